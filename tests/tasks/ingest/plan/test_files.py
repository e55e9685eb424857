"""Two runs of one ingest at once share its plan: whoever is second finds the stage done, whenever the plan vanishes."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.store import Store
from infra.tables import read
from schemas.errors import StoreError, VanishedError
from schemas.progress import SilentProgress
from schemas.splits import SOURCE_TRAIN
from tasks.engine import sharded
from tasks.engine.context import Context
from tasks.engine.results import StageResult
from tasks.ingest import annotated
from tasks.ingest.annotated import IngestAnnotations
from tasks.ingest.hypotheses import given as given_hypotheses
from tasks.ingest.hypotheses.stage import IngestHypotheses
from tasks.ingest.pairs import stage as pair_stage
from tasks.ingest.pairs.stage import IngestPairs
from tasks.ingest.plan import files
from tasks.ingest.plan import rows as planned
from tasks.ingest.plan.files import forget_plan, shares_plan, slices, write_planned
from tests.samples.coco import write_coco
from tests.samples.preferences import write_hypothesis_cache, write_pair_json
from tests.samples.truth import true_people
from tests.tasks.conftest import MicroStore
from tests.tasks.ingest.test_annotated import CONFIG

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture
def here(tmp_path: Path) -> Context:
    return Context(Store.open(str(tmp_path / "store")), CONFIG, in_process=True)


def overtaken(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str, ingest: Callable[[], StageResult]
) -> StageResult:
    """What `ingest` gives if a second run does all of it just before the first one calls `module.name`."""
    plain = getattr(module, name)
    second: list[StageResult] = []

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if not second:
            monkeypatch.setattr(module, name, plain)
            second.append(ingest())
        return plain(*args, **kwargs)

    monkeypatch.setattr(module, name, wrapped)
    first = ingest()
    assert [result.reused for result in second] == [False]
    assert (first.key, first.reused) == (second[0].key, True)
    return first


@pytest.mark.parametrize(
    ("module", "name"),
    [(annotated, "units_of"), (sharded, "run_sharded"), (planned, "summary_file"), (planned, "write_planned")],
)
def test_annotations_that_another_run_finished(
    here: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str
) -> None:
    source = write_coco(true_people(3), tmp_path / "coco", "train")
    overtaken(monkeypatch, module, name, lambda: IngestAnnotations(source).run(here))
    assert len(read(here.store, "instances")) == 3
    assert len(read(here.store, "failures")) == 0
    assert here.store.list_files("ingests") == []


def test_hypotheses_that_another_run_finished(here: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_hypothesis_cache(true_people(2), tmp_path / "cache")
    overtaken(monkeypatch, given_hypotheses, "planned_rows", lambda: IngestHypotheses(source).run(here))
    assert len(read(here.store, "instances")) == 2


def test_pairs_that_another_run_finished(
    micro_store: MicroStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_pair_json(true_people(2), tmp_path / "pairs")
    entries = json.loads(Path(source.url).read_text())
    for entry in entries:
        entry["img_path"] = f"{entry['img_idx']:08d}"
    Path(source.url).write_text(json.dumps(entries))
    context, keys = micro_store.context, [micro_store.ingest_key]
    result = overtaken(
        monkeypatch, pair_stage, "planned_rows", lambda: IngestPairs(source, keys, SOURCE_TRAIN).run(context)
    )
    assert result.record.tally.ok == len(entries)


def test_a_plan_that_vanishes_while_it_is_read_is_made_again(
    here: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_coco(true_people(3), tmp_path / "coco", "train")

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(sharded, "run_sharded", killed)
        with pytest.raises(KeyboardInterrupt):
            IngestAnnotations(source).run(here)
    assert here.store.list_files("ingests") != []
    overtaken(monkeypatch, planned, "read_planned", lambda: IngestAnnotations(source).run(here))
    assert len(read(here.store, "instances")) == 3


def test_a_plan_that_a_refused_run_removes_is_made_again(
    here: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, removed = annotated.units_of, []

    def units_of(store: Store, folder: str, *rest: Any) -> Any:
        if not removed:
            removed.append(folder)
            forget_plan(store, folder)
        return plain(store, folder, *rest)

    monkeypatch.setattr(annotated, "units_of", units_of)
    result = IngestAnnotations(write_coco(true_people(3), tmp_path / "coco", "train")).run(here)
    assert (result.reused, result.record.tally.ok) == (False, 3)


@pytest.mark.parametrize("file", ["plan.json", "000000.arrow"])
def test_a_damaged_plan_is_said_and_made_again(
    here: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    source = write_coco(true_people(3), tmp_path / "coco", "train")
    plain, heard = sharded.run_sharded, Heard()

    def damaged(*given: Any, **more: Any) -> Any:
        (path,) = Path(here.store.path("ingests")).glob(f"*/{file}")
        data = bytearray(path.read_bytes())
        data[-1] ^= 2
        path.write_bytes(data)
        monkeypatch.setattr(sharded, "run_sharded", plain)
        if file == "plan.json":
            raise VanishedError("another run has most likely finished it")  # so that it is read again
        return plain(*given, **more)

    monkeypatch.setattr(sharded, "run_sharded", damaged)
    result = IngestAnnotations(source).run(replace(here, progress=heard))
    assert (result.reused, result.record.tally.ok) == (False, 3)
    (said,) = [line for line in heard.lines if "is damaged: " in line]
    assert (
        f"/{file} is damaged: its content does not have the digest that it says. So the source is read again." in said
    )


def test_a_plan_that_a_release_before_left_is_made_again(here: Context, tmp_path: Path) -> None:
    stage = IngestAnnotations(write_coco(true_people(3), tmp_path / "coco", "train"))
    summary = json.dumps({"unchanged": 0, "gone": 0, "files": 1, "remark": None}).encode()
    write_planned(here.store, files.summary_file(files.plan_folder(stage.key(here))), summary)
    assert stage.run(here).record.tally.ok == 3
    assert here.store.list_files("ingests") == []


class Heard(SilentProgress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def test_what_vanishes_again_and_again_is_told(here: Context) -> None:
    tries: list[int] = []

    @shares_plan
    def stage(self: object, _: Context) -> None:
        tries.append(1)
        raise VanishedError("the plan is not there")

    with pytest.raises(StoreError, match="the plan is not there"):
        stage(None, here)
    assert len(tries) == 3


def test_a_plan_may_be_removed_by_several(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    forget_plan(store, "ingests/a")
    write_planned(store, "ingests/a/000000.arrow", b"1")
    forget_plan(store, "ingests/a")
    forget_plan(store, "ingests/a")
    assert not store.exists("ingests/a")


@given(st.lists(st.integers(0, 7), max_size=8), st.integers(1, 6))
def test_slices_are_even_and_lose_nothing(lengths: list[int], size: int) -> None:
    values = iter(range(100))
    tables = [pa.table({"a": pa.array([next(values) for _ in range(length)], pa.int64())}) for length in lengths]
    cut = [part.column("a").to_pylist() for part in slices(tables, size)]
    assert [value for part in cut for value in part] == list(range(sum(lengths)))
    assert all(len(part) == size for part in cut[:-1])
    assert all(0 < len(part) <= size for part in cut)


DRIVER = """
import sys, time
from pathlib import Path
from infra.store import Store
from tasks.engine.context import Context
from tasks.ingest.annotated import IngestAnnotations
from tasks.ingest.people.annotations import AnnotationSource
from tests.tasks.ingest.test_annotated import CONFIG
store, data, start = sys.argv[1:]
config = CONFIG.model_copy(update={"ingest": CONFIG.ingest.model_copy(update={"shard_size": 2})})
context = Context(Store.open(store), config, in_process=True)
while not Path(start).exists():
    time.sleep(0.01)
source = AnnotationSource("coco", data, "coco", "train")
print(IngestAnnotations(source).run(context).key)
"""


@pytest.mark.slow
def test_processes_that_ingest_one_source_at_once(here: Context, tmp_path: Path) -> None:
    source = write_coco(true_people(24), tmp_path / "coco", "train")
    begin = tmp_path / "begin"
    command = [sys.executable, "-c", DRIVER, here.store.url, source.url, str(begin)]
    runs = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    try:
        begin.touch()
        told = [run.communicate(timeout=120)[0].split() for run in runs]
    finally:
        for run in runs:
            run.kill()
            run.wait()
    assert [run.returncode for run in runs] == [0] * 3
    assert len({key for words in told for key in words}) == 1
    assert len(read(here.store, "instances")) == 24
    assert len(read(here.store, "failures")) == 0
    assert here.store.list_files("ingests") == []
