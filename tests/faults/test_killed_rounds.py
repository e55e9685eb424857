"""`adhmr run` as people start it, killed with its driver in generate, between two transactions and in DPO."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import psutil
import pyarrow as pa
import pytest

from infra.store import Store
from infra.tables import read
from schemas.tables import TABLES

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(1800)]
ROOT = Path(__file__).resolve().parents[2]
VARYING = {
    "stages": {"started_at", "finished_at", "seconds", "done_share", "tables_json"},
    "models": {"created_at", "uri"},
    "rounds": {"at"},
}
"""Columns that differ between any two runs: times and places."""
FAULTS = ("shard:generate@2", "commit:stages", "train:align@2")


class Ended(NamedTuple):
    """How a command ended, and what it wrote on standard error."""

    returncode: int
    stderr: str


def run(store: Path, fault: str = "") -> Ended:
    """The command in a process group of its own, which is cleared afterwards.

    Prefect's temporary server outlives a killed driver and holds its output open: hence a file in place of a pipe.
    """
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.cli.main", "run", "--profile", "micro", "--store", str(store)],
            cwd=ROOT,
            env={**os.environ, "ADHMR_FAULT_AT": fault},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
        code = process.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        said.seek(0)
        return Ended(code, said.read())


def rows(place: Path, table: str) -> pa.Table:
    names = [name for name in TABLES[table].schema.names if name not in VARYING.get(table, ())]
    found = read(Store.open(place), table, columns=names)
    return found.sort_by(
        [(name, "ascending") for name in names if not pa.types.is_nested(found.schema.field(name).type)]
    )


def test_a_round_that_was_killed_three_times(tmp_path: Path) -> None:
    undisturbed, store = tmp_path / "undisturbed", tmp_path / "store"
    done = run(undisturbed)
    assert done.returncode == 0, done.stderr
    for fault in FAULTS:
        ended = run(store, fault)
        assert ended.returncode == 128 + signal.SIGKILL, f"{fault}: {ended.returncode} {ended.stderr}"
    last = run(store)
    assert last.returncode == 0, last.stderr
    assert "generate: reused" in last.stderr
    for table in TABLES:
        assert rows(store, table).equals(rows(undisturbed, table)), f"table {table} differs"
    commands = [" ".join(one.info["cmdline"] or ()) for one in psutil.process_iter(["cmdline"])]
    assert not [command for command in commands if str(tmp_path) in command]
    shutil.rmtree(tmp_path)
