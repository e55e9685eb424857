"""What a campaign names is looked at before its round opens, and all that is wrong is said at once, a line each."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from typer.testing import CliRunner

import flows.run.campaign.room
from flows.cli.main import app
from flows.run.early import check_round
from infra import rounds
from infra.stages import records
from infra.store import Store
from models.body_arrays import BUILT_IN
from schemas.config.engine import EngineConfig
from schemas.errors import ConfigError, DamagedError, DataError, EngineError, ProblemsError
from schemas.ids import ModelDigest
from schemas.layers import assemble, settings
from tasks.engine.context import Context
from tasks.ingest.annotated import IngestAnnotations
from tasks.ingest.people.annotations import AnnotationSource
from tasks.rows.models import model_path
from tests.tasks import micro
from tests.tasks.ingest import pictures
from tests.tasks.train.test_frozen import encoder

pytestmark = pytest.mark.slow


def config(fields: Mapping[str, Any]) -> EngineConfig:
    return assemble([*settings({"profile": "micro", "campaign": "c", **fields}, "file")]).config


class Place(NamedTuple):
    """A folder with pictures and models, and a store that has the pictures as photographs/train."""

    folder: Path
    store: Store

    def check(self, fields: Mapping[str, Any], **more: Any) -> None:
        check_round(Context(self.store, config(fields), in_process=True), **more)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("place")
    pictures.folder(folder, {f"{name}.jpg": pictures.jpeg(pictures.noise(seed=name)) for name in range(3)})
    store, elsewhere = Store.open(folder / "store"), Store.open(folder / "elsewhere")
    source = AnnotationSource("folder", str(folder / "images"), "photographs", "train")
    IngestAnnotations(source).run(Context(store, config({}), in_process=True))
    large = micro.CONFIG.policy.condition.model_copy(update={"image_size": 96})
    network = {"policy": micro.CONFIG.policy.model_copy(update={"condition": large})}
    for name, kind, made in (
        ("policy", "policy", micro.CONFIG),
        ("scorer", "scorer", micro.CONFIG),
        ("large", "policy", micro.CONFIG.model_copy(update=network)),
    ):
        digest = micro.untrained(elsewhere, kind, made)  # type: ignore[arg-type]
        data = elsewhere.read_bytes(model_path(ModelDigest(digest)))
        (folder / f"{name}.safetensors").write_bytes(data)
    (folder / "text.pth").write_text("no checkpoint")
    return Place(folder, store)


def test_the_engines_own_world_and_what_goes_together_pass(place: Place) -> None:
    place.check({})
    place.check(
        {
            "start": {name: str(place.folder / f"{name}.safetensors") for name in ("policy", "scorer")},
            "sources": {"wild": "photographs/train"},
        }
    )


def test_all_that_is_wrong_is_said_at_once(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken.npz").write_text("no archive")
    fields = {
        "profile": "micro",
        "body": "nobody",
        "start": {"policy": "nowhere.pth", "scorer": str(place.folder / "policy.safetensors")},
        "sources": {
            "labelled": "photographs/train",
            "wild": ["insta/train", "broken/train"],
            "validation": "absent/val",
            "test": "dpo/test",
        },
        "data": [
            {"name": "absent/val", "format": "humandata", "source": "absent.npz"},
            {"name": "broken/train", "format": "humandata", "source": str(tmp_path / "broken.npz")},
            {"name": "dpo/test", "format": "dpo-json", "source": str(tmp_path / "broken.npz")},
        ],
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(fields))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    before = len(records(place.store))
    for command in ("run", "plan"):
        answer = CliRunner().invoke(app, [command, "--config", "mine.yaml", "--store", place.store.url])
        assert answer.exit_code == 2, answer.output
        first, *lines = answer.stderr.strip().splitlines()
        assert first == "adhmr: 8 things are in the way; nothing was begun."
        wanted = (
            "- body: no body called 'nobody'",
            "- start.policy: nowhere.pth: there is no such file",
            "policy.safetensors: that is a policy, where a scorer is asked for.",
            "- sources.labelled: 3 of 3 people of photographs/train have no label of a body",
            "- sources.wild: There is no ingest of insta/train in ",
            "- data: broken/train: ",
            "- data: absent/val: There is no source at absent.npz",
            "- data: dpo/test comes from the format dpo-json, which brings pairs.",
        )
        assert len(lines) == len(wanted)
        for line, words in zip(lines, wanted, strict=True):
            assert words in line
    assert len(records(place.store)) == before
    assert rounds.campaigns(place.store) == []


@pytest.mark.parametrize(
    ("start", "sources", "told"),
    [
        ({"policy": "text.pth"}, {}, "start.policy: .*text.pth"),
        ({"policy": "abc"}, {}, "start.policy: abc: .*no model begins with 'abc'"),
        ({}, {"validation": "photographs/train"}, "sources.validation: nobody of photographs/train has a label"),
        ({"scorer": "scorer.safetensors", "policy": "large.safetensors"}, {}, "start.scorer takes crops of 64 px"),
        ({"policy": "large.safetensors"}, {"wild": "photographs/train"}, "photographs/train has crops of 64 px"),
    ],
)
def test_what_would_end_a_round_at_a_later_stage(
    place: Place, start: dict[str, str], sources: dict[str, str], told: str
) -> None:
    named = {name: str(place.folder / file) if "." in file else file for name, file in start.items()}
    with pytest.raises(EngineError, match=told):
        place.check({"start": named, "sources": sources})


def test_a_protocol_whose_regressor_is_missing_ends_no_round_after_its_training(place: Place, tmp_path: Path) -> None:
    (folder := tmp_path / "human_model_files" / "smpl").mkdir(parents=True)
    shutil.copy(BUILT_IN["tiny"], folder / "SMPL_NEUTRAL.npz")
    fields: dict[str, Any] = {"body": str(tmp_path / "human_model_files")}
    place.check(fields)
    fields["sources"] = {"test": [{"data": "wild/test", "protocol": "3dpw"}]}
    with pytest.raises(DataError, match=r"^sources.test: wild/test: .*J_regressor_h36m.npy"):
        place.check(fields)


def test_another_first_policy_than_the_campaigns(place: Place) -> None:
    rounds.begin(place.store, "begun", ModelDigest("f" * 64))
    with pytest.raises(ConfigError, match="campaign begun began with ffffffffffff"):
        place.check({"campaign": "begun", "start": {"policy": str(place.folder / "policy.safetensors")}})


def test_a_disk_that_is_too_full(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = {"sources": {"wild": "photographs/train"}, "generate": {"hypotheses": 1000}}
    place.check(fields)
    full = shutil.disk_usage(place.folder)._replace(free=1_900_000)
    monkeypatch.setattr(flows.run.campaign.room.shutil, "disk_usage", lambda _: full)
    told = r"has 0.0019 GB free, and this round writes 0.00195 GB at least \(3,000 hypotheses"
    with pytest.raises(DataError, match=told):
        place.check(fields)
    place.check(fields | {"hypotheses": {"keep": "none"}})
    place.check({})


def test_what_this_machine_does_not_have(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    context = Context(place.store, config({"ray": {"cpus_per_actor": 1000, "gpus_per_trainer": 64}}))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(ProblemsError, match=r"ray.cpus_per_actor is 1000(?s:.*)ray.gpus_per_trainer is 64") as error:
        check_round(context)
    assert len(error.value.problems) == 2
    check_round(context, machine=False)
    check_round(replace(context, in_process=True))
    monkeypatch.setenv("RAY_ADDRESS", "ray-head:6379")
    check_round(context)


def test_the_encoder_to_start_from_is_there_whole_and_fits(place: Place, tmp_path: Path) -> None:
    file = tmp_path / "encoder.safetensors"
    file.write_bytes(encoder().to_bytes())
    frozen = {"optimiser": {"encoder_learning_rate": 0, "projections": True}}
    place.check({"start": {"encoder": str(file)}, "train_base": frozen})
    with pytest.raises(ConfigError, match="has learned nothing"):
        place.check({"train_base": frozen})
    with pytest.raises(DataError, match=r"start\.encoder: There is no encoder shiped .* say train, shipped, or a file"):
        place.check({"start": {"encoder": "shiped"}})
    file.write_bytes(file.read_bytes()[:-4] + b"abcd")
    with pytest.raises(DamagedError, match=r"start\.encoder: .* is damaged: its weights have digest"):
        place.check({"start": {"encoder": str(file)}, "train_base": frozen})
    with pytest.raises(ConfigError, match=r"another network than policy\.condition says"):
        place.check({"start": {"encoder": "shipped"}, "train_base": frozen})


def test_pairs_by_the_heads_of_a_scorer_ask_for_several(place: Place) -> None:
    """Said here: the pairs come hours later, when base and scorer are trained."""
    for pair in ({"pair.strategy": "surest"}, {"pair.other_strategy": "surest", "pair.other_share": 0.5}):
        with pytest.raises(ConfigError, match=r"surest goes by .* set scorer\.score_heads above 1"):
            place.check(pair, machine=False)
        place.check({**pair, "scorer.score_heads": 3}, machine=False)
    scorer = str(place.folder / "scorer.safetensors")
    with pytest.raises(ConfigError, match="the scorer has one"):
        place.check({"pair.strategy": "surest", "start.scorer": scorer, "scorer.score_heads": 3}, machine=False)
