"""The power fails while something is committed: what the disk has forgotten is noticed, or nothing is lost.

The states come from `tests.faults.crash_clone`. In each of them a reader looks, and the same work is done again: the
rows are those of undisturbed work, and nobody has seen others meanwhile.
"""

import random
import shutil
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from infra.store import Store
from infra.vacuum import vacuum
from tests.faults.chain import FIRST, SECOND, copy
from tests.faults.crash_clone import DONE, State, moments_of, states
from tests.faults.nursery import Nursery
from tests.faults.prepared import Prepared
from tests.faults.small_commits import COMMITS
from tests.faults.tables import different, visible

pytestmark = pytest.mark.slow
CLONES, SMALL, WALK = "tests.faults.crash_clone", "tests.faults.small_commits", "tests.faults.chain:go"
LONG = pytest.mark.faults
FEW = 5
"""States of each commit that `make test` tries; `make faults` tries all."""
Note = Callable[[str, object], None]


def states_of(
    nursery: Nursery, root: Path, pool: Path, call: str, arguments: Sequence[Any], expected: Path
) -> list[State]:
    """The states that a failure may leave while the call is done; what it leaves undisturbed goes to `expected`."""
    recorded = nursery.do(f"{CLONES}:record", str(root), str(pool), call, arguments)
    assert recorded.returncode == 0, recorded
    shutil.copytree(root, expected)
    moments = moments_of(recorded.result)
    assert sum(moment.when.startswith("before the sync") for moment in moments) > 2
    return states(moments)


def replay(
    nursery: Nursery, root: Path, pool: Path, call: str, arguments: Sequence[Any], expected: Path, found: list[State]
) -> list[str]:
    """What was lost in silence."""
    done = nursery.do(f"{CLONES}:replay", str(root), str(pool), call, arguments, str(expected), found)
    assert done.returncode == 0, done
    lost: list[str] = done.result
    return lost


def few(found: list[State], count: int) -> list[State]:
    """Some of them, the same ones each time; what is found after the work was done is always among them."""
    last = [state for state in found if state.when == DONE]
    return [*last[:count], *random.Random(0).sample(found, max(0, min(count, len(found)) - len(last)))]


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=LONG)], ids=["some", "all"])
@pytest.mark.parametrize("commit", COMMITS)
def test_of_each_kind_of_commit(
    nursery: Nursery, tmp_path: Path, commit: str, every: bool, record_property: Note
) -> None:
    root, pool, expected = (tmp_path / name for name in ("store", "pool", "expected"))
    call, arguments = f"{SMALL}:{commit}", [str(root)]
    assert nursery.do(f"{SMALL}:{COMMITS[commit][0].__name__}", str(root)).returncode == 0
    found = states_of(nursery, root, pool, call, arguments, expected)
    chosen = found if every else few(found, FEW)
    lost = replay(nursery, root, pool, call, arguments, expected, chosen)
    # once the call has returned nothing may depend on its being done again: nobody does a roll-back again
    promised = [state for state in found if state.when == DONE]
    lost += replay(nursery, root, pool, "", [], expected, promised)
    told(record_property, len(chosen) + len(promised), lost)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("title", "count"),
    [
        ("synthesize", 60),
        (f"{FIRST}generate", None),
        (f"{FIRST}score", None),
        (f"{FIRST}align", 60),
        (f"{FIRST}report", None),
        (f"{SECOND}pseudo_label", None),
        (f"{SECOND}report", None),
        ("ingest_annotations", None),
    ],
)
def test_of_a_stage_of_a_round(
    prepared: Prepared, tmp_path: Path, title: str, count: int | None, record_property: Note
) -> None:
    """With the rounds' own commits before it; of those with very many states, some."""
    prepared.enter(title)
    root, pool, expected = Path(prepared.store.root), tmp_path / "pool", tmp_path / "expected"
    walk = [str(root), title, prepared.keys]
    found = states_of(prepared.nursery, root, pool, WALK, walk, expected)
    chosen = found if count is None else few(found, count)
    told(record_property, len(chosen), replay(prepared.nursery, root, pool, WALK, walk, expected, chosen))


@pytest.mark.parametrize("entry", ["absent", "empty"])
@pytest.mark.parametrize("table", ["scores", pytest.param("stages", marks=LONG)])
def test_a_vacuum_takes_nothing_that_a_repair_needs(prepared: Prepared, table: str, entry: str) -> None:
    """Earlier versions of the engine synced no log: what they had committed last may be lost to this day."""
    title = f"{FIRST}score"
    copy(prepared.after(title).root, prepared.store.root)
    newest = max(Path(prepared.store.path("tables", table, "_delta_log")).glob("*.json"))
    newest.unlink()
    if entry == "empty":
        newest.touch()
    store = Store.open(prepared.store.root)
    before = store.list_files("tables/scores")
    vacuum(store, grace=timedelta(0), dry_run=False)
    assert store.list_files("tables/scores") == before
    walk = prepared.nursery.do(WALK, store.root, title, prepared.keys)
    assert (walk.returncode, walk.result) == (0, prepared.keys[title]), walk
    assert different(visible(store), prepared.rows_after(title)) == []


def told(record_property: Note, count: int, lost: list[str]) -> None:
    """For `make faults`; none may be lost."""
    record_property("states", count)
    record_property("lost", len(lost))
    print(f"{count} states tried, {len(lost)} silent losses")
    assert lost == []
