"""How far hypotheses lie apart: what is computed, and that it is made aside, stage by stage."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from infra import spreads
from infra.listing import PEOPLE, Listing
from infra.spreads import spread_of
from infra.stages import StageSpec, commit_rows, find, records
from infra.store import Store
from infra.tables import read
from schemas.errors import StoreError
from tests.flows.browse.large_store import fill

LONG_S = 60.0


@pytest.fixture
def listing(tmp_path: Path) -> Iterator[Listing]:
    store = Store.open(tmp_path / "store")
    fill(store, 600)  # three files
    (tmp_path / "lists").mkdir()
    with closing(Listing(store, tmp_path / "lists")) as made:
        made.need(PEOPLE, [_key(store, "ingest")])
        yield made


def _key(store: Store, stage: str) -> str:
    return next(record.stage_key for record in records(store) if record.stage == stage)


def test_all_of_a_stage_are_gone_through(listing: Listing, monkeypatch: pytest.MonkeyPatch) -> None:
    key = _key(listing.store, "generate")
    monkeypatch.setattr(spreads, "_AT_ONCE", 1200)
    assert listing.spread_share([key], LONG_S) == 1.0
    wanted, _ = _seen(listing.store)
    assert {row["instance_id"]: row["mm"] for row in listing.rows(f"SELECT * FROM spread_{key}")} == wanted
    assert min(wanted.values()) > 0


def test_people_who_were_ingested_anew_are_those_whom_the_stage_saw(listing: Listing) -> None:
    store = listing.store
    old, drawn = _key(store, "ingest"), _key(store, "generate")
    rows = read(store, "instances", stage_keys=[old]).slice(0, 1)
    name = rows.column("instance_id")[0].as_py()
    kind = rows.schema.field("crop_intrinsics")
    nearer = pa.array([[160.0, 160.0, 32.0, 32.0]], kind.type)
    rows = rows.set_column(rows.schema.get_field_index("crop_intrinsics"), kind, nearer)
    anew = StageSpec("ingest", 1, {"anew": True}, reads=(old,))
    commit_rows(store, anew, {"instances": rows.drop_columns(["stage_key"])})
    later = StageSpec("generate", 1, {"later": True}, reads=(anew.key,))
    hypotheses = read(store, "hypotheses", stage_keys=[drawn]).drop_columns(["stage_key"])
    commit_rows(store, later, {"hypotheses": hypotheses})
    listing.need(PEOPLE, [anew.key])
    assert listing.spread_share([drawn, later.key], LONG_S) == 1.0

    def of(key: str) -> dict[str, float]:
        found = listing.rows(f"SELECT instance_id, mm FROM spread_{key}")
        return {row["instance_id"]: row["mm"] for row in found}

    before, after = of(drawn), of(later.key)
    wanted, reach = _seen(store)
    near = spread_of(hypotheses.filter(pc.greater(hypotheses.column("sample_index"), 0)), {name: reach[name] / 2})
    assert after.pop(name) == pytest.approx(near.column("mm")[0].as_py())
    assert before == wanted
    del wanted[name]
    assert after == wanted


def _seen(store: Store) -> tuple[dict[str, float], dict[str, float]]:
    """How far each person's hypotheses of the first drawing lie apart, and the reach, as the first ingest had them."""
    drawn = read(store, "hypotheses", stage_keys=[_key(store, "generate")])
    columns = ["instance_id", "crop_size_px", "crop_intrinsics"]
    people = read(store, "instances", stage_keys=[_key(store, "ingest")], columns=columns).to_pylist()
    reach = {row["instance_id"]: row["crop_size_px"] / 2 / row["crop_intrinsics"][0] for row in people}
    spread = spread_of(drawn.filter(pc.greater(drawn.column("sample_index"), 0)), reach)
    return {row["instance_id"]: row["mm"] for row in spread.to_pylist()}, reach


def test_scores_say_it_of_everyone_or_it_is_made_of_poses(listing: Listing, tmp_path: Path) -> None:
    store, keys = listing.store, ("generate", "ingest")
    assert listing.has_spreads(_key(store, "score"))
    assert [listing.has_spreads(_key(store, stage)) for stage in keys] == [False, False]  # they have no scores
    scores = read(store, "scores", stage_keys=[_key(store, "score")]).drop_columns(["stage_key"])
    spread = scores.column("spread_mm").to_pylist()
    spread[4:8] = [None] * 4  # of one person, as where a stage was begun before an upgrade and ended after it
    torn = scores.set_column(scores.schema.get_field_index("spread_mm"), "spread_mm", pa.array(spread, pa.float64()))
    for number, rows in enumerate((torn, scores.drop_columns(["spread_mm"]))):
        spec = StageSpec("score", 2 + number, {}, reads=(_key(store, "generate"),))
        commit_rows(store, spec, {"scores": rows})
        assert not listing.has_spreads(spec.key)
    older = Store.open(tmp_path / "older")
    fill(older, 10, spreads=False)
    (tmp_path / "of_older").mkdir()
    with closing(Listing(older, tmp_path / "of_older")) as lists:
        assert not lists.has_spreads(_key(older, "score"))


