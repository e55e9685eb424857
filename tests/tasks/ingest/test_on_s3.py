"""Pictures and store on S3 (a local test server): the same rows as from a disk."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer
from s3fs import S3FileSystem

from infra.store import Store
from infra.tables import read
from tasks.context import Context
from tasks.ingest.annotated import ingest_annotations
from tasks.ingest.folder import FolderSource
from tasks.ingest.stage import ingest, ingest_spec
from tasks.synthesize.samples.coco import write_coco
from tasks.synthesize.samples.humandata import write_humandata
from tasks.synthesize.samples.scorehypo import write_scorehypo
from tasks.synthesize.samples.truth import true_people
from tasks.synthesize.stage import synthesize, synthetic_sources
from tests.tasks.ingest.pictures import context, jpeg, noise
from tests.tasks.ingest.test_annotated import CONFIG

pytestmark = pytest.mark.slow


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    S3FileSystem.clear_instance_cache()  # or the server of an earlier test is asked
    made = boto3.client("s3")
    made.create_bucket(Bucket="people")
    yield made
    server.stop()


def test_synthesize_and_ingest_as_on_a_disk(client: object, tmp_path: Path) -> None:
    numbers = {"source_train": 6, "source_test": 2, "scorer_train": 2}
    numbers |= {"wild_train": 3, "wild_validation": 2, "wild_test": 2}
    changes: dict[str, Any] = {f"synthesize__{name}": count for name, count in numbers.items()}
    there, here = context(Store.open("s3://people/store"), **changes), context(tmp_path / "store", **changes)
    keys = []
    for ctx in (here, there):
        made = synthesize(ctx)
        keys.append(ingest(ctx, synthetic_sources(ctx, made.key), (made.key,)).key)
    assert keys[0] == keys[1]
    for table in ("images", "instances", "labels"):
        assert read(here.store, table).equals(read(there.store, table))


def test_a_users_folder_on_s3(client: object, tmp_path: Path) -> None:
    put = client.put_object  # type: ignore[attr-defined]
    put(Bucket="people", Key="mine/pictures/a.jpg", Body=jpeg(noise()))
    put(Bucket="people", Key="mine/pictures/sub/b.jpg", Body=jpeg(noise())[:-1500])
    put(
        Bucket="people",
        Key="mine/boxes.csv",
        Body=b"path,x,y,w,h\na.jpg,1,2,30,40\nsub/b.jpg,1,2,30,40\nc.jpg,1,2,3,4\n",
    )
    ctx = context(tmp_path / "store")
    source = FolderSource("s3://people/mine/pictures", "s3://people/mine/boxes.csv", None, "mine", "train")
    before = ingest_spec(ctx, [source]).key
    ingest(ctx, [source])
    (picture,) = read(ctx.store, "images").to_pylist()
    assert picture["uri"] == "s3://people/mine/pictures/a.jpg"
    reasons = {row["id"]: row["reason"] for row in read(ctx.store, "failures").to_pylist()}
    assert reasons == {"mine/train/sub/b.jpg#0": "picture truncated", "mine/train/c.jpg#0": "picture missing"}
    put(Bucket="people", Key="mine/pictures/c.jpg", Body=jpeg(noise()))
    assert ingest_spec(ctx, [source]).key != before


@pytest.mark.parametrize("name", ["3dpw", "humandata", "persons"])
def test_annotations_on_s3_as_on_a_disk(client: object, tmp_path: Path, name: str) -> None:
    people = true_people(3)
    local = {
        "3dpw": lambda: write_scorehypo(people, tmp_path / "data", "3dpw"),
        "humandata": lambda: write_humandata(people, tmp_path / "data", body="smpl"),
        "persons": lambda: write_coco(people, tmp_path / "data", "train"),
    }[name]()
    for file in sorted((tmp_path / "data").rglob("*")):
        if file.is_file():
            key = f"{name}/data/{file.relative_to(tmp_path / 'data')}"
            client.put_object(Bucket="people", Key=key, Body=file.read_bytes())  # type: ignore[attr-defined]
    there = replace(local, url=local.url.replace(str(tmp_path), f"s3://people/{name}"))
    if local.images:
        there = replace(there, images=local.images.replace(str(tmp_path), f"s3://people/{name}"))
    here = Context(Store.open(str(tmp_path / "store")), CONFIG, in_process=True)
    away = Context(Store.open(f"s3://people/{name}/store"), CONFIG, in_process=True)
    done, done_there = ingest_annotations(here, local), ingest_annotations(away, there)
    assert done.record.tally == done_there.record.tally
    assert done_there.record.tally.ok == 3
    for table in ("images", "instances", "labels"):
        ours, theirs = (
            read(ctx.store, table).drop_columns(
                ["stage_key", *(["uri"] if table == "images" else ["source_digest"] if table == "instances" else [])]
            )
            for ctx in (here, away)
        )
        assert ours.equals(theirs)
    assert ingest_annotations(away, there).reused
    assert away.store.list_files("ingests") == []
