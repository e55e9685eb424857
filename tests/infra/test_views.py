"""DuckDB over the store: the views answer, the fence holds, `views.sql` works in a plain DuckDB."""

import signal
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import duckdb
import pytest

from infra import views
from infra.stages import commit_rows
from infra.standing_views import UNDER_STANDING
from infra.store import Store
from infra.tables import live_files
from infra.views import query, write_views_sql
from schemas.errors import DataError, StoreError
from schemas.tables import TABLES
from tests.infra import helpers


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    made = Store.open(tmp_path_factory.mktemp("views") / "it's a store")
    helpers.run(made, "one")
    helpers.run(made, "two")
    return made


def test_answers(store: Store) -> None:
    sql = "SELECT s.round, count(*) AS n FROM scores s JOIN stages USING (stage_key) WHERE stage = 'one' GROUP BY 1"
    assert query(store, f"{sql} ORDER BY 1").to_pylist() == [{"round": 1, "n": 4}, {"round": 2, "n": 3}]
    assert query(store, "SELECT reason, count(*) AS n FROM failures GROUP BY 1").to_pylist() == [
        {"reason": "last of its shard", "n": 6}
    ]


@pytest.mark.parametrize(
    "sql", ["DESCRIBE scores", "SHOW TABLES", "SUMMARIZE scores", "FROM stages", "EXPLAIN ANALYZE FROM scores"]
)
def test_other_reading_statements(store: Store, sql: str) -> None:
    assert len(query(store, sql)) > 0


@pytest.mark.parametrize("table", sorted(TABLES))
def test_tables_without_rows_have_their_columns(store: Store, table: str) -> None:
    said = {row["column_name"]: row["column_type"] for row in query(store, f"DESCRIBE {table}").to_pylist()}
    more = ["happened_at"] if table == "rounds" else []
    assert list(said) == [*TABLES[table].schema.names, *more]
    empty = query(store, f"SELECT * FROM {table} LIMIT 0").schema
    for field in TABLES[table].schema:
        got = empty.field(field.name).type
        assert str(got).split("<")[0].replace("large_", "") == str(field.type).split("<")[0], field.name


def test_unfinished_stages_are_not_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open(tmp_path / "store")

    class Killed(BaseException):
        pass

    def reach(point: str) -> None:
        if point == "commit:stages":
            raise Killed

    monkeypatch.setattr("infra.stages.faults.reach", reach)
    with pytest.raises(Killed):
        commit_rows(store, helpers.spec(), {"scores": helpers.scores(helpers.spec().key, helpers.IDS)})
    assert query(store, "SELECT count(*) AS n FROM scores").to_pylist() == [{"n": 0}]
    monkeypatch.undo()
    commit_rows(store, helpers.spec(), {"scores": helpers.scores(helpers.spec().key, helpers.IDS)})
    assert query(store, "SELECT count(*) AS n FROM scores").to_pylist() == [{"n": 10}]


def test_every_column_can_be_named(store: Store) -> None:
    """Or has a spelling beside it that can."""
    reserved = set()
    for name in sorted({name for known in TABLES.values() for name in known.schema.names}):
        try:
            duckdb.extract_statements(f"SELECT max({name}) FROM t WHERE {name} > 1 ORDER BY {name}")
        except duckdb.ParserException:
            reserved.add(name)
    assert reserved == {"at"}
    query(store, 'SELECT happened_at, "at", r.at FROM rounds r ORDER BY happened_at')


@pytest.mark.parametrize("sql", ["SELECT at FROM rounds", "FROM rounds ORDER BY at", "SELECT max(at) FROM rounds"])
def test_a_reserved_word_is_told(store: Store, sql: str) -> None:
    with pytest.raises(DataError, match='"at" is a reserved word: quote it, or say happened_at'):
        query(store, sql)
    with pytest.raises(DataError) as other:
        query(store, "SELECT FROM WHERE \"at\" 'at' r.at what")
    assert "reserved" not in str(other.value)


