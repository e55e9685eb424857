"""Data files against what the log says of them: another number is never given, the first reading is the only check."""

import re
from pathlib import Path

import pyarrow as pa
import pytest

from infra import intact, views
from infra.data_files import DataFile, content_digits
from infra.shards import parquet_bytes
from infra.standing_views import STANDING, view_name
from infra.store import Store
from infra.tables import live_files, read
from infra.views import query
from schemas.errors import DamagedError, StoreError
from schemas.tables import TABLES
from tests.infra import helpers

EVERY = {*TABLES, *map(view_name, STANDING)}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store.open(tmp_path / "store")
    helpers.run(made)
    return made


def first(store: Store, table: str) -> Path:
    return Path(store.path("tables", table, live_files(store, table)[0].path))


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 8
    path.write_bytes(data)


@pytest.mark.parametrize("table", ["scores", "failures"])
@pytest.mark.parametrize("place", [0, 40, -9])
def test_a_flipped_bit_is_noticed_by_the_engine_and_by_a_query(store: Store, table: str, place: int) -> None:
    path = first(store, table)
    flip(path, place)
    words = (
        rf"^Table {table} in {re.escape(store.url)} has lost a file: \S*{path.name} holds other bytes than were written"
    )
    with pytest.raises(DamagedError, match=words):
        read(store, table)
    with pytest.raises(DamagedError, match=words):
        query(store, f"SELECT count(*) FROM {table}")


def test_a_stage_whose_row_is_damaged_counts_as_not_finished_and_it_is_said(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    flip(first(store, "stages"), 40)
    store = Store.open(store.url)
    assert len(read(store, "scores")) == 0
    assert "Left out, as it is not whole: stage" in caplog.text
    with pytest.raises(StoreError, match="stages has 0 of 1 rows"):
        read(store, "scores", stage_keys=[helpers.spec().key])


@pytest.mark.parametrize("place", [40, -9])
def test_other_tables_can_still_be_asked(store: Store, place: int) -> None:
    flip(first(store, "scores"), place)
    assert query(store, "SELECT count(*) AS n FROM failures").to_pylist() == [{"n": 3}]
    for sql in ("FROM failures, SCORES", "SELECT (SELECT max(score) FROM scores)"):
        with pytest.raises(DamagedError, match="Table scores"):
            query(store, sql)


@pytest.mark.parametrize(
    ("sql", "tables"),
    [
        ("SELECT 1", EVERY),
        ("SHOW TABLES", EVERY),
        ("SELECT table_name FROM information_schema.tables WHERE table_name <> 'scores'", EVERY),
        ("SELECT * FROM Scores s JOIN main.stages USING (stage_key)", {"scores", "stages"}),
        ("SELECT * FROM query_table('rounds')", {"rounds"}),
        ("FROM standing_labels", {"standing_labels", "labels", "instances", "images", "stages", "failures"}),
        ("SELECT * FROM read_parquet('tables/*/*.parquet')", EVERY),
        ("PIVOT scores ON round", {"scores"}),
    ],
)
def test_the_tables_that_a_statement_may_read(store: Store, sql: str, tables: set[str]) -> None:
    """Where none is told, all are made and checked."""
    with views.fenced(store) as connection:
        assert (views._named(connection, sql) or EVERY) >= tables


def test_a_file_is_read_for_its_check_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[str] = []
    whole = intact.damage

    def damage(store: Store, file: DataFile) -> str:
        checked.extend([file.path] if file.table == "scores" else [])
        return whole(store, file)

    monkeypatch.setattr(intact, "damage", damage)
    monkeypatch.setattr(intact, "_checked", set())
    read(store, "scores")
    assert len(checked) == 3
    read(Store.open(store.url), "scores")
    query(store, "FROM scores")
    assert len(checked) == 3
    path = first(store, "scores")
    path.write_bytes(path.read_bytes())  # put back from a copy, say: another time of change
    read(store, "scores")
    assert len(checked) == 4


def test_a_file_that_is_gone_is_told_so(store: Store) -> None:
    first(store, "scores").unlink()
    with pytest.raises(StoreError, match=r"Table scores .* has lost a file"):
        read(store, "scores")


def older(store: Store, rows: int, claimed: int, more: bytes = b"") -> DataFile:
    """A file as older versions named it."""
    data = parquet_bytes(pa.table({"score": [0.5] * rows}))
    file = DataFile("scores", f"round=1/part-{'0' * 64}-00000.parquet", (("round", "1"),), claimed, len(data))
    store.atomic_write(f"tables/scores/{file.path}", data + more)
    return file


def test_files_of_older_versions_are_compared_by_size_and_rows(store: Store) -> None:
    assert content_digits(older(store, 3, 3).path) is None
    intact.check(store, [older(store, 3, 3)])
    with pytest.raises(DamagedError, match="holds 3 rows instead of 7"):
        intact.check(store, [older(store, 3, 7)])
    with pytest.raises(DamagedError, match=r"has \d+ bytes instead of \d+"):
        intact.check(store, [older(store, 3, 3, b"x")])
    file = older(store, 3, 3)
    flip(Path(store.path("tables", "scores", file.path)), -1)
    with pytest.raises(DamagedError, match="can't be read"):
        intact.check(store, [file])


def test_every_name_that_is_given_carries_digits(store: Store) -> None:
    for table in ("scores", "failures", "stages"):
        for file in live_files(store, table):
            assert content_digits(file.path), file


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('numRecords\\":3', 'numRecords\\":0'),
        ("numRecords", "numRecorfs"),
        ('"round":"1"', '"round":"3"'),
        ('"path":"round=1', '"path":"2ound=1'),
        ('"size":', '"sizm":'),
    ],
)
def test_a_log_that_contradicts_itself_is_told(store: Store, old: str, new: str) -> None:
    log = Path(store.path("tables", "scores", "_delta_log", f"{1:020d}.json"))
    text = log.read_text()
    assert old in text
    log.write_text(text.replace(old, new, 1))
    with pytest.raises(StoreError, match=r"Table scores in|\S*tables/scores/_delta_log/\S* is not as it was written"):
        read(Store.open(store.url), "scores")
    said = ',"sha256":' + text.split(',"sha256":')[1][:66]
    log.write_text(text.replace(said, ""))  # as older versions wrote it
    assert len(read(Store.open(store.url), "scores")) == 7
    log.write_text(text.replace(said, "").replace(old, new, 1))
    with pytest.raises(StoreError, match=r"Table scores in|The log of table scores"):
        read(Store.open(store.url), "scores")


def test_s3_is_checked_where_it_is_asked_for(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    remote = Store("bucket/x", "s3")
    assert intact.is_checked(store)
    assert not intact.is_checked(remote)
    monkeypatch.setenv(intact.VARIABLE, "1")
    assert intact.is_checked(remote)
    monkeypatch.setenv(intact.VARIABLE, "0")
    assert not intact.is_checked(remote)
