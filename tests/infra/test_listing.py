"""Lists of large tables: what stages wrote, taken over once."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.listing import PEOPLE, REVIEWED, Listing
from infra.shards import Shard, Tally, write_shard
from infra.stages import StageSpec, commit
from infra.store import Store
from infra.tables import read
from schemas.errors import StoreError
from schemas.tables import build
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


def test_tables_that_are_only_kept_give_way_where_there_is_no_room(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    (tmp_path / "lists").mkdir()
    with closing(Listing(store, tmp_path / "lists", 64)) as listing:
        large = "SELECT range AS n, ? AS which FROM range({})"
        (tmp_path / "lists" / "spill").rmdir()
        (tmp_path / "lists" / "spill").touch()  # nothing can be laid aside
        for number in range(6):
            with listing.derived(large.format(2_000_000), [number]) as named:
                assert listing.rows(f"SELECT count(*) AS n FROM {named}")[0]["n"] == 2_000_000
        assert _derived(listing) < 6
        with pytest.raises(StoreError, match=r"64 MB.*--memory 128"), listing.derived(large.format(20_000_000), [0]):
            pass
        with listing.derived(large.format(10), [0]) as named:
            assert listing.rows(f"SELECT count(*) AS n FROM {named}")[0]["n"] == 10


def test_rows_of_a_stage_find_the_room_that_kept_tables_leave(
    listing: Listing, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, plain = helpers.spec().key, Listing._take_rows

    def tight(self: Listing, cursor: duckdb.DuckDBPyConnection, name: str, *given: Any) -> None:
        if _derived(self):
            raise duckdb.OutOfMemoryException("Out of Memory Error: no room")
        plain(self, cursor, name, *given)

    monkeypatch.setattr(Listing, "_take_rows", tight)
    with listing.derived("SELECT 1 AS n"):
        pass
    listing.need("scored", [key])
    assert listing.rows("SELECT count(*) AS n FROM scored")[0]["n"] > 0
    with listing.derived("SELECT 1 AS n"), pytest.raises(StoreError, match=r"no room.*--memory 256"):
        listing.need("failed", [key])


@pytest.mark.parametrize(("file", "said"), [("lists/spill/a.tmp", "TMPDIR"), ("a.parquet", "adhmr repair")])
def test_a_full_folder_is_not_taken_for_a_damaged_store(
    listing: Listing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, said: str
) -> None:
    def full(*given: Any) -> None:
        raise duckdb.IOException(f'IO Error: Could not use file "{tmp_path / file}": No space left on device')

    monkeypatch.setattr(Listing, "_take_rows", full)
    with pytest.raises(StoreError, match=said):
        listing.need("scored", [helpers.spec().key])


def test_lists_that_are_closed_say_so(listing: Listing) -> None:
    listing.need("scored", [helpers.spec().key])
    with listing.derived("SELECT 1 AS n"):
        listing.close()
    for ask in (
        lambda: listing.rows("SELECT * FROM scored"),
        lambda: listing.need("failed", [helpers.spec().key]),
        lambda: listing.replace(REVIEWED, pa.table({"stage_key": ["k"]})),
    ):
        with pytest.raises(StoreError, match="can't be listed"):
            ask()


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


def _pairs_of(listing: Listing, generations: list[str]) -> tuple[str, list[Path]]:
    """A stage of pairs, a file for each of these generations, in this order."""
    store, stage = listing.store, StageSpec("pair", 1, {"of": generations})
    files = []
    for number, generation in enumerate(generations):
        shard = Shard(number, (f"toy/test/{number}#0",))
        columns = {
            "pair_set": stage.key,
            "instance_id": list(shard.ids),
            "generation_id": generation,
            "winner": 1,
            "loser": 2,
            "margin": number / 2,
            "strategy": "top_bottom",
            **{
                f"{end}_{name}": np.zeros((1, length))
                for end in ("winner", "loser")
                for name, length in (("uvd", 87), ("twist", 46), ("betas", 10))
            },
            "dataset": "toy",
            "round": 1,
            "stage_key": stage.key,
        }
        files += write_shard(
            store, stage.key, shard, {"pairs": build("pairs", columns)}, Tally(ok=1), stage="pair"
        ).files
    commit(store, stage, {"pairs": files}, len(files), Tally(ok=len(files)))
    return stage.key, [Path(store.root, "tables", "pairs", file.path) for file in files]


def test_pairs_of_several_stages_and_drawings_keep_theirs(listing: Listing) -> None:
    made = [_pairs_of(listing, generations)[0] for generations in (["a", "a", "b"], ["c", "a"], ["it's"])]
    for key in (made[0], made[2], made[1]):
        listing.need("pairs", [key])
    asked = "SELECT stage_key, generation_id FROM pairs WHERE stage_key IN (?, ?) ORDER BY stage_key = ?, instance_id"
    rows = listing.rows(asked, [made[0], made[1], made[1]])
    expected = [(made[0], "a"), (made[0], "a"), (made[0], "b"), (made[1], "c"), (made[1], "a")]
    assert [tuple(row.values()) for row in rows] == expected
    (other,) = listing.rows("SELECT generation_id FROM pairs WHERE stage_key = ?", [made[2]])
    assert other["generation_id"] == "it's"


@pytest.mark.parametrize("without", [0, 1])
def test_files_of_one_stage_may_differ_in_their_columns(listing: Listing, without: int) -> None:
    """As those of a stage that an engine with one column less began, and this one ended."""
    key, paths = _pairs_of(listing, ["a", "a"])
    pq.write_table(pq.read_table(paths[without], partitioning=None).drop_columns(["margin"]), paths[without])
    listing.need("pairs", [key])
    rows = listing.rows("SELECT margin FROM pairs ORDER BY instance_id")
    assert [row["margin"] for row in rows] == [None if number == without else number / 2 for number in range(2)]
