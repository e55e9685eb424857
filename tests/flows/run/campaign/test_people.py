"""Sources: names become ingests, of the store, of the campaign file's data, or of the engine's own world."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from flows.run.campaign.opening import note_opening, opening_of
from flows.run.campaign.people import People, find_people
from flows.run.dry import DryRunner, Pending
from infra import rounds
from infra.store import Store
from schemas.config.engine import EngineConfig
from schemas.errors import ConfigError, DataError
from schemas.ids import ModelDigest, StageKey, Target
from schemas.layers import Configured, assemble, settings
from schemas.splits import HELD_OUT, WILD_TEST, WILD_TRAIN
from tasks.engine.context import Context
from tasks.ingest.annotated import IngestAnnotations
from tasks.ingest.people.annotations import AnnotationSource
from tasks.rows.mix import Mix
from tests.tasks.ingest import pictures

pytestmark = pytest.mark.slow


def config(fields: Mapping[str, Any]) -> EngineConfig:
    return assemble([*settings({"profile": "micro", "campaign": "c", **fields}, "file")]).config


def found(store: Store, fields: Mapping[str, Any]) -> tuple[People, DryRunner]:
    runner = DryRunner(Context(store, config(fields), in_process=True))
    return find_people(runner), runner


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    files = {f"{name}.jpg": pictures.jpeg(pictures.noise(seed=name)) for name in range(3)}
    return pictures.folder(tmp_path / "own", files).parent


def ingest(store: Store, folder: Path, name: str = "photographs") -> StageKey:
    source = AnnotationSource("folder", str(folder / "images"), name, "train")
    return StageKey(IngestAnnotations(source).run(Context(store, config({}), in_process=True)).key)


def test_the_default_is_the_engines_own_world(tmp_path: Path) -> None:
    people, runner = found(Store.open(tmp_path / "store"), {})
    assert [(look.title, look.verdict) for look in runner.looks.values()] == [("synthesize", "run"), ("ingest", "run")]
    assert people.wild == Mix((StageKey(Pending("ingest")),), (WILD_TRAIN,), (1.0,))
    assert people.held_out.targets == HELD_OUT
    assert people.reported.targets == (WILD_TEST,)
    assert len(set(people.ingests.values())) == 1


def test_a_data_set_that_is_missing_is_said_with_the_command(tmp_path: Path) -> None:
    command = "adhmr ingest --format FORMAT --source FILE --dataset insta --split train"
    with pytest.raises(DataError, match=f"There is no ingest of insta/train in .*{command}"):
        found(Store.open(tmp_path / "store"), {"sources": {"wild": "insta/train"}})


def test_data_says_how_a_split_gets_into_the_store(tmp_path: Path, photographs: Path) -> None:
    store = Store.open(tmp_path / "store")
    fields = {
        "sources": {"wild": ["photographs/train", {"data": "wild/train", "weight": 3}]},
        "data": [{"name": "photographs/train", "format": "folder", "source": str(photographs / "images")}],
    }
    people, runner = found(store, fields)
    assert ("ingest (photographs/train)", "run") in [(look.title, look.verdict) for look in runner.looks.values()]
    key = ingest(store, photographs)
    people, runner = found(store, fields)
    assert people.wild.ingests[0] == people.ingests[Target("photographs", "train")] == key
    assert people.wild.weights == (1.0, 3.0)
    assert "ingest (photographs/train)" not in [look.title for look in runner.looks.values()]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"data": [{"name": "wild/train", "format": "folder", "source": "images"}]},
            "data gives wild/train, which the engine makes too, and source/train is to be the engine's",
        ),
        (
            {"sources": {"wild": "x/train"}, "data": [{"name": "x/train", "format": "fodler", "source": "images"}]},
            "fodler",
        ),
        (
            {"sources": {"wild": "x/train"}, "data": [{"name": "x/train", "format": "dpo-json", "source": "images"}]},
            "x/train comes from the format dpo-json, which brings pairs",
        ),
    ],
)
def test_data_that_can_not_be_meant(
    fields: dict[str, Any], message: str, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photographs)
    with pytest.raises(ConfigError, match=message):
        found(Store.open(photographs / "store"), fields)


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ({"wild": "photographs"}, ".wild.0.data: .*DATASET/SPLIT"),
        (
            {"drift": [{"data": "source/test", "protocol": "3dpw"}]},
            "source/test has a protocol; those are for sources of test",
        ),
        ({"wild": "wild/test"}, "wild/test is a source of test, and one that is trained on too"),
        ({"wild": ["a/train", "a/train"]}, "wild names a/train twice"),
        ({"wild": []}, ".wild: .*at least 1 item"),
        ({"wild": [{"data": "a/train", "weight": 0}]}, ".wild.0.weight: .*greater than 0"),
    ],
)
def test_sources_that_can_not_be_meant(sources: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^file: Configuration field sources.*{message}"):
        config({"sources": sources})


def test_an_open_round_goes_on_with_the_ingests_that_it_began_with(tmp_path: Path, photographs: Path) -> None:
    store, fields = Store.open(tmp_path / "store"), {"sources": {"wild": "photographs/train"}}
    key = ingest(store, photographs)
    people, _ = found(store, fields)
    rounds.begin(store, "c", ModelDigest("p" * 64))
    note_opening(store, "c", 1, Configured(config(fields), {}, "campaign: c"), people.ingests)
    rounds.open_round(store, "c", 1, why="dpo round")
    pictures.folder(photographs, {"4.jpg": pictures.jpeg(pictures.noise(seed=4))})
    newer = ingest(store, photographs)
    assert newer != key
    assert found(store, fields)[0].wild.ingests == (key,)
    with pytest.raises(
        ConfigError, match=r"Round 1 of campaign c began with other sources \(photographs/train, .*close"
    ):
        found(store, {})
    rounds.abandon(store, "c", "enough")
    assert found(store, fields)[0].wild.ingests == (newer,)
    noted = opening_of(store, "c", 1)
    assert noted is not None
    assert noted.sources.targets("wild") == (Target("photographs", "train"),)


def test_no_people_are_asked_for_to_train_a_scorer_that_is_given(tmp_path: Path) -> None:
    people, _ = found(Store.open(tmp_path / "store"), {"start": {"scorer": "abc"}, "sources": {"scorer": "x/train"}})
    assert people.scorer == Mix((), ())
    assert Target("x", "train") not in people.ingests
