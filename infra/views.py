"""DuckDB over the tables: one view for each, over the files of the newest version whose stage is finished, and views
of what holds where several ingests speak of one person (`standing`) and of what rounds were trained on (`round_views`).

`query` answers read-only SQL on a fenced connection: it can open files of this store and nothing else, and only
statements that read are let through. `write_views_sql` writes the same views as a file for any DuckDB client.
"""

# as text: DuckDB complains at the end of a process of types that an annotation holds
from __future__ import annotations

import re
import threading
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from tempfile import TemporaryDirectory

import duckdb
import pyarrow as pa

from infra.data_files import DataFile
from infra.fence import REFUSED, StoreFiles
from infra.intact import check
from infra.round_views import READABLE, ROUND_PAIRS, UNDER_ROUND_PAIRS, round_pairs_view
from infra.standing_views import STANDING, UNDER_STANDING, standing_view, view_name
from infra.store import Store, may_not_write
from infra.table_rows import lost_among
from infra.tables import live_files
from infra.whole import readable_keys, stage_rows
from schemas.errors import DataError, StoreError
from schemas.tables import TABLES, TableContract

_ALLOWED = "SELECT (also WITH, FROM, DESCRIBE, SHOW and SUMMARIZE) and EXPLAIN"
_AGAIN_SECONDS = 0.1
"""Between two times that a query is told to end."""
_BEGIN_SECONDS = 5.0
"""In which a thread that was started begins, on a busy machine too."""
_BARE_AT = re.compile(r"(?<![\w\".'])at(?![\w\"'])", re.IGNORECASE)
_EXPLAIN = re.compile(r"^\s*EXPLAIN\s*(ANALYZE\b\s*)?(\([^)]*\)\s*)?", re.IGNORECASE)


def query(store: Store, sql: str, most: int | None = None) -> pa.Table:
    """The answer to one reading SQL statement, or the first `most` rows of it. DataError, with the reason, for any
    other statement and for SQL that is wrong.

    It is run on a connection in memory, fenced: no file outside of the store, no extension, no setting. The views show
    the store as it is now. DamagedError if a file of a table that the statement names is not as it was committed.
    """
    with _private_folder() as spill, fenced(store, spill) as connection:
        _refuse_writes(connection, sql)
        _make_views(connection, store, _named(connection, sql))
        try:
            return _answer(connection, sql, most)
        except duckdb.CatalogException as error:
            tables = sorted([*TABLES, *map(view_name, STANDING), ROUND_PAIRS])
            raise DataError(f"{_first_line(error)}\nThe tables are: {', '.join(tables)}.") from error
        except duckdb.PermissionException as error:
            raise DataError(f"Refused: a query may only read files of the store. {_first_line(error)}") from error
        except duckdb.Error as error:
            text = _last_line(error) if "Traceback" in str(error) else str(error)  # of the filesystem that reads S3
            if REFUSED in text:
                raise DataError(f"Refused: a query may only read files of the store. {text}") from error
            raise DataError(f"The query failed: {text}") from error


def write_views_sql(store: Store) -> str:
    """Write `views.sql` into the store and give its URI: a plain DuckDB that executes it has the views.

    It shows the store as it was when it was written. Views of a store on S3 need DuckDB's httpfs extension.
    """
    lines = [
        "-- Views over the tables of this store, as they were when this file was written.",
        "-- In DuckDB: .read views.sql (command line) or con.execute(open('views.sql').read()) (Python).",
    ]
    for table in TABLES.values():
        lines.append(f"\n-- {table.name}: {table.doc} One row for each {', '.join(table.key)}.")
        lines += [
            f"--   {field.name}: {field.metadata[b'description'].decode()} [{field.metadata[b'unit'].decode()}]"
            for field in table.schema
        ]
        lines.append(f"{view_of(store, table)};")
    for name in STANDING:
        lines.append(f"\n-- {view_name(name)}: rows of {name} as the newest ingest of each split left them.")
        lines.append(f"{standing_view(name)};")
    lines.append(f"\n-- {ROUND_PAIRS}: the pairs that the policy of each decided round was trained on.")
    lines.append(f"{round_pairs_view()};")
    store.atomic_write("views.sql", ("\n".join(lines) + "\n").encode())
    return store.uri("views.sql")


def refresh_views_sql(store: Store) -> str:
    """`write_views_sql` for commands that only read: gives why it could not be written, or nothing.

    Nor does it say anything where this user may not write: that is known, and a user who may writes it.
    """
    try:
        write_views_sql(store)
    except (OSError, StoreError) as error:
        return "" if may_not_write(error) else f"{store.uri('views.sql')} was not written anew: {error}"
    return ""


