"""Pictures that are learned from and held out under another name are named, whichever their data sets."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from flows.run.campaign.copies import copies_in_words
from infra.store import Store
from schemas.config.engine import EngineConfig
from schemas.ids import StageKey, Target
from schemas.layers import assemble, settings
from tasks.engine.context import Context
from tasks.ingest.annotated import IngestAnnotations
from tasks.ingest.people.annotations import AnnotationSource
from tasks.rows.part import Part
from tests.tasks.ingest import pictures

pytestmark = pytest.mark.slow

MINE, THEIRS = Target("mine", "train"), Target("theirs", "validation")


def config(fields: Mapping[str, Any]) -> EngineConfig:
    return assemble([*settings({"profile": "micro", "campaign": "c", **fields}, "file")]).config


def ingest(store: Store, folder: Path, target: Target, seeds: Mapping[str, int]) -> StageKey:
    files = {name: pictures.jpeg(pictures.noise(seed=seed)) for name, seed in seeds.items()}
    source = AnnotationSource("folder", str(pictures.folder(folder / target.dataset, files)), *target)
    return StageKey(IngestAnnotations(source).run(Context(store, config({}), in_process=True)).key)


def test_copies_of_held_out_pictures_are_named(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    mine = ingest(store, tmp_path, MINE, {"1.jpg": 1, "2.jpg": 2, "3.jpg": 3})
    fields = {"sources": {"wild": str(MINE), "validation": str(THEIRS), "test": [], "drift": []}}
    assert copies_in_words(store, config(fields), {MINE: mine}) == (), "nobody is held out yet"
    theirs = ingest(store, tmp_path, THEIRS, {"a.jpg": 2, "b.jpg": 9})
    ingests = {MINE: mine, THEIRS: theirs}
    (said,) = copies_in_words(store, config(fields), ingests)
    assert said == (
        f"Learned from and held out: 1 picture of {MINE}, also in {THEIRS} (mine/train/2.jpg). What is measured on "
        "them says nothing of others."
    )
    other = {"sources": {**fields["sources"], "wild": "wild/train"}}
    assert copies_in_words(store, config(other), ingests) == ()
    assert copies_in_words(store, config(other), ingests, own=MINE) == (said,)


def test_copies_of_pictures_that_are_set_aside_for_the_judge_are_named(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    aside = Part(0.0, 0.5)
    names = {True: [], False: []}  # type: dict[bool, list[str]]
    for number in range(40):
        names[bool(aside.of([f"{MINE}/{number}.jpg#0"]))].append(f"{number}.jpg")
    twice, alone = {names[True][0]: 1, names[False][0]: 1}, {names[True][1]: 2, names[False][1]: 3}
    key = ingest(store, tmp_path, MINE, {**twice, **alone})
    fields: dict[str, Any] = {
        "start": {"judge": "train"},
        "sources": {"wild": str(MINE), "validation": [], "test": [], "drift": []},
        "gates": {"without_labels": "judge", "judged_share": 0.5},
    }
    (said,) = copies_in_words(store, config(fields), {MINE: key})
    assert said.startswith(
        "Learned from and held out: 1 picture in the wild, also among those that are set aside for the judge "
        f"({MINE}/{names[False][0]})."
    )
    assert copies_in_words(store, config({"sources": fields["sources"]}), {MINE: key}) == ()