def test_the_working_folder_is_not_read(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DuckDB's own place for what doesn't fit into memory would be .tmp there, and open to queries."""
    (tmp_path / ".tmp").mkdir()
    (tmp_path / ".tmp/x").write_text("secret")
    monkeypatch.chdir(tmp_path)
    for sql in ("SELECT * FROM read_text('.tmp/x')", f"FROM read_text('{tmp_path}/.tmp/x')", "FROM glob('.tmp/*')"):
        with pytest.raises(DataError, match="Refused"):
            query(store, sql)


def test_what_does_not_fit_into_memory_is_put_away_in_a_private_folder(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (folder,) = query(store, "SELECT current_setting('temp_directory') AS folder").column("folder").to_pylist()
    assert Path(folder).parent == tmp_path
    assert list(tmp_path.iterdir()) == [], "it goes with the query"
    monkeypatch.setattr(tempfile, "tempdir", "/proc")
    assert query(store, "SELECT current_setting('temp_directory') AS folder").to_pylist() == [{"folder": ""}]


@pytest.mark.parametrize(
    "sql",
    [
        "COPY (SELECT 1) TO '{inside}'",
        "COPY (SELECT 1) TO '/tmp/adhmr-outside.csv'",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '{inside}'",
        "EXPLAIN (ANALYZE) COPY (SELECT 1) TO '{inside}'",
        "EXPLAIN /* x */ ANALYZE COPY (SELECT 1) TO '{inside}'",
        "ATTACH '{inside}'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "RESET allowed_directories",
        "PRAGMA database_list",
        "CREATE TABLE t AS SELECT 1",
        "DROP VIEW scores",
        "EXPORT DATABASE '{inside}'",
        "SELECT * FROM read_text('/etc/hostname')",
        "SELECT * FROM glob('/etc/*')",
        "SELECT * FROM '/etc/hostname'",
        "SELECT * FROM read_csv('https://example.org/x.csv')",
        "SELECT * FROM read_text('{root}/../outside.txt')",
        "SELECT 1; SELECT 2",
        "SELECT 1; DROP VIEW scores",
        "",
        "SELEC 1",
        "SELECT mood FROM scores",
    ],
)
def test_fence(store: Store, sql: str) -> None:
    outside = Path(store.root).parent / "outside.txt"
    outside.write_text("secret")
    inside = Path(store.root) / "made-by-query"
    root, target = (text.replace("'", "''") for text in (store.root, str(inside)))
    with pytest.raises(DataError):
        query(store, sql.format(inside=target, root=root))
    assert not inside.exists()


def test_unknown_table_lists_the_tables(store: Store) -> None:
    with pytest.raises(DataError, match=r"hypothesis(.|\n)*The tables are: .*hypotheses.*stages"):
        query(store, "SELECT * FROM hypothesis")


@pytest.mark.parametrize("harm", ["gone", "empty"])
def test_a_torn_table_fails_alone_with_its_name_and_the_cure(tmp_path: Path, harm: str) -> None:
    store = Store.open(tmp_path / "store")
    helpers.run(store)
    file = Path(store.path("tables", "scores", live_files(store, "scores")[0].path))
    file.unlink()
    if harm == "empty":
        file.touch()
    assert query(store, "SELECT count(*) AS n FROM failures").to_pylist() == [{"n": 3}]
    assert query(store, "FROM standing_labels").num_rows == 0
    assert "scores" in query(store, "SHOW TABLES").column(0).to_pylist()
    for sql in (
        "SELECT * FROM scores",
        "SELECT count(*) FROM scores",
        "SELECT * FROM scores WHERE score = 1",
        "SELECT id FROM failures WHERE NOT EXISTS (FROM scores WHERE instance_id = id)",
    ):
        with pytest.raises(StoreError, match=r"Table scores in .* has lost a file.*`adhmr repair`") as raised:
            query(store, sql)
        assert "\n" not in str(raised.value)


def test_a_query_opens_the_tables_that_it_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open(tmp_path / "store")
    helpers.run(store)
    viewed: list[str] = []
    view = views.view_of
    monkeypatch.setattr(views, "view_of", lambda store, known, **how: viewed.append(known.name) or view(store, known))
    query(store, "WITH f AS (FROM failures) SELECT count(*) FROM f JOIN Scores s ON s.instance_id = f.id")
    assert sorted(viewed) == ["failures", "scores"]
    viewed.clear()
    query(store, "FROM standing_images")
    assert set(viewed) == set(UNDER_STANDING)


def test_views_sql_in_a_plain_duckdb(store: Store) -> None:
    path = write_views_sql(store)
    with duckdb.connect() as plain:
        plain.execute(Path(path).read_text())
        assert plain.execute("SELECT count(*), sum(score) FROM scores").fetchall() == [
            tuple(query(store, "SELECT count(*) AS n, sum(score) AS s FROM scores").to_pylist()[0].values())
        ]
        assert plain.execute("SELECT count(*) FROM pairs").fetchall() == [(0,)]


class Forgetful:
    """A connection that is interrupted between two steps of a query, and forgets it; the third time it hears."""

    def __init__(self) -> None:
        self.asked, self.ended = 0, threading.Event()

    def sql(self, text: str) -> Any:
        main = threading.main_thread().ident
        assert main is not None
        time.sleep(0.3)  # until it waits for this
        signal.pthread_kill(main, signal.SIGINT)  # Ctrl-C
        assert self.ended.wait(20)
        raise duckdb.InterruptException("INTERRUPT")

    def interrupt(self) -> None:
        self.asked += 1
        if self.asked == 3:
            self.ended.set()


def test_ctrl_c_is_said_until_the_query_hears_it(monkeypatch: pytest.MonkeyPatch) -> None:
    connection: Any = Forgetful()
    with pytest.raises(KeyboardInterrupt):
        views._answer(connection, "SELECT 1", None)
    assert connection.asked == 3


def test_ctrl_c_is_heard_while_the_query_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        if thread.name == "query":
            raise KeyboardInterrupt

    class Deaf(Forgetful):
        def sql(self, text: str) -> Any:
            assert self.ended.wait(20), "it runs to its end, and nobody has told it of Ctrl-C"
            raise duckdb.InterruptException("INTERRUPT")

    connection: Any = Deaf()
    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        views._answer(connection, "SELECT 1", None)
    assert connection.asked == 3
