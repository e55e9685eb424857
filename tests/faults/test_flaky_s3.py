"""S3 that fails: every request is tried again with growing pauses, but not for ever, and no table is torn."""

from collections.abc import Iterator

import boto3
import httpx
import pytest
from moto.server import ThreadedMotoServer

from tests.faults.flaky_s3 import KINDS, FlakyS3, one_in
from tests.faults.nursery import Nursery, Order

pytestmark = pytest.mark.slow
STORE = "s3://bodies/store"


@pytest.fixture
def moto() -> Iterator[tuple[str, int]]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        httpx.post(f"http://{host}:{port}/moto-api/reset").raise_for_status()  # its buckets outlive it
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
        boto3.client("s3", endpoint_url=f"http://{host}:{port}", **keys).create_bucket(Bucket="bodies")
        yield host, port
    finally:
        server.stop()


def through(url: str) -> dict[str, str]:
    """The environment of a process that finds S3 at an address."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_REGION": "us-east-1",
    }


@pytest.fixture(scope="module")
def expected(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[object]]:
    """The tables of the same work on a local disk."""
    url = str(tmp_path_factory.mktemp("local") / "store")
    held = nursery.do("tests.faults.on_s3:prepare", url).result
    assert nursery.do("tests.faults.on_s3:work", url, *held).returncode == 0
    found: dict[str, list[object]] = nursery.do("tests.faults.on_s3:fingerprints", url).result
    assert found["pairs"][0]
    return found


@pytest.mark.faults
def test_one_request_in_ten_fails(nursery: Nursery, moto: tuple[str, int], expected: dict[str, list[object]]) -> None:
    direct = through(f"http://{moto[0]}:{moto[1]}")
    held = nursery.do("tests.faults.on_s3:prepare", STORE, **direct).result
    with FlakyS3(*moto, one_in(10)) as flaky:
        done = nursery.do("tests.faults.on_s3:work", STORE, *held, **through(flaky.url))
        assert done.returncode == 0, done
        assert set(flaky.spoiled) == set(KINDS)
        assert 0.05 < flaky.spoiled.total() / flaky.requests < 0.2
        found = nursery.do("tests.faults.on_s3:fingerprints", STORE, **through(flaky.url))
    assert found.result == expected
    assert nursery.do("tests.faults.on_s3:fingerprints", STORE, **direct).result == expected


@pytest.mark.faults
def test_two_processes_at_once_while_one_request_in_ten_fails(
    nursery: Nursery, moto: tuple[str, int], expected: dict[str, list[object]]
) -> None:
    direct = through(f"http://{moto[0]}:{moto[1]}")
    held = nursery.do("tests.faults.on_s3:prepare", STORE, **direct).result
    with FlakyS3(*moto, one_in(10, seed=1)) as flaky:
        order = Order("tests.faults.on_s3:work", [STORE, *held], through(flaky.url))
        one, other = nursery.together(order, order)
    assert (one.returncode, other.returncode) == (0, 0), (one, other)
    assert one.result == other.result
    assert nursery.do("tests.faults.on_s3:fingerprints", STORE, **direct).result == expected


@pytest.mark.parametrize("kind", ["lost", pytest.param("late 500", marks=pytest.mark.faults)])
def test_the_word_of_every_commit_is_lost(
    nursery: Nursery, moto: tuple[str, int], expected: dict[str, list[object]], kind: str
) -> None:
    """S3 took the commit and nobody heard of it: it must not be taken for somebody else's, or be done twice."""
    direct = through(f"http://{moto[0]}:{moto[1]}")
    held = nursery.do("tests.faults.on_s3:prepare", STORE, **direct).result
    met: set[str] = set()

    def choose(method: str, path: str) -> str | None:
        if method != "PUT" or "/_delta_log/" not in path or path in met:
            return None
        met.add(path)
        return kind

    with FlakyS3(*moto, choose) as flaky:
        done = nursery.do("tests.faults.on_s3:work", STORE, *held, **through(flaky.url))
        assert done.returncode == 0, done
        assert flaky.spoiled[kind] >= 10
    assert nursery.do("tests.faults.on_s3:fingerprints", STORE, **direct).result == expected


def test_one_that_never_answers_is_given_up_in_plain_words(nursery: Nursery, moto: tuple[str, int]) -> None:
    with FlakyS3(*moto, lambda method, path: "503") as flaky:
        kind, text = nursery.do("tests.faults.on_s3:refused", STORE, **through(flaky.url)).result
        assert 3 < flaky.requests < 50
    assert kind == "StoreError"
    assert "s3://bodies/store can't be used" in text
