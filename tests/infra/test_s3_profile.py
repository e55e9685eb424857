"""Credentials that stand in ~/.aws alone: whoever reads the store finds the same ones, and nobody asks the machine."""

import os
import pickle
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyarrow.fs import FileSelector
from ray.train.v2._internal.execution.storage import get_fs_and_path

from infra import s3
from infra.shared_store import ray_storage
from infra.store import Store
from infra.tables import read
from infra.views import query
from schemas.errors import StoreError
from tests.infra import helpers
from tests.infra.buckets import OURS, s3_server

pytestmark = pytest.mark.slow
URL = f"s3://{OURS}/deep/store"
CONFIG = """
[default]
region = us-west-2
endpoint_url = http://127.0.0.1:9
[profile lab]
region = eu-north-1
endpoint_url = {endpoint}
[profile role]
role_arn = arn:aws:iam::123456789012:role/reader
source_profile = lab
region = eu-north-1
endpoint_url = {endpoint}
duration_seconds = 900
"""
KEYS = "[{profile}]\naws_access_key_id = {key}\naws_secret_access_key = secret of {key}\n"


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A home with ~/.aws, and an environment that says no more than which profile it is."""
    with s3_server(monkeypatch) as variables:
        for name in variables:
            monkeypatch.delenv(name)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("AWS_PROFILE", "lab")
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:9")
        (tmp_path / ".aws").mkdir()
        (tmp_path / ".aws/config").write_text(CONFIG.format(endpoint=variables["AWS_ENDPOINT_URL"]))
        (tmp_path / ".aws/credentials").write_text(KEYS.format(profile="lab", key="from-the-profile"))
        yield tmp_path


def test_a_profile_is_enough_for_all_who_read_the_store(home: Path) -> None:
    began = time.monotonic()
    store = Store.open(URL)
    helpers.run(store)
    again: Store = pickle.loads(pickle.dumps(store))  # noqa: S301 - our own bytes
    assert read(again, "scores").num_rows == 7
    assert query(again, "SELECT count(*) AS n FROM scores").to_pylist() == [{"n": 7}]
    options = store.storage_options()
    assert (options["AWS_ACCESS_KEY_ID"], options["AWS_REGION"]) == ("from-the-profile", "eu-north-1")
    sent = pickle.dumps(ray_storage(store))
    assert b"from-the-profile" not in sent
    filesystem, path = get_fs_and_path(*pickle.loads(sent))  # noqa: S301 - our own bytes
    with filesystem.open_output_stream(f"{path}/marker") as stream:
        stream.write(b"x")
    assert [one.path for one in filesystem.get_file_info(FileSelector(path))] == [f"{OURS}/deep/store/ray/marker"]
    assert time.monotonic() - began < 60, "somebody waits for an answer from the machine"


def test_assumed_roles_are_renewed_when_a_table_is_opened(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "role")
    store = Store.open(URL)
    helpers.run(store)
    first, second = store.storage_options(), store.storage_options()
    assert first["AWS_SESSION_TOKEN"]
    # they would expire within a quarter of an hour, which botocore takes for soon
    assert first["AWS_SESSION_TOKEN"] != second["AWS_SESSION_TOKEN"]
    assert read(Store.open(URL, create=False), "scores").num_rows == 7


def test_credentials_that_others_write_anew_are_seen(home: Path) -> None:
    store = Store.open(URL)
    path = home / ".aws/credentials"
    path.write_text(KEYS.format(profile="lab", key="written-later") + "aws_session_token = of-today\n")
    os.utime(path, (time.time() + 10,) * 2)
    options = store.storage_options()
    assert (options["AWS_ACCESS_KEY_ID"], options["AWS_SESSION_TOKEN"]) == ("written-later", "of-today")
    assert store.exists("adhmr-store.json")


def test_the_environment_comes_first(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ACCESS_KEY_ID": "mine", "SECRET_ACCESS_KEY": "s", "REGION": "ap-south-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    options = Store.at(URL).storage_options()
    assert (options["AWS_ACCESS_KEY_ID"], options["AWS_REGION"]) == ("mine", "ap-south-1")
    assert "AWS_SESSION_TOKEN" not in options
    helpers.run(Store.open(URL))


def test_an_unknown_profile(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(StoreError, match=r"S3 is not set up: The config profile \(nobody\) could not be found"):
        Store.open(URL)


def test_no_credentials_at_all(home: Path) -> None:
    (home / ".aws/credentials").unlink()
    with pytest.raises(StoreError, match="S3 is not set up: no credentials were found"):
        Store.open(URL)


def test_amazons_own_endpoint_is_not_handed_on(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")
    assert s3.access().endpoint is None
    assert not {"AWS_ENDPOINT_URL", "AWS_ALLOW_HTTP"} & s3.access().delta_options().keys()
