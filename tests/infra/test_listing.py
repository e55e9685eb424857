"""Lists of large tables: what stages wrote, taken over once; how far hypotheses lie apart."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from infra.listing import PEOPLE, REVIEWED, Listing, spread_of
from infra.store import Store
from infra.tables import read
from schemas.errors import StoreError
from tests.infra import helpers


@pytest.fixture
def listing(tmp_path: Path) -> Listing:
    store = Store.open(tmp_path / "store")
    helpers.run(store)
    (tmp_path / "lists").mkdir()
    return Listing(store, tmp_path / "lists")


def test_rows_of_a_stage_are_taken_over_once(listing: Listing) -> None:
    key = helpers.spec().key
    listing.need("scored", [key, None])
    listing.need("scored", [key])
    listing.need("failed", [key])
    listing.need(PEOPLE, [key])
    rows = listing.rows("SELECT instance_id, zero_score FROM scored ORDER BY 1")
    stored = {row["instance_id"]: row["score"] for row in read(listing.store, "scores").to_pylist()}
    assert {row["instance_id"]: row["zero_score"] for row in rows} == stored
    failed = listing.rows("SELECT id, reason FROM failed ORDER BY 1")
    assert [row["reason"] for row in failed] == ["last of its shard"] * 3


ABOVE = "SELECT * FROM scored WHERE zero_score > ?"


def test_a_table_is_derived_once_and_stays_while_somebody_looks_at_it(listing: Listing) -> None:
    listing.need("scored", [helpers.spec().key])
    with listing.derived(ABOVE, [0.0]) as named:
        rows = listing.rows(f"SELECT count(*) AS n FROM {named}")
        for number in range(1, 20):
            with listing.derived(ABOVE, [number / 20]) as other:
                assert other != named
        with listing.derived(ABOVE, [0.0]) as again:
            assert again == named
        assert listing.rows(f"SELECT count(*) AS n FROM {named}") == rows
    assert _derived(listing) <= 8


def test_any_number_may_look_at_tables_at_once(listing: Listing) -> None:
    """More tables than are kept are asked for by more threads than that; each is there until it has been read."""
    listing.need("scored", [helpers.spec().key])

    def look(number: int) -> int:
        with listing.derived(ABOVE, [number % 13 / 13]) as named:
            return sum(len(listing.rows(f"SELECT * FROM {named}")) for _ in range(3))

    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(look, range(130)))
    assert found[:13] * 10 == found
    assert _derived(listing) <= 8


def _derived(listing: Listing) -> int:
    tables = listing.rows("SELECT count(*) AS n FROM duckdb_tables() WHERE table_name LIKE 'derived%'")
    return int(tables[0]["n"])


def test_a_small_list_is_replaced_as_a_whole(listing: Listing) -> None:
    columns = {"stage_key": ["k"], "instance_id": ["a"], "winner": [1], "loser": [2], "reviewer": ["anna"]}
    for verdict in ("accept", "swap"):
        listing.replace(REVIEWED, pa.table({**columns, "verdict": [verdict]}))
        assert [row["verdict"] for row in listing.rows(f"SELECT * FROM {REVIEWED}")] == [verdict]


def test_a_stage_that_is_not_whole_is_refused(listing: Listing) -> None:
    for path in Path(listing.store.root, "tables", "scores").glob("**/*.parquet"):
        path.write_bytes(b"")
    with pytest.raises(StoreError, match="can't be listed"):
        listing.need("scored", [helpers.spec().key])


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
