"""SIGKILL at the worst moments: run again, the tables are those of a run that nobody disturbed, bit for bit.

Each test kills a stage in a process of its own, on a copy of the micro store, and goes on with it here.
"""

import json
import os
import shutil
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pytest
import torch

from infra.stages import find
from infra.store import Store
from infra.tables import live_files, read
from schemas.tables import TABLES
from tasks.engine.run_folder import RunFolder
from tasks.engine.training_worker import CHECKPOINT
from tasks.rows.models import model_of
from tests.faults import process
from tests.faults.nursery import Nursery, Order
from tests.tasks.conftest import MicroStore

VARYING = {"stages": {"started_at", "finished_at", "seconds", "done_share"}, "models": {"created_at", "uri"}}
"""Columns that differ between any two runs: times, and where the store lies."""


class Undisturbed:
    """The three stages, each done in one go in a store of its own."""

    def __init__(self, shared: MicroStore, folder: Path) -> None:
        self.shared, self.folder = shared, folder

    def held(self, stage: str) -> MicroStore:
        """The store after `stage`, made when first asked for."""
        folder = self.folder / stage
        if not folder.exists():
            shutil.copytree(self.shared.store.root, folder)
        held = self.shared._replace(store=Store.open(folder))
        process.run(held, stage)  # finds its work done the next time
        return held


