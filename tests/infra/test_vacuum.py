"""Vacuum removes leftovers that are old, and nothing else."""

import json
import os
import time
from dataclasses import asdict
from datetime import datetime, timedelta, tzinfo
from pathlib import Path

import pytest

from infra.at_work import this_process
from infra.begun import Begun
from infra.data_files import file_name
from infra.shards import Tally, cut, receipts, write_shard
from infra.store import Store
from infra.tables import read
from infra.vacuum import vacuum
from tests.infra import helpers

GRACE = timedelta(days=7)


def age(store: Store, path: str, days: float) -> None:
    then = time.time() - days * 86400
    os.utime(Path(store.root) / path, (then, then))


def test_vacuum(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    helpers.run(store, "done")
    finished, dead, alive = (helpers.spec(name).key for name in ("done", "dead", "alive"))
    shards = cut(helpers.IDS, 4)
    for key in (dead, alive):
        for shard in shards[:2]:
            write_shard(store, key, shard, {"scores": helpers.scores(key, list(shard.ids))}, Tally(ok=4))
        for name in ("000000.parquet", "plan.json"):
            store.atomic_write(f"ingests/{key[:16]}/{name}", b"x")
        store.atomic_write(f"ray/train_base-{key[:16]}/engine/checkpoint.pt", b"x")
    store.atomic_write(f"ray/train_base-{finished[:16]}/engine/result.json", b"x")
    store.atomic_write("tables/scores/round=1/.tmp-old", b"x")
    store.atomic_write("tables/scores/.tmp-young", b"x")
    for path in store.list_files(""):
        if "young" not in path:
            age(store, path, 30)
    age(store, next(path for path in store.list_files(f"shards/{alive}")), 1)
    before = read(store, "scores")
    everything = store.list_files("")

    planned = vacuum(store, grace=GRACE)
    assert planned.dry_run
    assert store.list_files("") == everything
    paths = [path for path, _ in planned.removed]
    expected = {
        path
        for path in everything
        if dead[:16] in path or (finished[:16] in path and path.startswith(("shards/", "ray/")))
    }
    assert set(paths) == expected | {"tables/scores/round=1/.tmp-old"}
    plans = [path for path in paths if path.startswith("ingests/")]
    assert [path.rsplit("/", 1)[1] for path in plans] == ["plan.json", "000000.parquet"]
    assert planned.bytes == sum((Path(store.root) / path).stat().st_size for path in paths)

    done = vacuum(store, grace=GRACE, dry_run=False)
    assert done.removed == planned.removed
    assert store.list_files("") == [path for path in everything if path not in paths]
    assert read(store, "scores").equals(before)
    assert receipts(store, alive, shards).keys() == {0, 1}
    assert receipts(store, dead, shards) == {}
    assert vacuum(store, grace=GRACE).removed == ()
    assert helpers.run(store, "done").tally.ok == 7
    assert helpers.run(store, "dead").tally.ok == 7


def test_what_a_live_run_takes_away_meanwhile_is_no_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open(tmp_path / "store")
    listed = Store.list_files

    def with_one_that_is_gone(self: Store, relative: str) -> list[str]:
        return [*listed(self, relative), "begun/gone.json", ".tmp-gone"]

    monkeypatch.setattr(Store, "list_files", with_one_that_is_gone)
    assert vacuum(store, grace=timedelta(0), dry_run=False).removed == ()


def half_done(store: Store) -> str:
    """An unfinished stage with one of its shards, a month old; its key."""
    spec = helpers.spec("half")
    shard = cut(helpers.IDS, 4)[0]
    write_shard(store, spec.key, shard, {"scores": helpers.scores(spec.key, list(shard.ids))}, Tally(ok=4))
    store.atomic_write(f"ray/half-{spec.key[:16]}/engine/checkpoint.pt", b"x")
    for path in store.list_files(""):
        age(store, path, 30)
    return spec.key


def note(store: Store, key: str, campaign: str | None = None, **process: object) -> None:
    """A note that the stage has begun, by this process or by the other one that is told."""
    by = {**this_process(), **process}
    begun = Begun(key, "half", campaign, None, 3, "shards", "2026-01-01T00:00:00+00:00", by)
    store.atomic_write(f"begun/{key}.json", json.dumps(asdict(begun)).encode())


@pytest.mark.parametrize(
    ("process", "days", "spared"),
    [
        pytest.param({}, 30, True, id="living"),
        pytest.param({"born": "long ago"}, 30, False, id="dead"),
        pytest.param({"host": "another"}, 0, True, id="elsewhere, heard of just now"),
        pytest.param({"host": "another"}, 1, False, id="elsewhere, silent"),
    ],
)
def test_nothing_of_a_stage_that_somebody_works_on(
    tmp_path: Path, process: dict[str, object], days: float, spared: bool
) -> None:
    store = Store.open(tmp_path / "store")
    key = half_done(store)
    note(store, key, **process)
    age(store, f"begun/{key}.json", days)
    removed = vacuum(store, grace=timedelta(0), dry_run=False).removed
    assert len(removed) == (0 if spared else 4)
    assert receipts(store, key, cut(helpers.IDS, 4)).keys() == ({0} if spared else set())


@pytest.mark.parametrize(
    ("held", "campaign", "spared"),
    [("one", None, True), ("one", "one", True), ("one", "two", False), (None, "one", False)],
)
def test_nothing_of_a_campaign_that_somebody_holds(
    tmp_path: Path, held: str | None, campaign: str | None, spared: bool
) -> None:
    """A stage of no campaign that is known may be of any."""
    store = Store.open(tmp_path / "store")
    key = half_done(store)
    if campaign:
        note(store, key, campaign, born="long ago")
    if held:
        store.atomic_write(f"leases/{held}.json", json.dumps(this_process()).encode())
    removed = vacuum(store, grace=timedelta(0), dry_run=False).removed
    assert bool(removed) is not spared


@pytest.mark.parametrize(("silent_days", "spared"), [(0.0, True), (1.0, False)])
def test_a_holder_elsewhere_lives_by_the_heartbeat_beside_its_lease(
    tmp_path: Path, silent_days: float, spared: bool
) -> None:
    store = Store.open(tmp_path / "store")
    half_done(store)
    lease, beat = "leases/one/3.json", "leases/one/3.abc.beat"
    store.atomic_write(lease, json.dumps({**this_process(), "host": "another"}).encode())
    store.atomic_write(beat, b"{}")
    age(store, lease, 2)
    age(store, beat, silent_days)
    assert bool(vacuum(store, grace=timedelta(0), dry_run=False).removed) is not spared


def test_what_is_on_its_way_into_a_table_stays_while_somebody_works(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    helpers.run(store)
    on_its_way = [f"tables/rounds/{file_name('log', 'a')}", f"tables/stages/{file_name(helpers.spec().key, 'b')}"]
    for path in (*on_its_way, "tables/rounds/.tmp-x"):
        store.atomic_write(path, b"x")
    for path in store.list_files("shards"):
        store.remove(path)
    store.atomic_write("leases/one.json", json.dumps(this_process()).encode())
    assert vacuum(store, grace=timedelta(0)).removed == ()
    age(store, on_its_way[0], 1)
    assert [path for path, _ in vacuum(store, grace=timedelta(0)).removed] == on_its_way[:1]
    store.remove("leases/one.json")
    assert [path for path, _ in vacuum(store, grace=timedelta(0)).removed] == on_its_way


class DaysAhead(datetime):
    """A clock."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "DaysAhead":
        return cls.fromtimestamp((datetime.now(tz) + timedelta(days=8)).timestamp(), tz)


def test_a_clock_that_is_days_ahead_makes_nothing_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open(tmp_path / "store")
    store.atomic_write("shards/abc/00000.json", b"x")
    for module in ("infra.vacuum", "infra.store"):
        monkeypatch.setattr(f"{module}.datetime", DaysAhead)
    assert vacuum(store, grace=GRACE, dry_run=False).removed == ()
    age(store, "shards/abc/00000.json", 8)
    assert len(vacuum(store, grace=GRACE, dry_run=False).removed) == 1
