"""The same protocol on S3 (a local test server): commit, exactly-once, read, query, vacuum."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from infra.store import Store
from infra.tables import read
from infra.vacuum import vacuum
from infra.views import query
from schemas.errors import StoreError
from tests.infra import helpers
from tests.infra.buckets import OURS, s3_server

pytestmark = pytest.mark.slow


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with s3_server(monkeypatch):
        yield f"s3://{OURS}/deep/store"


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
