"""Stores that live longer than releases: what an engine with another contract reads, writes and refuses."""

import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from infra import delta_log, versions
from infra.data_files import DataFile, file_name, shard_file_name
from infra.delta_log import CHECKPOINT_EVERY, Entry, log_entry, log_folder, versions_of, write_entry
from infra.evolution import VERSION, metadata
from infra.log_repair import mend_logs
from infra.log_seals import actions_of, sealed_lines
from infra.repair import repair
from infra.snapshots import open_table
from infra.stages import commit_rows
from infra.store import Store
from infra.tables import live_files, read
from infra.versions import add_files
from infra.views import query
from schemas.errors import StoreError
from schemas.tables import FLOAT_VECTOR, TABLES, TableContract, contract
from tests.infra import helpers

ROOT = Path(__file__).resolve().parents[2]
MORE = pa.field("more_betas", FLOAT_VECTOR, metadata={"description": "of any length", "unit": "standard deviations"})
"""A column that a later release adds."""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A stage of the release before."""
    made = Store.open(tmp_path / "store")
    helpers.run(made, "before")
    return made


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Store]:
    """The store as another release opens it, which knows another `scores`."""

    def opened(store: Store, known: TableContract | None = None) -> Store:
        monkeypatch.setitem(TABLES, "scores", known or with_columns(MORE))
        return Store.open(store.url)

    return opened


def with_columns(*fields: pa.Field) -> TableContract:
    """`scores` with these columns, in the place of its own of the same name or behind."""
    new = {field.name: field for field in (*contract("scores").schema, *fields)}
    return replace(contract("scores"), schema=pa.schema(list(new.values())))


def write(store: Store, name: str, more: list[list[float] | None] | None = None) -> str:
    """Commit a stage with a score for each of `more`, or ten without such a column; its key."""
    key = helpers.spec(name).key
    rows = helpers.scores(key, helpers.IDS[: len(more)] if more else helpers.IDS)
    if more:
        rows = rows.set_column(rows.column_names.index(MORE.name), MORE, pa.array(more, FLOAT_VECTOR))
    commit_rows(store, helpers.spec(name), {"scores": rows})
    return key


def described(store: Store) -> list[int]:
    """The versions of `scores` whose entries say what the table is."""
    log = versions_of(store.list_files(log_folder("scores")), ".json")
    return [one for one in log if any("metaData" in line for line in lines_of(store, one))]


def lines_of(store: Store, version: int) -> list[dict[str, object]]:
    return actions_of(store.read_bytes(log_entry("scores", version)))


def properties(store: Store) -> Mapping[str, str]:
    opened = open_table(store, "scores")
    assert opened is not None
    return opened.metadata().configuration


def columns(store: Store) -> list[str]:
    opened = open_table(store, "scores")
    assert opened is not None
    return [field.name for field in opened.schema().fields]


def test_a_table_is_made_with_its_version(store: Store, later: Callable[..., Store]) -> None:
    assert properties(store) == {VERSION: "1"}
    second = later(Store.open(f"{store.root}-2"), replace(contract("scores"), version=2))
    write(second, "second")
    assert properties(second) == {VERSION: "2"}


def test_a_column_that_a_store_lacks_is_null_until_it_is_written(store: Store, later: Callable[..., Store]) -> None:
    before = read(store, "scores")
    store = later(store)
    assert read(store, "scores").equals(before.append_column(MORE, pa.nulls(len(before), FLOAT_VECTOR)))
    assert query(store, "SELECT count(*) AS n, count(more_betas) AS more FROM scores").to_pylist() == [
        {"n": 7, "more": 0}
    ]
    assert described(store) == [0]  # who only reads changes nothing

    values = [[1.0], None, [], [1.0, 2.0, 3.0]]
    key = write(store, "after", values)
    assert read(store, "scores", stage_keys=[key], columns=["more_betas"]).column(0).to_pylist() == values
    assert read(store, "scores").column("more_betas").null_count == 7 + 1
    assert read(store, "scores", where=pc.field("more_betas").is_valid()).num_rows == 3
    sql = "SELECT stage_key, count(more_betas) AS more, sum(len(more_betas)) AS n FROM scores GROUP BY ALL ORDER BY 2"
    assert query(store, sql).to_pylist() == [
        {"stage_key": helpers.spec("before").key, "more": 0, "n": None},
        {"stage_key": key, "more": 3, "n": 4},
    ]
    write(store, "again", [[5.0]])
    assert len(described(store)) == 2


def test_a_table_made_before_tables_had_versions_is_of_the_first(store: Store, later: Callable[..., Store]) -> None:
    (protocol, about, info) = lines_of(store, 0)
    about["metaData"]["configuration"] = {}  # type: ignore[index]
    store.atomic_write(log_entry("scores", 0), sealed_lines([protocol, about, info]))
    store = Store.open(store.url)
    write(store, "as before")
    assert (properties(store), described(store)) == ({}, [0])
    store = later(store)
    write(store, "after", [[1.0]])
    assert properties(store) == {VERSION: "1"}


def test_columns_are_found_by_name_in_any_order(store: Store) -> None:
    known = contract("scores")
    turned = replace(known, schema=pa.schema(list(known.schema)[::-1]))
    other = Store.open(f"{store.root}-2")
    other.atomic_write(log_entry("scores", 0), delta_log.first_entry(turned))
    key = helpers.spec("turned").key
    rows = helpers.scores(key, helpers.IDS).select(turned.file_schema.names)
    buffer = BytesIO()
    pq.write_table(rows, buffer)
    path = f"round=1/{shard_file_name(key, 0, buffer.getvalue())}"
    other.atomic_write(f"tables/scores/{path}", buffer.getvalue())
    commit_rows(other, helpers.spec("turned"), {})
    file = DataFile("scores", path, (("round", "1"),), len(rows), len(buffer.getvalue()))
    assert add_files(other, "scores", [file], {key: 1})
    assert read(other, "scores").equals(helpers.scores(key, helpers.IDS))
    assert query(other, "FROM scores").to_pylist() == helpers.scores(key, helpers.IDS).to_pylist()
    assert described(other) == [0]


def test_a_column_may_come_to_allow_null(store: Store, later: Callable[..., Store]) -> None:
    known = contract("scores")
    looser = known.schema.field("score").with_nullable(True)
    store = later(store, with_columns(looser))
    assert read(store, "scores").column("score").null_count == 0
    rows = helpers.scores(helpers.spec("after").key, helpers.IDS)
    place, nulls = rows.column_names.index("score"), pa.nulls(len(rows), pa.float64())
    commit_rows(store, helpers.spec("after"), {"scores": rows.set_column(place, looser, nulls)})
    assert read(store, "scores").column("score").null_count == len(rows)
    with pytest.raises(StoreError, match='has "double" or null in the column score, and this engine needs "double"'):
        read(later(store, known), "scores")


REFUSED: dict[str, tuple[Callable[[TableContract], TableContract], str]] = {
    "a newer version": (lambda known: replace(known, version=3), r"has version 3, and .* knows 2\. A newer engine"),
    "an older version": (lambda known: replace(known, version=1), r"has version 1, and .* knows 2\. Go on with"),
    "an unknown column": (
        lambda known: replace(known, schema=known.schema.append(MORE)),
        r"has columns that this engine does not know \(more_betas\)\. A newer engine wrote it: use that one",
    ),
    "a required column is missing": (
        lambda known: replace(known, schema=known.schema.remove(known.schema.names.index("score"))),
        r"lacks the column score, .* Go on with",
    ),
    "another type": (
        lambda known: replace(known, schema=known.schema.set(4, pa.field("score", pa.string(), nullable=False))),
        r'has "string" in the column score, and this engine needs "double"\. Go on with',
    ),
    "other partitions": (lambda known: replace(known, partition_by=()), r"is partitioned by other columns .* Go on"),
}


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.parametrize("is_open", [False, True])
def test_anything_else_is_refused_in_one_line_with_what_to_do(
    tmp_path: Path, later: Callable[..., Store], what: str, is_open: bool
) -> None:
    """By who opens the table, and by who had it open when another engine changed it."""
    change, said = REFUSED[what]
    known = replace(contract("scores"), version=2)
    store = later(Store.open(tmp_path / "store"), known)
    if is_open:
        write(store, "before")
        entry = Entry(metadata=metadata(change(known)))
        assert write_entry(Store.open(store.url), "scores", 2, entry)
    else:
        store.atomic_write(log_entry("scores", 0), delta_log.first_entry(change(known)))
    for work in (
        lambda: live_files(store, "scores", every_stage=True),
        lambda: write(store, "after"),
        lambda: query(store, "FROM scores"),
        lambda: repair(store),
    ):
        with pytest.raises(StoreError, match=said) as refused:
            work()
        assert "\n" not in str(refused.value)
        assert refused.value.__cause__ is not refused.value
        assert f"Table scores in {store.url}" in str(refused.value)
        assert "another store (--store, ADHMR_STORE)" in str(refused.value)


def test_a_rival_is_faster_at_each_step(
    store: Store, later: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of the release before, then two that add the column as well, each just as this writer is about to write."""
    store = later(store)
    rivals = [
        lambda: write_entry(Store.open(store.url), "scores", 2, Entry(note="by the release before")),
        lambda: write(Store.open(store.url), "rival", [[1.0]]),
        lambda: write(Store.open(store.url), "another rival", [[1.0]]),
    ]
    busy = False

    def write_late(store: Store, table: str, version: int, entry: Entry) -> bool:
        nonlocal busy
        if table == "scores" and rivals and not busy:
            busy = True
            rivals.pop(0)()
            busy = False
        return write_entry(store, table, version, entry)

    monkeypatch.setattr(versions, "write_entry", write_late)
    write(store, "slow", [[2.0]])
    assert rivals == []
    assert len(described(store)) == 2
    found = read(Store.open(store.url), "scores", where=pc.field("more_betas").is_valid())
    assert set(found.column("stage_key").to_pylist()) == {
        helpers.spec(name).key for name in ("rival", "another rival", "slow")
    }


