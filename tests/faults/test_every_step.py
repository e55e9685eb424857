"""SIGKILL of the driver at every step of every stage: run again, the tables are row by row those of an undisturbed run.

The line of `tests.faults.chain` is walked once; each test then starts from the copy of the store that stood before its
stage, dies at its point in a process of its own, and goes on in another.
"""

import pytest

from infra.begun import unfinished
from tests.faults.chain import FIRST, SECOND
from tests.faults.prepared import Prepared
from tests.faults.tables import counted, different, lasting_files, of_stages, visible, working_files

pytestmark = pytest.mark.slow


def sharded(stage: str, *tables: str, shards: int = 2) -> tuple[str, ...]:
    """Before, within and after the shards; before each transaction, before `stages`, before its transaction; after."""
    within = [f"shard-file:{tables[-1]}@2", "file:shards@2", f"shard:{stage}@2"] if shards > 1 else ["file:shards"]
    commits = [f"commit:{table}" for table in sorted(tables)]
    return (f"begin:{stage}", *within, f"shards:{stage}", *commits, *_end(stage))


def trained(stage: str) -> tuple[str, ...]:
    return (
        *(f"begin:{stage}", f"train:{stage}@2", "train:step:4", "file:checkpoints", f"trained:{stage}"),
        *(f"made:{stage}", "file:shards", "commit:curves", "commit:models", *_end(stage)),
    )


def small(stage: str, *tables: str) -> tuple[str, ...]:
    commits = [f"commit:{table}" for table in sorted(tables)]
    return (f"made:{stage}", *(f"shard-file:{table}" for table in tables), "file:shards", *commits, *_end(stage))


def _end(stage: str) -> tuple[str, ...]:
    return ("commit:stages", "append:stages", f"committed:{stage}")


LOG = "append:rounds"
INGESTED = ("images", "instances", "labels")
POINTS: dict[str, tuple[str, ...]] = {
    "synthesize": (
        *("begin:synthesize", "file:pictures@5", "file:synthetic", "file:shards@2", "shard:synthesize@2"),
        *("shards:synthesize", *_end("synthesize"), "file:synthetic@9", "file:synthetic@10", "file:synthetic@11"),
    ),
    "ingest": sharded("ingest", *INGESTED),
    "train_base": trained("train_base"),
    "train_scorer": trained("train_scorer"),
    "evaluate (first policy)": sharded("evaluate", "errors", "hypotheses", "scores"),
    # the campaign begins, and its first round is opened
    f"{FIRST}generate": (LOG, f"{LOG}@2", *sharded("generate", "hypotheses")),
    f"{FIRST}score": sharded("score", "scores"),
    f"{FIRST}pair": sharded("pair", "pairs"),
    f"{FIRST}align": trained("align"),
    f"{FIRST}compare": small("compare", "metrics"),
    # promoted or kept
    f"{FIRST}report": (LOG, "file:reports", "file:reports@2", "made:report", "file:shards", *_end("report")),
    # closed, and the next one is opened
    f"{SECOND}pseudo_label": (LOG, f"{LOG}@2", *sharded("pseudo_label", "labels")),
    f"{SECOND}score_labels": sharded("score_labels", "scores"),
    f"{SECOND}keep": small("keep", "labels", "metrics"),
    f"{SECOND}train_clean": trained("train_clean"),
    "given_labels": (LOG, *small("given_labels", "labels")),
    "ingest_annotations": ("file:ingests", *sharded("ingest", "images", "instances", shards=1)),
    "ingest_hypotheses": ("file:ingests", *sharded("ingest_hypotheses", "images", "instances", "hypotheses", shards=1)),
    "evaluate_scorer": (  # two stages
        *sharded("score_noised", "errors", "scores", shards=1),
        *("made:evaluate_scorer", "shard-file:metrics", "file:shards@2", "commit:metrics"),
        *("commit:stages@2", "append:stages@2", "committed:evaluate_scorer"),
    ),
}
QUICK = ("shard-file:", "shard:", "train:step:", "made:", "commit:hypotheses", "commit:models", LOG, "append:stages")
"""Points that `make test` has as well: the other half only `make faults`."""


def test_every_stage_of_a_round_is_in_the_table(prepared: Prepared) -> None:
    def names(titles: list[str] | dict[str, str]) -> set[str]:
        return {title.removeprefix(FIRST).removeprefix(SECOND).split(" (")[0] for title in titles}

    assert names(list(POINTS)) == names(prepared.keys)


@pytest.mark.parametrize(
    ("title", "point"),
    [
        pytest.param(title, point, marks=() if point.startswith(QUICK) else pytest.mark.faults)
        for title, points in POINTS.items()
        for point in points
    ],
)
def test_killed_and_run_again(prepared: Prepared, title: str, point: str) -> None:
    store, known = prepared.store, prepared.keys
    prepared.enter(title)
    before = visible(store)
    walk = ("tests.faults.chain:go", store.url, title, known)
    killed = prepared.nursery.do(*walk, fault=point)
    assert killed.was_killed, f"it came by {point} unharmed, or not at all: {killed}"

    seen, expected = visible(store), prepared.rows_after(title)
    finished = seen["stages"].column("stage_key")
    assert set(before["stages"].column("stage_key").to_pylist()) <= set(finished.to_pylist())
    fixed = {"rounds": before["rounds"]}  # the log of rounds goes on before a stage begins
    assert different({**seen, **fixed}, {**of_stages(expected, finished), **fixed}) == []
    assert counted(store) == {table: len(found) for table, found in seen.items()}

    again = prepared.nursery.do(*walk)
    assert (again.returncode, again.result) == (0, known[title]), again
    assert different(visible(store), expected) == []
    assert counted(store) == {table: len(found) for table, found in expected.items()}
    assert lasting_files(store) == lasting_files(prepared.after(title))
    assert working_files(store) == []
    assert unfinished(store) == []
