"""A store of the release before: what is finished in it stays finished, is read, asked and written to."""

import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.bootstrap import lay_ground
from flows.clean_round import clean_and_measure
from flows.cli.plan import Looking
from flows.dpo_round import align_and_measure
from flows.run.round import Opened
from infra import rounds
from infra.evolution import VERSION
from infra.repair import repair
from infra.snapshots import newest, open_table
from infra.stages import records
from infra.standing import STANDING, view_name
from infra.store import Store
from infra.tables import read
from infra.views import query
from schemas.config.engine import EngineConfig
from schemas.config.stages import PairConfig
from schemas.tables import FLOAT_VECTOR, TABLES
from tasks.context import Context
from tasks.pair import pair
from tests.earlier.make_store import ARCHIVE, CONFIGURATION, MACHINE, PLACE, USER

ANEW: frozenset[str] = frozenset()
"""Stages whose version was raised since: only they, and what reads them, are done again."""


@pytest.fixture
def context(tmp_path: Path) -> Context:
    with ZipFile(ARCHIVE) as archive:
        archive.extractall(tmp_path)
    config = EngineConfig.model_validate_json((tmp_path / CONFIGURATION).read_bytes())
    return Context(Store.open(tmp_path / "store"), config, in_process=True)


def texts() -> Iterator[tuple[str, bytes]]:
    """Every file of the archive as it is, and what is compressed within it."""
    with ZipFile(ARCHIVE) as archive:
        for name in archive.namelist():
            data = archive.read(name)
            yield name, name.encode() + b"\n" + data
            if name.endswith(".parquet"):
                yield name, repr(pq.read_table(BytesIO(data)).to_pylist()).encode()


def test_it_is_small_and_tells_of_no_other_place_user_or_machine() -> None:
    assert ARCHIVE.stat().st_size <= 1_000_000
    folders = re.compile(rb"/(?:home|root|work|tmp|var|usr|opt|srv|mnt|data|Users|private)/[\w./-]*")
    people = re.compile(rb"\w[\w.-]{2,}@[\w.-]{3,}")
    seen: set[bytes] = set()
    for name, data in texts():
        paths, mails = set(folders.findall(data)), set(people.findall(data))
        assert {path for path in paths if not path.startswith(f"{PLACE}/".encode())} == set(), name
        assert mails <= {f"{USER}@{MACHINE}".encode()}, name
        seen |= mails
    assert seen == {f"{USER}@{MACHINE}".encode()}


def test_every_finished_stage_is_reused(context: Context) -> None:
    campaign = rounds.state(context.store, context.config.campaign)
    assert campaign.round == 2
    for number, work in ((1, align_and_measure), (2, clean_and_measure)):
        looking = Looking(context)
        ground = lay_ground(looking)
        looking.in_round(number)
        opening = next(event for event in campaign.events if (event.round, event.event) == (number, "opened"))
        work(looking, ground, Opened(number, opening.policy or ground.base, campaign.first_policy or ground.base))
        again = {look.title: look.why for look in looking.looks.values() if look.verdict != "reuse"}
        assert {title for title in again if title.split(" (")[0] not in ANEW and "waits for" not in again[title]} == set()
        assert len(looking.looks) > 10


def test_its_rows_are_read_and_asked(context: Context) -> None:
    store = context.store
    assert len(records(store)) > 20
    for table, known in TABLES.items():
        rows = read(store, table)
        assert rows.schema.equals(known.schema)
        assert query(store, f"SELECT count(*) AS n FROM {table}").to_pylist() == [{"n": len(rows)}]
    for view in (*map(view_name, STANDING), "round_pairs"):
        assert len(query(store, f"FROM {view}")) > 0
    assert repair(store) == []


def test_it_is_written_to(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a stage of today, and with a column that comes tomorrow."""
    store = context.store
    earlier = next(record for record in records(store) if record.stage == "pair" and record.round == 1)
