"""Clocks that jump, and shards that other code made: nothing is lost or mixed, and what differs is said."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from datetime import datetime, timedelta, tzinfo
from pathlib import Path

import pytest

import infra.stages
from flows.run.holder import Holder
from flows.run.lease import holder_of
from infra.stages import find
from infra.standing import newest_ingest
from infra.store import Store
from infra.tables import read
from schemas.digests import PACKAGES, code_digest
from schemas.ids import Target
from tasks.engine.context import Context
from tasks.ingest.annotated import IngestAnnotations
from tasks.stages.generate import Generate
from tests.faults.chain import CONFIG, FIRST, go, hear
from tests.faults.nursery import Nursery
from tests.faults.prepared import Prepared
from tests.faults.tables import different, visible
from tests.samples.coco import write_coco
from tests.samples.truth import true_people

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
GENERATE = f"{FIRST}generate"
HERE = "tests.faults.test_clocks_and_code"


def shift_clock(days: float) -> None:
    """Set the clock of this process forward, or back."""

    class Shifted(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Shifted":
            moved = datetime.now(tz) + timedelta(days=days)
            return cls.fromtimestamp(moved.timestamp(), tz)

    real = time.time
    patch = pytest.MonkeyPatch()  # never undone: this process is for one walk alone
    patch.setattr(infra.stages, "datetime", Shifted)
    patch.setattr(time, "time", lambda: real() + days * 86400)


def go_at(url: str, until: str, known: dict[str, str], days: float) -> str | None:
    shift_clock(days)
    return go(url, until, known)


@pytest.mark.parametrize(("first", "then"), [(0.0, -400.0), (400.0, 0.0)])
def test_the_clock_jumps_between_a_kill_and_the_rerun(prepared: Prepared, first: float, then: float) -> None:
    prepared.enter(GENERATE)
    walk = (f"{HERE}:go_at", prepared.store.url, GENERATE, prepared.keys)
    assert prepared.nursery.do(*walk, first, fault="commit:stages").was_killed
    again = prepared.nursery.do(*walk, then)
    assert again.result == prepared.keys[GENERATE], again
    assert different(visible(prepared.store), prepared.rows_after(GENERATE)) == []
    assert min(read(prepared.store, "stages").column("seconds").to_pylist()) >= 0


def ingest_at(url: str, people: int, days: float) -> tuple[str, list[str], bool]:
    """Ingest the first people of a source: key, what it builds on, and whether it was done before."""
    shift_clock(days)
    store = Store.open(url)
    folder = Path(url).parent / "coco"
    source = write_coco(true_people(people), folder, "train")
    done = IngestAnnotations(replace(source, dataset="coco")).run(Context(store, CONFIG, in_process=True))
    return done.key, list(done.record.reads), done.reused


def test_ingests_build_on_each_other_whatever_the_clock_says(nursery: Nursery, tmp_path: Path) -> None:
    url = str(tmp_path / "store")
    first, second, third = (
        nursery.do(f"{HERE}:ingest_at", url, people, days).result for people, days in ((2, 0.0), (3, -2.0), (4, -1.0))
    )
    assert second[1] == [first[0]]
    assert third[1] == [second[0]], "a clock that was set back made an older ingest the newest"
    assert newest_ingest(Store.open(url), Target("coco", "train")) == third[0]


@pytest.mark.parametrize(("ahead", "alive"), [(30.0, True), (86400.0, False)])
def test_a_lease_of_a_clock_that_was_ahead_blocks_nobody_for_long(tmp_path: Path, ahead: float, alive: bool) -> None:
    store = Store.open(tmp_path / "store")
    other = Holder("t", "another-machine", "", 1, "", time.time() + ahead, "a round over there")
    store.atomic_write("leases/c/1.json", json.dumps(asdict(other)).encode())
    assert (holder_of(store, "c") is not None) is alive


def hear_version(url: str, until: str, known: dict[str, str], version: int) -> tuple[str | None, list[str]]:
    """The walk, with code that has another version of the stage generate."""
    Generate.version = version
    return hear(url, until, known)


def test_shards_of_another_version_are_made_again_and_it_says_so(prepared: Prepared) -> None:
    prepared.enter(GENERATE)
    store, old = prepared.store, prepared.keys[GENERATE]
    walk = (f"{HERE}:hear_version", store.url, GENERATE, prepared.keys)
    assert prepared.nursery.do(*walk, 1, fault="shard:generate@2").was_killed
    assert len(store.list_files(f"shards/{old}")) == 2
    key, lines = prepared.nursery.do(*walk, 2).result
    assert key != old
    assert any("generate: an unfinished run left 2 shards of version 1" in line for line in lines), lines
    assert len(store.list_files(f"shards/{key}")) == 3
    assert len(store.list_files(f"shards/{old}")) == 2
    made = read(store, "hypotheses", stage_keys=[key, old])
    assert set(made.column("stage_key").to_pylist()) == {key}
    record = find(store, key)
    assert record is not None
    assert record.version == 2
    assert find(store, old) is None


OTHER = """
import json, sys
from tests.faults.chain import go
go(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
"""


def test_shards_of_other_code_count_are_recorded_and_warned_about(prepared: Prepared, tmp_path: Path) -> None:
    """A checkout with a changed comment is killed in generate; this one goes on."""
    prepared.enter(GENERATE)
    other = tmp_path / "other"
    for package in (*PACKAGES, "tests"):
        shutil.copytree(ROOT / package, other / package, ignore=shutil.ignore_patterns("__pycache__"))
    with open(other / "tasks" / "generate.py", "a", encoding="utf-8") as file:
        file.write("\n# changed\n")
    command = [sys.executable, "-c", OTHER, prepared.store.url, GENERATE, json.dumps(prepared.keys)]
    environment = {**os.environ, "PYTHONPATH": str(other), "ADHMR_FAULT_AT": "shard:generate@2"}
    assert subprocess.run(command, cwd=other, env=environment, check=False).returncode == -signal.SIGKILL
    outcome = prepared.nursery.do("tests.faults.chain:hear", prepared.store.url, GENERATE, prepared.keys)
    key, lines = outcome.result
    assert key == prepared.keys[GENERATE]
    theirs = code_digest(other)
    assert any(
        line.startswith("WARNING: generate: 2 of 3 shards were made by other code") and theirs[:12] in line
        for line in lines
    ), lines
    rows = {row["stage_key"]: row for row in read(prepared.store, "stages").to_pylist()}
    assert json.loads(rows[key]["versions_json"])["other_code"] == theirs
    assert rows[key]["code_digest"] != theirs
    expected, found = prepared.rows_after(GENERATE), visible(prepared.store)
    assert different({**found, "stages": expected["stages"]}, expected) == []
