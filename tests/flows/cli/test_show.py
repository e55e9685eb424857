"""Answers of `adhmr query` as a person reads them: in 80 columns, whatever was asked."""

import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pyarrow as pa
import pytest

from flows.cli.show.rows import print_rows
from infra.delta_log import first_entry, log_entry
from infra.store import Store
from infra.tables import live_files
from schemas.tables import contract
from tests.infra import helpers

ROOT = Path(__file__).resolve().parents[3]
START_SECONDS = 5.0


def printed(rows: pa.Table, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("COLUMNS", "80")
    print_rows(rows)
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert all(len(line) <= 80 for line in lines)
    return lines


def test_a_row_is_a_line_and_columns_without_room_are_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = pa.table({f"column_{number}": [f"{number}" * 64, f"{number}"] for number in range(9)})
    lines = printed(rows, capsys, monkeypatch)
    assert [len(line.split()) for line in lines[:3]] == [4, 4, 4]
    assert lines[1].split()[0].startswith("0" * 15)
    assert lines[3] == "2 rows"
    said = " ".join(lines[4:])
    assert "no room for the columns column_4, column_5, column_6, column_7, column_8" in said
    assert "--csv" in said


def test_what_fits_is_shown_whole(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    rows = pa.table({"a": ["x" * 30], "b": ["y" * 40], "c": [1]})
    assert printed(rows, capsys, monkeypatch)[1].split() == ["x" * 30, "y" * 40, "1"]


def test_two_columns_of_one_name(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    rows = pa.table([pa.array([1]), pa.array([2])], names=["n", "n"])
    assert printed(rows, capsys, monkeypatch)[:2] == ["n n", "1 2"]


def until_it_computes(process: int) -> None:
    """Until it has had more of the processor than the start of the command takes anywhere: it is in the query then."""
    command = psutil.Process(process)
    while sum(sum(one.cpu_times()[:2]) for one in (command, *command.children())) < START_SECONDS:
        time.sleep(0.05)


@pytest.mark.slow
def test_ctrl_c_in_a_query_is_one_line(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    helpers.run(store)
    sql = "SELECT count(*) FROM range(100000000) a, range(100000) b WHERE hash(a.range + b.range) = 4"
    asked = subprocess.Popen(
        [sys.executable, "-m", "flows.cli.main", "query", sql, "--store", store.url],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until_it_computes(asked.pid)
        asked.send_signal(signal.SIGINT)
        out, error = asked.communicate(timeout=30)
    finally:
        asked.kill()
    assert asked.returncode == 130
    assert (out, len(error.strip().splitlines())) == ("", 1)


@pytest.mark.slow
def test_a_query_over_a_table_that_has_lost_a_file_is_one_line(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    helpers.run(store)
    lost = f"tables/scores/{live_files(store, 'scores')[0].path}"
    store.remove(lost)
    command = [sys.executable, "-m", "flows.cli.main", "query", "FROM scores", "--store", store.url]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.strip().splitlines()
    assert f"has lost a file: {lost} is not there" in line


@pytest.mark.slow
def test_a_query_over_a_table_that_can_not_be_read_is_one_line(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    newer = replace(contract("scores"), version=2)
    store.atomic_write(log_entry("scores", 0), first_entry(newer))
    command = [sys.executable, "-m", "flows.cli.main", "query", "FROM scores", "--store", store.url]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.strip().splitlines()
    assert "has version 2, and this engine knows 1. A newer engine wrote it: use that one, or work in another" in line