def test_a_writer_that_is_killed_after_the_column_was_added(
    store: Store, later: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def write_once(store: Store, table: str, version: int, entry: Entry) -> bool:
        if entry.adds:
            raise Killed
        return write_entry(store, table, version, entry)

    store = later(store)
    monkeypatch.setattr(versions, "write_entry", write_once)
    with pytest.raises(Killed):
        write(store, "after", [[1.0]])
    monkeypatch.setattr(versions, "write_entry", write_entry)
    assert query(Store.open(store.url), "SELECT count(more_betas) AS n FROM scores").to_pylist() == [{"n": 0}]
    write(store, "after", [[1.0]])
    assert len(described(store)) == 2
    assert read(store, "scores").num_rows == 7 + 1


WRITER = """
import sys, time
from pathlib import Path
import tests.infra.test_evolution as ours
from infra.store import Store
ours.TABLES["scores"] = ours.with_columns(ours.MORE)
store, which = Store.open(sys.argv[1]), sys.argv[2]
Path(f"{store.root}-ready-{which}").touch()
while not Path(f"{store.root}-go").exists():
    time.sleep(0.002)
for number in range(5):
    ours.write(store, f"{which}-{number}", [[1.0]])
"""


@pytest.mark.slow
def test_four_processes_at_once_add_the_column_once(store: Store, later: Callable[..., Store]) -> None:
    command = [sys.executable, "-c", WRITER, store.url]
    writers = [subprocess.Popen([*command, str(which)], cwd=ROOT) for which in range(4)]
    while len(list(Path(store.root).parent.glob("*-ready-*"))) < 4:
        assert all(writer.poll() is None for writer in writers)
    Path(f"{store.root}-go").touch()
    assert [writer.wait(timeout=240) for writer in writers] == [0] * 4
    assert len(described(store)) == 2
    rows = read(later(store), "scores")
    assert (len(rows), rows.column("more_betas").null_count) == (7 + 20, 7)


def test_checkpoints_keep_what_the_table_is(
    store: Store, later: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delta_log, "_KEPT", 2)
    store = later(store)
    write(store, "first", [[1.0]])
    for number in range(2 * CHECKPOINT_EVERY):
        file = DataFile("scores", f"round=1/{file_name(f'{number:064x}', '0')}", (("round", "1"),), 1, 1)
        store.atomic_write(file.name, b"x")
        assert add_files(store, "scores", [file], {f"t{number}": 1})
    assert described(store) == []
    fresh = Store.open(store.url)
    assert properties(fresh) == {VERSION: "1"}
    assert columns(fresh) == contract("scores").schema.names
    assert mend_logs(fresh) == []


HARM: dict[str, Callable[[Path], object]] = {
    "torn": lambda path: path.write_bytes(path.read_bytes()[:-30]),
    "other bytes": lambda path: path.write_bytes(path.read_bytes().replace(b'version":"2"', b'version":"7"')),
    "gone": Path.unlink,
}


@pytest.mark.parametrize("how", HARM)
@pytest.mark.parametrize("version", [0, 2])
def test_a_mended_log_says_what_the_table_is(store: Store, later: Callable[..., Store], how: str, version: int) -> None:
    """The table has version 2, and a later entry has added a column."""
    store = later(Store.open(f"{store.root}-2"), replace(contract("scores"), version=2))
    write(store, "before")
    store = later(store, replace(with_columns(MORE), version=2))
    write(store, "after", [[1.0]])
    assert described(store) == [0, 2]
    before = read(store, "scores")
    HARM[how](Path(store.path(log_entry("scores", version))))
    assert [damage.path for damage in mend_logs(store)] == [log_entry("scores", version)]
    store = Store.open(store.url)
    assert properties(store) == {VERSION: "2"}
    assert read(store, "scores").equals(before)
    write(store, "again", [[2.0]])
    assert read(store, "scores").column("more_betas").null_count == 10
    assert columns(store) == contract("scores").schema.names


def test_what_a_torn_entry_still_says_of_the_table_is_kept(store: Store, later: Callable[..., Store]) -> None:
    """It may be of another version than this engine's."""
    HARM["torn"](Path(store.path(log_entry("scores", 0))))
    store = later(store, replace(with_columns(MORE), version=2))
    assert [damage.path for damage in mend_logs(store)] == [log_entry("scores", 0)]
    with pytest.raises(StoreError, match="has version 1, and this engine knows 2"):
        read(store, "scores")
    store = later(store, replace(contract("scores"), version=1))
    assert columns(store) == contract("scores").schema.names[:-1]