@pytest.fixture(scope="module")
def undisturbed(shared_micro_store: MicroStore, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    return Undisturbed(shared_micro_store, tmp_path_factory.mktemp("undisturbed"))


def rows(store: Store, table: str) -> pa.Table:
    """All rows that a reader may see, but for what differs between any two runs."""
    names = [name for name in TABLES[table].schema.names if name not in VARYING.get(table, ())]
    found = read(store, table, columns=names)
    if table != "stages":
        return found
    counts = [json.loads(text) for text in found.column("tables_json").to_pylist()]
    for tables in counts:
        tables.get("models", {}).pop("bytes", None)  # its file holds the path of the store
    texts = pa.array([json.dumps(tables) for tables in counts], pa.string())
    return found.drop_columns(["tables_json"]).append_column("tables", texts).sort_by("stage_key")


def assert_same_tables(held: MicroStore, expected: MicroStore) -> None:
    for table in TABLES:
        assert rows(held.store, table).equals(rows(expected.store, table)), f"table {table} differs"


def order(held: MicroStore, stage: str) -> Order:
    """The stage, to be done in a process of its own."""
    return Order("tests.faults.process:work", [held.store.url, held.ingest_key, held.policy, held.scorer, stage])


def killed(nursery: Nursery, held: MicroStore, stage: str, fault: str) -> None:
    """Run the stage until it kills itself at `fault`."""
    call, arguments, _ = order(held, stage)
    done = nursery.do(call, *arguments, fault=fault)
    assert done.was_killed, f"it came by {fault} unharmed, or not at all: {done}"


def written(store: Store, key: str) -> dict[str, tuple[int, int]]:
    """The stage's shard files and receipts, with what changes when a file is written again: inode and time (ns)."""
    paths = [path for path in store.list_files("tables") if key in path and path.endswith(".parquet")]
    stats = {path: os.stat(store.path(path)) for path in (*paths, *store.list_files(f"shards/{key}"))}
    return {path: (stat.st_ino, stat.st_mtime_ns) for path, stat in stats.items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "fault", "receipts", "files"),
    [
        pytest.param("generate", "shard-file:hypotheses@2", 1, 1, id="before-the-second-file"),
        pytest.param("generate", "shard:generate@2", 2, 2, id="after-the-second-shard"),
        pytest.param("fast-generate", "shard-file:hypotheses@2", 1, 1, id="in-16-bits"),
    ],
)
def test_generate(
    nursery: Nursery,
    micro_store: MicroStore,
    undisturbed: Undisturbed,
    stage: str,
    fault: str,
    receipts: int,
    files: int,
) -> None:
    store, expected = micro_store.store, undisturbed.held(stage)
    key = expected_key(expected, "generate")
    killed(nursery, micro_store, stage, fault)
    assert find(store, key) is None
    before = written(store, key)
    assert len(before) == receipts + files
    again = process.run(micro_store, stage)
    assert (again.key, again.shards_found, again.shards_done) == (key, receipts, 3 - receipts)
    assert written(store, key).items() > before.items()
    assert_same_tables(micro_store, expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "fault", "added"),
    [
        ("evaluate", "commit:hypotheses", {"errors"}),
        ("evaluate", "commit:scores", {"errors", "hypotheses"}),
        ("evaluate", "commit:stages", {"errors", "hypotheses", "scores"}),
        ("fast-evaluate", "commit:scores", {"errors", "hypotheses"}),
    ],
)
def test_evaluate_between_its_transactions(
    nursery: Nursery, micro_store: MicroStore, undisturbed: Undisturbed, stage: str, fault: str, added: set[str]
) -> None:
    store, expected = micro_store.store, undisturbed.held(stage)
    key = expected_key(expected, "evaluate")
    killed(nursery, micro_store, stage, fault)
    three = ("errors", "hypotheses", "scores")
    assert {table for table in three if live_files(store, table, stage_keys=[key], every_stage=True)} == added
    assert not any(len(read(store, table)) for table in three), "readers see rows of a stage that is not finished"
    before = written(store, key)
    again = process.run(micro_store, stage)
    assert (again.key, again.reused, again.shards_done) == (key, False, 0)
    assert {path: at for path, at in written(store, key).items() if path in before} == before
    assert_same_tables(micro_store, expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "fault", "checkpoint"),
    [
        pytest.param("align", "train:align@2", 2, id="driver-before-the-second-checkpoint"),
        pytest.param("align", "train:step:4", 4, id="worker-after-the-second-checkpoint"),
        pytest.param("fast-align", "train:step:4", 4, id="worker-that-streams-and-keeps-features"),
    ],
)
def test_align(
    nursery: Nursery, micro_store: MicroStore, undisturbed: Undisturbed, stage: str, fault: str, checkpoint: int
) -> None:
    store, expected = micro_store.store, undisturbed.held(stage)
    key = expected_key(expected, "align")
    run = RunFolder(store, f"align-{key[:16]}")
    killed(nursery, micro_store, stage, fault)
    assert find(store, key) is None
    state = run.read(CHECKPOINT)
    assert state is not None
    assert torch.load(BytesIO(state))["step"] == checkpoint
    if stage.startswith(process.FAST):  # it streamed and kept, and goes on with what it left
        left = {path.name.split("-")[0] for path in Path(process.cache_of(store)).iterdir() if path.stat().st_size}
        assert {"crops", "features"} <= left
    again = process.run(micro_store, stage)
    assert (again.key, again.reused) == (key, False)
    assert model_of(store, key) == model_of(expected.store, key) != micro_store.policy
    assert len(read(store, "curves", stage_keys=[key])) > 0
    assert_same_tables(micro_store, expected)


@pytest.mark.slow
def test_two_processes_that_generate_at_once(
    nursery: Nursery, micro_store: MicroStore, undisturbed: Undisturbed
) -> None:
    expected = undisturbed.held("generate")
    both = nursery.together(order(micro_store, "generate"), order(micro_store, "generate"))
    assert [one.returncode for one in both] == [0, 0], both
    told = [one.result for one in both]
    assert told[0] == told[1]
    assert told[0]["rows"]["hypotheses"] == len(read(micro_store.store, "hypotheses")) == 24 * 5
    assert_same_tables(micro_store, expected)


def expected_key(held: MicroStore, stage: str) -> str:
    """The key of the stage in an undisturbed store."""
    rows = read(held.store, "stages", columns=["stage", "stage_key"]).to_pylist()
    return next(row["stage_key"] for row in rows if row["stage"] == stage)
