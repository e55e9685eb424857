"""Vacuum removes leftovers that are old, and nothing else."""

import os
import time
from datetime import timedelta
from pathlib import Path

import pytest

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
