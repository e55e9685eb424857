"""Planted credentials, and a search for them in what a round leaves: output, Prefect's records, store, exceptions."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import boto3
import pytest

from infra import s3
from infra.shared_store import ray_storage
from infra.snapshots import open_table
from infra.store import Store
from infra.views import write_views_sql
from schemas.errors import StoreError
from tests.infra import helpers
from tests.infra.buckets import OURS, s3_server

ROOT = Path(__file__).resolve().parents[2]
SECRET, WORD = "planted-aws-5d1e77c0", "planted-prefect-90ab3f"

ROUND = """
import json, sys, time
from flows.process.quiet import quiet_start
from flows.serve.temporary_server import begin_server
quiet_start()
ready = begin_server()
import flows.run.session
from flows.dpo_round import dpo_round
flows.run.session.IN_PROCESS = True
ready()
dpo_round(sys.argv[1], "micro")
try:
    dpo_round(sys.argv[1].replace("bodies", "no-such-bucket"), "micro")
except Exception as error:
    print(repr(error), error)
from prefect.client.orchestration import get_client
time.sleep(5)  # logs travel in batches
kept = []
with get_client(sync_client=True) as client:
    for path in ("artifacts", "flow_runs", "task_runs", "logs", "flows"):
        answer = client.request("POST", f"/{path}/filter", json={"limit": 200})  # what the user interface asks for
        kept.append(answer.text)
with open(sys.argv[2], "w") as file:
    json.dump(kept, file)
"""
WRONG = (
    ["query", "SELECT * FROM read_text('s3://others/x')"],
    ["query", "SELECT * FROM nowhere"],
    ["rounds", "--campaign", "nobody"],
    ["rollback", "--to", "0000"],
    ["status"],
    ["report", "--round", "99"],
)


def holds_none(text: str | bytes, where: str) -> None:
    data = text.encode() if isinstance(text, str) else text
    for planted in (SECRET, WORD):
        assert planted.encode() not in data, f"{planted} stands in {where}"


@pytest.mark.nightly
@pytest.mark.timeout(1200)
def test_planted_credentials_are_nowhere(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch, s3_server(patch, secret=SECRET) as variables:
        url = f"s3://{OURS}/store"
        environment = {
            **os.environ,
            **variables,
            "PREFECT_SERVER_API_AUTH_STRING": f"admin:{WORD}",
            "PREFECT_API_AUTH_STRING": f"admin:{WORD}",
            "PREFECT_HOME": str(tmp_path / "prefect"),
            "ADHMR_TRACEBACK": "1",
            "PYTHONPATH": str(ROOT),
        }
        environment.pop("PREFECT_API_URL", None)
        records = tmp_path / "records.json"

        def call(*words: str) -> str:
            done = subprocess.run(
                [sys.executable, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
            )
            return done.stdout + done.stderr

        said = call("-c", ROUND, url, str(records))
        assert records.exists(), said
        holds_none(said, "what the round printed")
        holds_none(records.read_text(), "what Prefect keeps")
        kinds = {artifact["type"] for artifact in json.loads(json.loads(records.read_text())[0])}
        assert {"progress", "table", "markdown", "image"} <= kinds
        write_views_sql(Store.open(url))
        client = boto3.client("s3")
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=OURS)
        keys = [one["Key"] for page in pages for one in page.get("Contents", [])]
        assert "store/views.sql" in keys
        for key in keys:
            holds_none(client.get_object(Bucket=OURS, Key=key)["Body"].read(), key)
        for words in WRONG:
            holds_none(call("-m", "flows.cli.main", *words, "--store", url), " ".join(words))
        for path in (tmp_path / "prefect").rglob("*"):
            if path.is_file():
                holds_none(path.read_bytes(), str(path))


def test_a_password_in_the_stores_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(StoreError, match="can't hold a name and a password") as refused:
        Store.open(f"s3://key:{SECRET}@{OURS}/store")
    holds_none(str(refused.value), "the error")
    holds_none(repr(refused.value.__context__), "what led to it")


@pytest.mark.slow
def test_exceptions_of_the_store_keep_it_back(monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_server(monkeypatch, secret=SECRET):
        store = Store.open(f"s3://{OURS}/store")
        for ask in (lambda: Store.open("s3://no-such-bucket/store"), lambda: store.read_bytes("nothing")):
            with pytest.raises(StoreError) as raised:
                ask()
            error: BaseException | None = raised.value
            while error is not None:
                holds_none(f"{error!r} {error}", "an exception")
                error = error.__cause__ or error.__context__
        helpers.run(store)
        for shown in (store, store.fs, s3.access(), open_table(store, "stages")):
            holds_none(f"{shown!r} {shown}", "what objects say of themselves")
        for sent in (store, ray_storage(store)):
            holds_none(pickle.dumps(sent), "what is sent to workers")
