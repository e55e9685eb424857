"""The same protocol on S3 (a local test server): commit, exactly-once, read, query, vacuum."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from infra import intact
from infra.deep import look_over
from infra.store import Store
from infra.tables import live_files, read
from infra.vacuum import vacuum
from infra.views import query
from schemas.errors import DamagedError, StoreError
from tests.infra import helpers
from tests.infra.buckets import OURS, s3_server

pytestmark = pytest.mark.slow


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with s3_server(monkeypatch):
        yield f"s3://{OURS}/deep/store"


def test_damage_is_looked_for_where_it_is_asked_for(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open(bucket)
    helpers.run(store)
    assert [one for one in look_over(Store.open(bucket, create=False)) if one.level == "problem"] == []
    file = live_files(store, "scores")[0]
    data = bytearray(store.read_bytes(file.name))
    data[len(data) // 2] ^= 1
    store.atomic_write(file.name, bytes(data))
    (problem,) = [one.text for one in look_over(Store.open(bucket, create=False)) if one.level == "problem"]
    assert f"{file.name} holds other bytes than were written" in problem
    monkeypatch.setenv(intact.VARIABLE, "1")
    for ask in (lambda: read(store, "scores"), lambda: query(store, "FROM scores")):
        with pytest.raises(DamagedError, match="holds other bytes than were written"):
            ask()
    assert len(read(store, "failures")) == 3


def test_commit_read_query_vacuum(bucket: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="There is no store at s3://bodies/deep/store"):
        Store.open(bucket, create=False)
    store = Store.open(bucket)
    record = helpers.run(store)
    assert helpers.run(Store.open(bucket)) == record
    local = Store.open(tmp_path / "local")
    helpers.run(local)
    assert read(store, "scores").equals(read(local, "scores"))
    assert not store.atomic_write(f"shards/{record.stage_key}/00000.json", b"other", replace=False)
    assert query(store, "SELECT round, count(*) AS n FROM scores GROUP BY 1 ORDER BY 1").to_pylist() == [
        {"round": 1, "n": 4},
        {"round": 2, "n": 3},
    ]
    removed = vacuum(store, grace=timedelta(0), dry_run=False).removed
    assert {path.split("/")[0] for path, _ in removed} == {"shards"}
    assert len(read(Store.open(bucket, create=False), "scores")) == 7
