"""SIGKILL at the worst moments: run again, the tables are those of a run that nobody disturbed, bit for bit.

Each test kills a stage in a process of its own, on a copy of the micro store, and goes on with it here.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
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
from tests.tasks.conftest import MicroStore

ROOT = Path(__file__).resolve().parents[2]
VARYING = {"stages": {"started_at", "finished_at", "seconds"}, "models": {"created_at", "uri"}}
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


def start(held: MicroStore, stage: str, *arguments: str, fault: str = "") -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.faults.process", held.store.url]
    environment = {**os.environ, **({"ADHMR_FAULT_AT": fault} if fault else {})}
    return subprocess.Popen(
        [*command, held.ingest_key, held.policy, held.scorer, stage, *arguments],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def killed(held: MicroStore, stage: str, fault: str) -> None:
    """Run the stage until it kills itself at `fault`."""
    done = start(held, stage, fault=fault)
    said, _ = done.communicate(timeout=300)
    assert done.returncode == -signal.SIGKILL, f"it ended with {done.returncode} and said {said!r}"


def written(store: Store, key: str) -> dict[str, tuple[int, int]]:
    """The stage's shard files and receipts, with what changes when a file is written again: inode and time (ns)."""
    paths = [path for path in store.list_files("tables") if key in path and path.endswith(".parquet")]
    stats = {path: os.stat(store.path(path)) for path in (*paths, *store.list_files(f"shards/{key}"))}
    return {path: (stat.st_ino, stat.st_mtime_ns) for path, stat in stats.items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "receipts", "files"),
    [
        pytest.param("shard-file:hypotheses@2", 1, 1, id="before-the-second-file"),
        pytest.param("shard:generate@2", 2, 2, id="after-the-second-shard"),
    ],
)
def test_generate(micro_store: MicroStore, undisturbed: Undisturbed, fault: str, receipts: int, files: int) -> None:
    store, expected = micro_store.store, undisturbed.held("generate")
    key = expected_key(expected, "generate")
    killed(micro_store, "generate", fault)
    assert find(store, key) is None
    before = written(store, key)
    assert len(before) == receipts + files
    again = process.run(micro_store, "generate")
    assert (again.key, again.shards_found, again.shards_done) == (key, receipts, 3 - receipts)
    assert written(store, key).items() > before.items()
    assert_same_tables(micro_store, expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "added"),
    [
        ("commit:hypotheses", {"errors"}),
        ("commit:scores", {"errors", "hypotheses"}),
        ("commit:stages", {"errors", "hypotheses", "scores"}),
    ],
)
def test_evaluate_between_its_transactions(
    micro_store: MicroStore, undisturbed: Undisturbed, fault: str, added: set[str]
) -> None:
    store, expected = micro_store.store, undisturbed.held("evaluate")
    key = expected_key(expected, "evaluate")
    killed(micro_store, "evaluate", fault)
    three = ("errors", "hypotheses", "scores")
    assert {table for table in three if live_files(store, table, stage_keys=[key], every_stage=True)} == added
    assert not any(len(read(store, table)) for table in three), "readers see rows of a stage that is not finished"
    before = written(store, key)
    again = process.run(micro_store, "evaluate")
    assert (again.key, again.reused, again.shards_done) == (key, False, 0)
    assert {path: at for path, at in written(store, key).items() if path in before} == before
    assert_same_tables(micro_store, expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "checkpoint"),
    [
        pytest.param("train:align@2", 2, id="driver-before-the-second-checkpoint"),
        pytest.param("train:step:4", 4, id="worker-after-the-second-checkpoint"),
    ],
)
def test_align(micro_store: MicroStore, undisturbed: Undisturbed, fault: str, checkpoint: int) -> None:
    store, expected = micro_store.store, undisturbed.held("align")
    key = expected_key(expected, "align")
    run = RunFolder(store, f"align-{key[:16]}")
    killed(micro_store, "align", fault)
    assert find(store, key) is None
    state = run.read(CHECKPOINT)
    assert state is not None
    assert torch.load(BytesIO(state))["step"] == checkpoint
    again = process.run(micro_store, "align")
    assert (again.key, again.reused) == (key, False)
    assert model_of(store, key) == model_of(expected.store, key) != micro_store.policy
    assert len(read(store, "curves", stage_keys=[key])) > 0
    assert_same_tables(micro_store, expected)


@pytest.mark.slow
def test_two_processes_that_generate_at_once(micro_store: MicroStore, undisturbed: Undisturbed) -> None:
    expected = undisturbed.held("generate")
    both = [start(micro_store, "generate", "wait") for _ in range(2)]
    for one in both:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    for one in both:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    said = [one.communicate(timeout=300)[0] for one in both]
    assert [one.returncode for one in both] == [0, 0]
    told = [json.loads(line) for line in said]
    assert told[0] == told[1]
    assert told[0]["rows"]["hypotheses"] == len(read(micro_store.store, "hypotheses")) == 24 * 5
    assert_same_tables(micro_store, expected)


def expected_key(held: MicroStore, stage: str) -> str:
    """The key of the stage in an undisturbed store."""
    rows = read(held.store, "stages", columns=["stage", "stage_key"]).to_pylist()
    return next(row["stage_key"] for row in rows if row["stage"] == stage)
