"""Overhead is what is left of a round without its work, and every process notes the work that it does."""

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from infra.stages import StageRecord
from infra.store import Store
from tests.benchmarks.overhead import ROOT, WATCHED, Part, Span, covered, parts
from tests.infra.helpers import run


def record(store: Store, name: str, began: float, ended: float) -> StageRecord:
    times = {"started_at": datetime.fromtimestamp(began, UTC), "finished_at": datetime.fromtimestamp(ended, UTC)}
    return replace(run(store, name), stage=name, **times)


def test_work_side_by_side_counts_once() -> None:
    assert covered([Span(3, 5), Span(0, 2), Span(1, 4), Span(7, 8)]) == 6
    assert covered([]) == 0


def test_a_round_is_cut_at_its_stages(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    stages = [record(store, "score", 15, 20), record(store, "generate", 10, 14), record(store, "align", 16, 24)]
    work = [Span(11, 13), Span(12, 13.5), Span(16, 23)]
    assert list(parts(Span(4, 30), stages, work)) == [
        Part("before the first stage", 6, 0),
        Part("generate", 4, 2.5),
        Part("between stages", 1, 0),
        Part("score", 5, 4),
        Part("between stages", 0, 0),
        Part("align", 4, 3),
        Part("after the last stage", 6, 0),
    ]


LOOK = """
from tasks.engine.shard_work import ShardWork
import tasks.engine.loop
work = ShardWork(None, None, None, ())
work.turn = lambda row: row
try:
    work.do(None)
except TypeError:
    pass
print(tasks.engine.loop.Training.run.__wrapped__.__name__)
"""


@pytest.mark.slow
def test_processes_note_their_work(tmp_path: Path) -> None:
    environment = {"PYTHONPATH": f"{WATCHED}:{ROOT}", "ADHMR_WATCHED": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", LOOK], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout == "run\n", done.stderr
    (file,) = tmp_path.glob("*.txt")
    began, ended, what = file.read_text().split()
    assert what == "ShardWork"
    assert float(began) <= float(ended)
