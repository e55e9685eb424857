"""The fence of `adhmr query` on a store in S3: the store's own prefix can be read, and nothing else is reached."""

from collections.abc import Iterator

import boto3
import pytest

from infra.store import Store
from infra.views import query
from schemas.errors import DataError
from tests.infra import helpers
from tests.infra.buckets import OTHER, OURS, s3_server

pytestmark = pytest.mark.slow
URL = f"s3://{OURS}/deep/store"


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with pytest.MonkeyPatch.context() as patch, s3_server(patch):
        client = boto3.client("s3")
        for bucket, key in ((OTHER, "x.csv"), (OURS, "x.csv"), (OURS, "deep/x.csv"), (OURS, "deep/store2/x.csv")):
            client.put_object(Bucket=bucket, Key=key, Body=b"word\nforeign\n")
        made = Store.open(URL)
        helpers.run(made)
        yield made


def objects() -> set[tuple[str, str]]:
    client = boto3.client("s3")
    return {(b, one["Key"]) for b in (OURS, OTHER) for one in client.list_objects_v2(Bucket=b).get("Contents", [])}


def test_the_tables_answer(store: Store) -> None:
    assert query(store, "SELECT count(*) AS n FROM scores").to_pylist() == [{"n": 7}]


@pytest.mark.parametrize(
    "sql",
    [
        f"COPY (SELECT 1) TO '{URL}/made.csv'",
        f"COPY (SELECT 1) TO 's3://{OTHER}/made.csv'",
        f"EXPLAIN ANALYZE COPY (SELECT 1) TO '{URL}/made.csv'",
        f"ATTACH '{URL}/made.db'",
        f"ATTACH 's3://{OTHER}/made.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "CREATE SECRET s (TYPE s3)",
        "SET enable_external_access = true",
        f"EXPORT DATABASE 's3://{OTHER}/made'",
        "SELECT * FROM read_text('/etc/hostname')",
        f"SELECT * FROM read_csv('s3://{OTHER}/x.csv')",
        f"SELECT * FROM read_text('s3://{OTHER}/x.csv')",
        f"SELECT * FROM 's3://{OTHER}/x.csv'",
        f"SELECT * FROM glob('s3://{OTHER}/*')",
        f"SELECT * FROM read_text('s3://{OURS}/x.csv')",
        f"SELECT * FROM read_text('s3://{OURS}/deep/x.csv')",
        f"SELECT * FROM read_text('s3://{OURS}/deep/store2/x.csv')",
        f"SELECT * FROM read_text('{URL}/../x.csv')",
        f"SELECT * FROM read_csv('{URL}/../x.csv')",
        f"SELECT * FROM read_text('{URL}/tables/../../../x.csv')",
        f"SELECT * FROM glob('{URL}/../*')",
        f"SELECT * FROM read_text('{URL}//../x.csv')",
        f"SELECT * FROM read_text('s3a://{OTHER}/x.csv')",
        f"SELECT * FROM read_text('S3://{OTHER}/x.csv')",
        f"SELECT * FROM glob('s3://{OURS}/*')",
    ],
)
def test_all_else_is_refused(store: Store, sql: str) -> None:
    before = objects()
    with pytest.raises(DataError) as refused:
        query(store, sql)
    assert "foreign" not in str(refused.value)
    assert objects() == before
