"""Paths of stores: each odd one either works for everybody who reads the store, or is refused with the cure."""

import re
import shlex
import subprocess
from pathlib import Path

import duckdb
import pytest
from ray.train.v2._internal.execution.storage import get_fs_and_path
from typer.testing import CliRunner

from flows.cli.main import app
from infra.shared_store import ray_storage
from infra.store import Store
from infra.store_url import parse
from infra.tables import read
from infra.views import query, write_views_sql
from schemas.errors import StoreError
from tests.infra import helpers
from tests.infra.buckets import OURS, s3_server

ODD = 'it\'s "a" store/é日~e\u0301\xa0\u200b/{a,b} k=v/ &;:,@+$HOME(x)<y>|^`!a..b/~x/-rf '
MISREAD = [
    "#",
    "?",
    "%",
    "*",
    "[",
    "]",
    "\\",
    "\n",
    "\t",
    "\x07",
    "\x1b[2J",
    "\x7f",
    "\x85",
    "%20",
    "#1",
    "[ab]",
    "\udcff",
]


def counted(store: Store) -> tuple[int, int]:
    (row,) = query(store, "SELECT count(*) AS n, count(DISTINCT round) AS rounds FROM scores").to_pylist()
    return row["n"], row["rounds"]


def test_odd_names_work_end_to_end(tmp_path: Path) -> None:
    path = tmp_path / "x" / ".." / ODD
    (tmp_path / "x").mkdir()
    store = Store.open(f"{path}/")
    helpers.run(store)
    again = Store.open(path, create=False)
    assert read(again, "scores").num_rows == 7
    assert counted(again) == (7, 2)
    with duckdb.connect() as plain:
        plain.execute(Path(write_views_sql(again)).read_text())
        assert plain.execute("SELECT count(*), count(DISTINCT round) FROM scores").fetchall() == [(7, 2)]
    assert get_fs_and_path(*ray_storage(again))[1] == f"{path}/ray"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [ODD.split("/")[0], "x"], "nothing lies elsewhere"


@pytest.mark.slow
def test_odd_names_work_on_s3(monkeypatch: pytest.MonkeyPatch) -> None:
    import boto3

    with s3_server(monkeypatch):
        store = Store.open(f"s3://{OURS}/{ODD}/")
        helpers.run(store)
        assert counted(Store.open(store.url, create=False)) == (7, 2)
        keys = [one["Key"] for one in boto3.client("s3").list_objects_v2(Bucket=OURS)["Contents"]]
        assert all(key.startswith(f"{ODD}/") for key in keys), "nothing lies elsewhere"


@pytest.mark.parametrize("signs", MISREAD)
@pytest.mark.parametrize(
    "url", ["/data/run{}x", "/data/run{}x/store", "file:///data/run{}x", "s3://bucket/run{}x/deep"]
)
def test_misread_names_are_refused(url: str, signs: str) -> None:
    with pytest.raises(StoreError, match="which Delta or DuckDB would read as something else") as refused:
        Store.open(url.format(signs))
    said = str(refused.value)
    assert said.isprintable()
    if url.startswith("s3"):
        assert " aws s3 mv --recursive " in said
        assert said.endswith(" s3://bucket/run-x/") or re.search(r" s3://bucket/run-[\w-]+/$", said)
    else:
        assert re.search(r"or: mv \S.* /data/run-[\w-]+$", said)


@pytest.mark.parametrize("name", ["round=1", "ROUND=1", "dataset=wild", "stage_key=x"])
def test_names_that_duckdb_takes_for_a_column(name: str) -> None:
    with pytest.raises(StoreError, match="for the column") as refused:
        Store.open(f"/data/{name}/store")
    assert f"/data/{name.replace('=', '-')}" in str(refused.value)


@pytest.mark.parametrize("url", ["s3://bucket/a/../b", "s3://bucket/a/./b", "s3://bucket/a//b"])
def test_names_that_http_clients_shorten(url: str) -> None:
    with pytest.raises(StoreError, match="HTTP clients would leave out"):
        Store.open(url)


def test_other_urls() -> None:
    assert parse("s3://bucket/a/b/") == parse("s3a://bucket/a/b") == ("s3", "bucket/a/b")
    with pytest.raises(StoreError, match="names no bucket"):
        parse("s3://")
    with pytest.raises(StoreError, match="Give its whole path instead of ~"):
        parse("~nobody-of-this-name/store")
    assert parse("~/store")[1] == str(Path.home() / "store")


def test_the_cure_cures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working directory's own path counts, too; the command that is shown can be pasted."""
    folder = tmp_path / "it's 100% run[1]\t\\"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("ADHMR_STORE", raising=False)
    with pytest.raises(StoreError, match="adhmr-store can't be used") as refused:
        Store.open()
    command = str(refused.value).partition("or: ")[2]
    subprocess.run(["bash", "-c", command], check=True)
    (moved,) = tmp_path.iterdir()
    monkeypatch.chdir(moved)
    assert Store.open().root == str(moved / "adhmr-store")
    assert shlex.quote(str(moved)) == str(moved)


@pytest.mark.parametrize("command", ["plan", "doctor", "status", "run"])
def test_commands_refuse_them_before_anything_else(command: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, [command, "--store", str(tmp_path / "run[1]")])
    assert done.exit_code == (1 if command == "doctor" else 2)
    assert "run[1] holds [ ], which Delta or DuckDB would read" in done.output.replace("\n", " ")
    assert list(tmp_path.iterdir()) == []
