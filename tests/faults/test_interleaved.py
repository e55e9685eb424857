"""Another command in the middle of a stage: a vacuum, a roll-back, a second run, an ingest, somebody's `rm`.

The stage is held at a fault point, in a process of its own, until the other command is done. Afterwards the rows are
those of an undisturbed run. No table is ever torn.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.faults.chain import FIRST, SECOND
from tests.faults.nursery import Order, Outcome
from tests.faults.prepared import Prepared
from tests.faults.tables import counted, different, of_stages, visible
from tests.faults.test_every_step import POINTS

pytestmark = pytest.mark.slow
HERE = "tests.faults.interleaved"
LONG = pytest.mark.faults


def beside(
    prepared: Prepared, folder: Path, title: str, point: str, command: str, *arguments: Any
) -> tuple[Outcome, Outcome]:
    """How the walk to the stage ended, and the command that was done while it was held at the point."""
    prepared.enter(title)
    url = prepared.store.root
    return tuple(  # type: ignore[return-value]
        prepared.nursery.together(
            Order(f"{HERE}:held_walk", [url, title, prepared.keys, point, str(folder)]),
            Order(f"{HERE}:meanwhile", [str(folder), command, [url, *arguments]]),
        )
    )


def assert_as_undisturbed(prepared: Prepared, title: str, keys: Sequence[str] = ()) -> None:
    """All rows of all tables, but for those of the stages `keys`."""
    seen, expected = visible(prepared.store), prepared.rows_after(title)
    assert counted(prepared.store) == {table: len(rows) for table, rows in seen.items()}
    mine = pa.array(sorted(set(seen["stages"].column("stage_key").to_pylist()) - set(keys)), pa.string())
    fixed = {"rounds": expected["rounds"]}
    assert different({**of_stages(seen, mine), **fixed}, {**expected, **fixed}) == []
    assert different({"rounds": seen["rounds"]}, {"rounds": expected["rounds"]}) == []


@pytest.mark.parametrize(
    ("first", "last"), [(f"{FIRST}generate", f"{FIRST}pair"), pytest.param(None, None, marks=LONG)]
)
def test_a_vacuum_at_every_point_of_a_round(
    prepared: Prepared, first: str | None, last: str | None, record_property: Any
) -> None:
    """Of the stages up to the pairs; and of the whole line, two rounds, from an empty store."""
    start, end = first or next(iter(prepared.keys)), last or list(prepared.keys)[-1]
    prepared.enter(start)
    known = {} if first is None else prepared.before(start)
    walk = prepared.nursery.do(f"{HERE}:swept_walk", prepared.store.root, last, known)
    assert walk.returncode == 0, walk
    record_property("points", len(walk.result))
    passed = set(walk.result)
    titles = list(prepared.keys)[list(prepared.keys).index(start) : list(prepared.keys).index(end) + 1]
    named = {point.partition("@")[0] for title in titles for point in POINTS.get(title, ())}
    assert named <= passed, named - passed
    assert_as_undisturbed(prepared, end)


ALONE = [
    # no lease tells of the walk, as where the engine is used from Python
    (f"{FIRST}generate", "append:rounds@2"),
    (f"{FIRST}generate", "shard:generate@2"),
    (f"{FIRST}generate", "commit:hypotheses"),
    (f"{FIRST}align", "train:align@2"),
    (f"{FIRST}align", "commit:models"),
    (f"{FIRST}compare", "commit:metrics"),
    (f"{FIRST}compare", "append:stages"),
]


@pytest.mark.parametrize(("title", "point"), ALONE)
def test_a_vacuum_that_knows_of_no_lease(prepared: Prepared, tmp_path: Path, title: str, point: str) -> None:
    walked, swept = beside(prepared, tmp_path, title, point, "sweep")
    assert (walked.returncode, walked.result, swept.returncode) == (0, prepared.keys[title], 0), (walked, swept)
    assert_as_undisturbed(prepared, title)


def cases(*quick: tuple[str, str]) -> list[Any]:
    """The quick ones, and all points of a sharded stage, a training and a small stage."""
    titles = [f"{FIRST}generate", f"{FIRST}align", f"{FIRST}compare"]
    every = [(title, point) for title in titles for point in POINTS[title]]
    return [*quick, *(pytest.param(*case, marks=LONG) for case in every if case not in quick)]


@pytest.mark.parametrize(
    ("title", "point"),
    cases((f"{FIRST}generate", "shard:generate@2"), (f"{FIRST}pair", "append:stages"), (f"{FIRST}align", "made:align")),
)
def test_a_second_run(prepared: Prepared, tmp_path: Path, title: str, point: str) -> None:
    walked, other = beside(prepared, tmp_path, title, point, "run_as_well", title, prepared.keys)
    assert (walked.returncode, other.returncode) == (0, 0), (walked, other)
    assert walked.result == other.result == prepared.keys[title]
    assert_as_undisturbed(prepared, title)


@pytest.mark.parametrize(
    ("title", "point"), cases((f"{FIRST}generate", "commit:hypotheses"), (f"{FIRST}align", "trained:align"))
)
def test_an_ingest(prepared: Prepared, tmp_path: Path, title: str, point: str) -> None:
    walked, other = beside(prepared, tmp_path, title, point, "ingest")
    key = prepared.keys["ingest_annotations"]
    assert (walked.returncode, walked.result) == (0, prepared.keys[title]), (walked, other)
    assert (other.returncode, other.result) == (0, key), (walked, other)
    assert_as_undisturbed(prepared, title, [key])
    seen, expected = visible(prepared.store), prepared.rows_after("ingest_annotations")
    its = pa.array([key])
    fixed = {"rounds": expected["rounds"]}
    assert different({**of_stages(seen, its), **fixed}, {**of_stages(expected, its), **fixed}) == []


@pytest.mark.parametrize("point", ["made:report", pytest.param("append:stages", marks=LONG)])
def test_a_roll_back_after_the_promotion(prepared: Prepared, tmp_path: Path, point: str) -> None:
    title = f"{SECOND}report"
    walked, other = beside(prepared, tmp_path, title, point, "roll_back")
    assert (walked.returncode, walked.result) == (0, prepared.keys[title]), (walked, other)
    assert other.result is True, other
    seen, expected = visible(prepared.store), prepared.rows_after(title)
    assert [row["event"] for row in seen["rounds"].to_pylist()][-2:] == ["promoted", "rolled_back"]
    assert different({**seen, "rounds": expected["rounds"]}, expected) == []


REMOVED = [
    (f"{FIRST}generate", "shard:generate@2", "shards/{key}/00000.json"),
    (f"{FIRST}generate", "shards:generate", "tables/hypotheses/*/part-{key}-00001*"),
    (f"{FIRST}generate", "commit:hypotheses", "tables/hypotheses/*/part-{key}-00001*"),
    (f"{FIRST}generate", "commit:stages", "tables/hypotheses/*/part-{key}-00001*"),
    (f"{FIRST}generate", "append:stages", "tables/stages/part-{key}-*"),
    (f"{FIRST}compare", "commit:metrics", "tables/metrics/part-{key}-*"),
    (f"{FIRST}compare", "file:shards", "tables/metrics/part-{key}-*"),
    (f"{FIRST}align", "train:align@2", "ray/*/engine/checkpoint.pt"),
    (f"{FIRST}align", "commit:models", "tables/models/part-{key}-*"),
]


@pytest.mark.parametrize(
    ("title", "point", "pattern"),
    [pytest.param(*case, marks=() if place % 2 == 0 else LONG) for place, case in enumerate(REMOVED)],
)
def test_somebody_removes_a_file(prepared: Prepared, tmp_path: Path, title: str, point: str, pattern: str) -> None:
    """It is made again at once."""
    key = prepared.keys[title]
    walked, other = beside(prepared, tmp_path, title, point, "remove", pattern.format(key=key))
    assert other.returncode == 0, (walked, other)
    assert (walked.returncode, walked.result) == (0, key), walked
    assert_as_undisturbed(prepared, title)