def _answer(connection: duckdb.DuckDBPyConnection, sql: str, most: int | None) -> pa.Table:
    """In a thread of its own, as DuckDB does not look for Ctrl-C while its threads work."""
    begun = threading.Event()
    answer: Future[pa.Table] = Future()

    def ask() -> None:
        begun.set()
        try:
            rows = connection.sql(sql)
            answer.set_result((rows if most is None else rows.limit(most)).to_arrow_table())
        except BaseException as error:  # noqa: BLE001 - whatever it is, who asked raises it
            answer.set_exception(error)

    query = threading.Thread(target=ask, name="query")
    try:
        query.start()
        return answer.result()
    except KeyboardInterrupt:
        begun.wait(_BEGIN_SECONDS)  # it may come while the thread starts
        while query.is_alive():  # DuckDB forgets what it hears between two steps of a query
            connection.interrupt()
            query.join(_AGAIN_SECONDS)
        raise
    finally:
        if begun.is_set():
            query.join()


@contextmanager
def _private_folder() -> Iterator[str]:
    with ExitStack() as folders:
        try:
            folder = folders.enter_context(TemporaryDirectory(prefix="adhmr-query-", ignore_cleanup_errors=True))
        except OSError:  # there is nowhere to write: then an answer has to fit into memory
            folder = ""
        yield folder


