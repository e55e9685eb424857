"""The power fails while a stage or a round is committed: what a disk may have forgotten is noticed, or nothing is lost.

The states come from `tests.faults.crash_clone`. In each of them a reader looks, and the next run goes on.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.chain import FIRST
from tests.faults.crash_clone import State, moments_of, states
from tests.faults.prepared import Prepared

pytestmark = pytest.mark.slow
HERE = "tests.faults.crash_clone"
WALK = "tests.faults.chain:go"

TITLES = [
    f"{FIRST}score",
    f"{FIRST}compare",
]
Note = Callable[[str, object], None]


@pytest.mark.parametrize("title", TITLES)
def test_of_a_stage(prepared: Prepared, tmp_path: Path, title: str, record_property: Note) -> None:
    prepared.enter(title)
    root, pool = prepared.store.root, str(tmp_path / "pool")
    walk = [root, title, prepared.keys]
    recorded = prepared.nursery.do(f"{HERE}:record", root, pool, WALK, walk)
    assert recorded.returncode == 0, recorded
    found = states(moments_of(recorded.result))
    print(len(found), "states")
    tried(prepared, pool, walk, title, found, record_property)


def tried(
    prepared: Prepared, pool: str, walk: list[object], title: str, found: list[State], record_property: Note
) -> None:
    expected = prepared.after(title).root
    replayed = prepared.nursery.do(f"{HERE}:replay", prepared.store.root, pool, WALK, walk, expected, found)
    assert replayed.returncode == 0, replayed
    record_property("states", len(found))
    record_property("lost", len(replayed.result))
    assert replayed.result == []
