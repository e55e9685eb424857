"""A store of the release before: what is finished in it stays finished, is read, asked and written to."""

import re
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Literal
from zipfile import ZipFile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.cli.plan import plan_round
from infra import rounds
from infra.evolution import VERSION
from infra.repair import repair
from infra.snapshots import open_table
from infra.stages import records
from infra.store import Store
from infra.tables import read
from infra.views import query
from schemas.config.engine import EngineConfig
from schemas.config.stages import PairConfig
from schemas.ids import StageKey
from schemas.tables import FLOAT_VECTOR, TABLES
from tasks.engine.context import Context
from tasks.stages.pair import Pair
from tests.earlier.make_store import ARCHIVE, CONFIGURATION, MACHINE, PLACE, USER

pytestmark = pytest.mark.slow
ANEW: frozenset[str] = frozenset()
"""Names of stages whose version was raised since that release, on purpose: they are done again."""


@pytest.fixture
def context(tmp_path: Path) -> Context:
    with ZipFile(ARCHIVE) as archive:
        archive.extractall(tmp_path)
    config = EngineConfig.model_validate_json((tmp_path / CONFIGURATION).read_bytes())
    return Context(Store.open(tmp_path / "store"), config, in_process=True)


def texts() -> Iterator[tuple[str, bytes]]:
    """Every file of the archive as it is, and the texts and bytes that a table's file has compressed."""
    with ZipFile(ARCHIVE) as archive:
        for name in archive.namelist():
            data = archive.read(name)
            yield name, name.encode() + b"\n" + data
            for column in pq.read_table(BytesIO(data)).itercolumns() if name.endswith(".parquet") else ():
                if not re.search("float|double|int|bool|time", str(column.type)):
                    cells = column.to_pylist()
                    yield name, b"\n".join(cell if isinstance(cell, bytes) else str(cell).encode() for cell in cells)


def test_it_is_small_and_tells_of_no_other_place_user_or_machine() -> None:
    assert ARCHIVE.stat().st_size <= 1_000_000
    paths = re.compile(rb"(?<![\w<.])/(?:home|root|work|tmp|var|usr|opt|srv|mnt|data|Users|private)\b[\w./-]*")
    people = re.compile(rb"[a-z][\w.-]{2,}@[a-z][\w.-]{3,}")
    found: dict[str, set[bytes]] = {"paths": set(), "people": set()}
    for _, data in texts():
        found["paths"] |= set(paths.findall(data))
        found["people"] |= set(people.findall(data))
    assert found["people"] == {f"{USER}@{MACHINE}".encode()}
    assert found["paths"]
    assert {path for path in found["paths"] if not path.startswith(f"{PLACE}/".encode())} == set()


@pytest.mark.parametrize(("number", "kind"), [(1, "dpo"), (2, "clean")])
def test_a_plan_reuses_every_finished_stage(
    context: Context, monkeypatch: pytest.MonkeyPatch, number: int, kind: Literal["dpo", "clean"]
) -> None:
    """In the state that a run is in which was killed before it closed the round."""
    state = replace(rounds.state(context.store, context.config.campaign), round=number, is_open=True)
    monkeypatch.setattr(rounds, "state", lambda store, campaign: state)
    plan = plan_round(context, kind)
    assert (plan.number, plan.resumed) == (number, True)
    anew = {look.title: look.why for look in plan.looks if look.verdict != "reuse" and look.key is not None}
    assert {title.split(" (")[0] for title in anew} <= ANEW, anew
    assert len(plan.looks) > 10
    assert any(look.verdict == "reuse" for look in plan.looks)


def test_its_rows_are_read_and_asked(context: Context) -> None:
    store = context.store
    assert len(records(store)) == 30
    for table, known in TABLES.items():
        assert read(store, table).schema.equals(known.schema)
    for view in query(store, "SHOW TABLES").column("name").to_pylist():
        (counted,) = query(store, f"SELECT count(*) AS n FROM {view}").to_pylist()
        assert counted["n"] > 0 or view == "reviews"
        assert view not in TABLES or counted["n"] == len(read(store, view))
    assert repair(store) == []


def test_it_is_written_to_by_stages_of_today_and_of_tomorrow(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    before = read(context.store, "pairs")
    made = Pair(*inputs_of_pairs(context.store), PairConfig(strategy="random", seed=1)).run(context).key
    today = read(context.store, "pairs")
    assert len(read(context.store, "pairs", stage_keys=[made])) == len(today) - len(before) > 0
    assert described(context.store) == ({}, TABLES["pairs"].schema.names)

    field = pa.field("why", FLOAT_VECTOR, metadata={"description": "a column that comes later", "unit": "none"})
    more = replace(TABLES["pairs"], schema=TABLES["pairs"].schema.append(field))
    monkeypatch.setitem(TABLES, "pairs", more)
    context = replace(context, store=Store.open(context.store.url))
    assert read(context.store, "pairs").drop_columns(["why"]).equals(today)
    Pair(*inputs_of_pairs(context.store), PairConfig(strategy="random", seed=2)).run(context)
    assert described(context.store) == ({VERSION: "1"}, more.schema.names)
    assert read(context.store, "pairs").column("why").null_count == len(read(context.store, "pairs")) > len(today)
    assert query(context.store, "SELECT count(*) AS n, count(why) AS why FROM round_pairs").to_pylist()[0]["why"] == 0


def inputs_of_pairs(store: Store) -> tuple[StageKey, StageKey]:
    """What the first pairs of the store were made of: a generation and its scores."""
    earlier = next(record for record in records(store) if record.stage == "pair")
    return StageKey(earlier.reads[0]), StageKey(earlier.reads[1])


def described(store: Store) -> tuple[dict[str, str], list[str]]:
    """Properties and columns of `pairs`."""
    opened = open_table(store, "pairs")
    assert opened is not None
    return dict(opened.metadata().configuration), [field.name for field in opened.schema().fields]