def fenced(store: Store, spill: str = "", database: str = ":memory:", **options: str) -> duckdb.DuckDBPyConnection:
    """A connection, in memory or to a file, that reads files of the store alone. `spill` is a folder for what doesn't
    fit into memory. Queries may read that as well, so it is this one's alone; the default would be .tmp of the working
    folder. `options` are DuckDB's."""
    connection = duckdb.connect(database, config={"temp_directory": spill, **options})
    if not store.is_local:
        connection.register_filesystem(StoreFiles(store))
    connection.execute("SET TimeZone = 'UTC'")  # as the tables have it, wherever the query runs
    # in this order: once external access is off, the allowed places can't be changed; then lock both
    connection.execute(f"SET allowed_directories = [{quoted(store.url + '/')}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def _make_views(connection: duckdb.DuckDBPyConnection, store: Store, wanted: Collection[str] = ()) -> None:
    """The views of these names, or all: each opens the files of its table.

    StoreError, with its name and the cure, for a wanted table that can't be read. Where none is named (SHOW TABLES),
    such a table has its columns, and raises that when rows are asked of it.
    """
    for table in TABLES.values():
        if wanted and table.name not in wanted:
            continue
        try:
            connection.execute(view_of(store, table, checked=True))
        except (duckdb.Error, StoreError) as error:
            torn = _torn(store, table, error)
            if wanted or not store.is_local:
                raise torn from (None if torn is error else error)
            connection.execute(f"CREATE OR REPLACE VIEW {table.name} AS {_from_torn(table, str(torn))}")
    for name in STANDING:
        if not wanted or view_name(name) in wanted:
            connection.execute(standing_view(name))
    if not wanted or ROUND_PAIRS in wanted:
        connection.execute(round_pairs_view())


def _torn(store: Store, table: TableContract, error: duckdb.Error | StoreError) -> StoreError:
    """The error about a table that can't be read."""
    if isinstance(error, StoreError):
        return error
    return lost_among(store, table, live_files(store, table.name)) or StoreError(
        f"Table {table.name} in {store.url} can't be read: {_last_line(error)} `adhmr repair` says what can be done."
    )


def _named(connection: duckdb.DuckDBPyConnection, sql: str) -> set[str]:
    """The tables and views that a query speaks of, and those that these are made of; empty if DuckDB can't say."""
    # tables, as DuckDB names of views only the tables that they are made of
    for table in TABLES.values():
        connection.execute(f"CREATE TABLE {table.name} AS {from_nothing(table)}")
    views = [*map(view_name, STANDING), ROUND_PAIRS]
    for standing_table in STANDING:
        connection.execute(f"CREATE TABLE {view_name(standing_table)} AS FROM {standing_table}")
    connection.execute(f"CREATE TABLE {ROUND_PAIRS} AS FROM pairs")
    try:
        named = {name.lower() for name in connection.get_table_names(sql)}
    except duckdb.Error:  # it is wrong, or no query: whatever runs it says so
        named = set()
    for name in (*views, *TABLES):
        connection.execute(f"DROP TABLE {name}")  # what was overlooked must not seem to be empty
    if named & set(map(view_name, STANDING)):
        named |= UNDER_STANDING
    if ROUND_PAIRS in named:
        named |= UNDER_ROUND_PAIRS
    return named


def view_of(store: Store, table: TableContract, *, checked: bool = False) -> str:
    """The SQL that makes the view of a table as it is now; `checked`: its files are compared with their digests."""
    files = [file for file in live_files(store, table.name) if file.rows]
    if checked:
        check(store, files)
    source = from_files(store, table, files) if files else from_nothing(table)
    if table.name == "stages":
        torn = ", ".join(map(quoted, sorted(stage_rows(store).keys - readable_keys(store, table.name))))
        source += f" WHERE stage_key NOT IN ({torn})" if files and torn else ""
    more = READABLE.get(table.name)
    return f"CREATE OR REPLACE VIEW {table.name} AS {f'SELECT *{more} FROM ({source})' if more else source}"


def from_files(store: Store, table: TableContract, files: list[DataFile]) -> str:
    """The SQL that gives the rows of these files, one or more, with all of the contract's columns."""
    columns = ", ".join(f'"{name}"' for name in table.schema.names)
    rows = f"FROM {_parquet(store, table, files, ', union_by_name = true')}"
    later = [field for field in table.schema if field.nullable]  # perhaps than all of these files
    if later:
        rows = f"FROM ({rows} UNION ALL BY NAME SELECT {_nulls(later)} WHERE false)"
    return f"SELECT {columns} {rows}"


def from_alike(store: Store, table: TableContract, files: list[DataFile], columns: Iterable[str]) -> str:
    """The SQL that gives these columns of the files, each opened once. Asking it raises a BinderException or an
    InvalidInputException of DuckDB where some file lacks one of them."""
    return f"SELECT {', '.join(columns)} FROM {_parquet(store, table, files)}"


def _parquet(store: Store, table: TableContract, files: list[DataFile], options: str = "") -> str:
    paths = ", ".join(quoted(store.uri("tables", table.name, file.path)) for file in files)
    hive = ""
    if table.partition_by:
        kinds = ", ".join(f"{name}: {_sql_type(table.schema.field(name).type)}" for name in table.partition_by)
        hive = f", hive_partitioning = true, hive_types = {{{kinds}}}"
    return f"read_parquet([{paths}]{options}{hive})"


def _from_torn(table: TableContract, reason: str) -> str:
    """The columns, and `reason` as an error for a query that asks for a row, whatever DuckDB's optimizer leaves out."""
    raised = f"error({quoted(reason)})"
    columns = ", ".join(f'CAST({raised} AS {_sql_type(field.type)}) AS "{field.name}"' for field in table.schema)
    return f"SELECT {columns} WHERE {raised}"


def from_nothing(table: TableContract, columns: Collection[str] = ()) -> str:
    """The SQL that gives the contract's columns, or these of them, and no row."""
    fields = (table.schema.field(name) for name in columns) if columns else table.schema
    return f"SELECT {_nulls(fields)} WHERE false"


def _nulls(columns: Iterable[pa.Field]) -> str:
    return ", ".join(f'CAST(NULL AS {_sql_type(field.type)}) AS "{field.name}"' for field in columns)


def _sql_type(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        return f"{_sql_type(kind.value_type)}[]"
    names = {
        pa.string(): "VARCHAR",
        pa.binary(): "BLOB",
        pa.bool_(): "BOOLEAN",
        pa.int32(): "INTEGER",
        pa.int64(): "BIGINT",
        pa.float32(): "FLOAT",
        pa.float64(): "DOUBLE",
    }
    return "TIMESTAMP WITH TIME ZONE" if pa.types.is_timestamp(kind) else names[kind]


def quoted(text: str) -> str:
    """A text as SQL has it."""
    return "'" + text.replace("'", "''") + "'"


def _refuse_writes(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    try:
        statements = connection.extract_statements(sql)
        kinds = [statement.type for statement in statements]
        if kinds == [duckdb.StatementType.EXPLAIN]:
            # EXPLAIN ANALYZE runs what it explains, so what it explains must be a reading statement too
            kinds = [inner.type for inner in connection.extract_statements(_EXPLAIN.sub("", statements[0].query))]
    except duckdb.Error as error:
        hint = ' In DuckDB "at" is a reserved word: quote it, or say happened_at.' if _BARE_AT.search(sql) else ""
        raise DataError(f"The query is not valid SQL: {_first_line(error)}.{hint}") from error
    if len(statements) != 1:
        raise DataError(f"A query is one statement, not {len(statements)}.")
    if kinds != [duckdb.StatementType.SELECT]:
        raise DataError(f"Refused: {kinds[0].name if kinds else 'nothing'} does not only read. Allowed: {_ALLOWED}.")


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


def _last_line(error: Exception) -> str:
    return str(error).rstrip().splitlines()[-1]