def test_a_stage_without_hypotheses_and_no_stage_are_whole(listing: Listing) -> None:
    key = _key(listing.store, "score")
    assert listing.spread_share([key], LONG_S) == listing.spread_share([], 0.0) == 1.0
    assert listing.rows(f"SELECT * FROM spread_{key}") == []


def test_who_does_not_wait_is_told_how_far_it_is(listing: Listing, monkeypatch: pytest.MonkeyPatch) -> None:
    key = _key(listing.store, "generate")
    go_on, began, plain = threading.Event(), threading.Semaphore(0), spreads.spread_of

    def held(*given: object) -> pa.Table:
        began.release()
        assert go_on.wait(LONG_S)
        return plain(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(spreads, "spread_of", held)
    monkeypatch.setattr(spreads, "_AT_ONCE", 1)  # file by file
    assert listing.spread_share([key], 0.0) == 0.0
    assert began.acquire(timeout=LONG_S)
    listing.need("scored", [_key(listing.store, "score")])  # other lists don't wait for it
    assert listing.spread_share([key], 0.0) == 0.0
    go_on.set()
    assert listing.spread_share([key], LONG_S) == 1.0
    assert [began.acquire(blocking=False) for _ in range(3)] == [True, True, False]


def test_it_finds_the_room_that_kept_tables_leave(listing: Listing, monkeypatch: pytest.MonkeyPatch) -> None:
    key, plain = _key(listing.store, "generate"), Listing._with_room
    tables = "SELECT count(*) AS n FROM duckdb_tables() WHERE table_name LIKE 'derived%'"

    def tight(self: Listing, work: Callable[[], Any]) -> Any:
        def first() -> Any:
            if "INSERT INTO spread" in str(getattr(work, "args", "")) and len(self._derived):
                raise duckdb.OutOfMemoryException("Out of Memory Error: no room")
            return work()

        return plain(self, first)

    monkeypatch.setattr(listing._spreads, "_with_room", partial(tight, listing))
    with listing.derived("SELECT 1 AS n"):
        pass
    assert listing.spread_share([key], LONG_S) == 1.0
    assert listing.rows(tables)[0]["n"] == 0
    assert listing.rows(f"SELECT count(*) AS n FROM spread_{key}")[0]["n"] == 600


def test_an_end_in_the_middle_waits_for_a_file_at_most(listing: Listing, monkeypatch: pytest.MonkeyPatch) -> None:
    began, over, plain = threading.Event(), threading.Event(), spreads.spread_of
    seen = []

    def slow(*given: object) -> pa.Table:
        seen.append(1)
        began.set()
        assert over.wait(LONG_S)
        return plain(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(spreads, "spread_of", slow)
    monkeypatch.setattr(spreads, "_AT_ONCE", 1)
    listing.spread_share([_key(listing.store, "generate")], 0.0)
    assert began.wait(LONG_S)
    closer = threading.Thread(target=listing.close)
    closer.start()
    assert listing._spreads._over.wait(LONG_S)
    over.set()
    closer.join(LONG_S)
    assert not closer.is_alive()
    assert len(seen) == 1


def test_what_kept_it_from_being_made_is_told_and_it_is_tried_again(listing: Listing) -> None:
    key = _key(listing.store, "generate")
    record = find(listing.store, key)
    assert record is not None
    path = next(Path(listing.store.root, "tables", "hypotheses").glob("**/*.parquet"))
    whole = path.read_bytes()
    path.write_bytes(b"")
    with pytest.raises(StoreError, match=path.name):
        listing.spread_share([key], LONG_S)
    path.write_bytes(whole)
    assert listing.spread_share([key], LONG_S) == 1.0
    assert listing.rows(f"SELECT count(*) AS n FROM spread_{key}")[0]["n"] == 600


def test_spread_is_the_distance_from_the_mean_place() -> None:
    joints = np.zeros((4, 29, 3), np.float32)
    joints[1, 1:, 0], joints[0, 1:, 0] = 0.5, -0.5  # half a crop's side to either side, pelvises laid together
    joints[2:, :, 2] = 1.0  # as a whole: no difference
    table = pa.table(
        {
            "instance_id": ["a", "a", "b", "b"],
            "uvd": pa.array(list(joints.reshape(4, 87)), pa.list_(pa.float32())),
            "root_depth_m": [2.0, 2.0, 3.0, 3.0],
        }
    )
    rows = {row["instance_id"]: row["mm"] for row in spread_of(table, {"a": 0.25, "b": 0.25}).to_pylist()}
    assert rows["a"] == pytest.approx(0.5 * 0.25 * 2.0 * 1000 * 28 / 29)
    assert rows["b"] == 0
    assert spread_of(table, {"a": 0.25}).to_pylist()[1]["mm"] is None
    assert spread_of(table.slice(0, 0), {}).num_rows == 0
