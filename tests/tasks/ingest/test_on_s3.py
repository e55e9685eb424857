"""Pictures and store on S3 (a local test server): the same rows as from a disk."""

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.cli.export import export
from infra.store import Store
from infra.tables import read
from schemas.errors import DataError
from schemas.ids import Target
from tasks.engine.context import Context
from tasks.ingest.annotated import IngestAnnotations
from tasks.ingest.hypotheses.crops import PICTURES
from tasks.ingest.hypotheses.stage import IngestHypotheses
from tasks.ingest.pairs.stage import IngestPairs
from tasks.ingest.people.annotations import AnnotationSource
from tasks.ingest.source.folder import Folder
from tasks.ingest.stage import Ingest
from tasks.stages.synthesize import Synthesize, synthetic_sources
from tests.infra.buckets import OURS, s3_server
from tests.models.smplx_file import smplx_arrays
from tests.samples.coco import write_coco
from tests.samples.humandata import write_humandata
from tests.samples.osx_h36m import write_osx_h36m
from tests.samples.preferences import write_hypothesis_cache, write_pair_json, write_scorer_cache
from tests.samples.scorehypo import write_scorehypo
from tests.samples.truth import TruePerson, true_people
from tests.samples.video import write_video
from tests.tasks.ingest.pictures import context, jpeg, noise, pictures
from tests.tasks.ingest.test_annotated import CONFIG

pytestmark = pytest.mark.slow


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with s3_server(monkeypatch):
        yield boto3.client("s3")


def test_synthesize_and_ingest_as_on_a_disk(client: object, tmp_path: Path) -> None:
    numbers = {"source_train": 6, "source_test": 2, "scorer_train": 2}
    numbers |= {"wild_train": 3, "wild_validation": 2, "wild_test": 2}
    changes: dict[str, Any] = {f"synthesize__{name}": count for name, count in numbers.items()}
    there, here = context(Store.open("s3://bodies/store"), **changes), context(tmp_path / "store", **changes)
    keys = []
    for ctx in (here, there):
        made = Synthesize().run(ctx)
        keys.append(Ingest(synthetic_sources(ctx, made.key), (made.key,)).run(ctx).key)
    assert keys[0] == keys[1]
    for table in ("images", "instances", "labels"):
        assert read(here.store, table).equals(read(there.store, table))


def test_a_users_folder_on_s3(client: object, tmp_path: Path) -> None:
    put = client.put_object  # type: ignore[attr-defined]
    put(Bucket=OURS, Key="mine/pictures/a.jpg", Body=jpeg(noise()))
    put(Bucket=OURS, Key="mine/pictures/sub/b.jpg", Body=jpeg(noise())[:-1500])
    put(
        Bucket=OURS,
        Key="mine/boxes.csv",
        Body=b"path,x,y,w,h\na.jpg,1,2,30,40\nsub/b.jpg,1,2,30,40\nc.jpg,1,2,3,4\n",
    )
    ctx = context(tmp_path / "store")
    source = pictures("s3://bodies/mine/pictures", "s3://bodies/mine/boxes.csv")
    before = IngestAnnotations(source).spec(ctx).key
    IngestAnnotations(source).run(ctx)
    (picture,) = read(ctx.store, "images").to_pylist()
    assert picture["uri"] == "s3://bodies/mine/pictures/a.jpg"
    reasons = {row["id"]: row["reason"] for row in read(ctx.store, "failures").to_pylist()}
    assert reasons == {"mine/train/sub/b.jpg#0": "picture truncated", "mine/train/c.jpg#0": "picture missing"}
    put(Bucket=OURS, Key="mine/pictures/c.jpg", Body=jpeg(noise()))
    assert IngestAnnotations(source).spec(ctx).key != before


def upload(client: Any, folder: Path, prefix: str) -> None:
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            client.put_object(Bucket=OURS, Key=f"{prefix}/{file.relative_to(folder)}", Body=file.read_bytes())


def moved(source: AnnotationSource, folder: Path, url: str) -> AnnotationSource:
    """The same source in another place, also what its options name."""
    options = {name: value.replace(str(folder), url) for name, value in source.options.items()}
    images = source.images and source.images.replace(str(folder), url)
    return replace(source, url=source.url.replace(str(folder), url), images=images, options=options)


def both(tmp_path: Path, name: str) -> tuple[Context, Context]:
    """Contexts with a store on the disk and one on S3."""
    stores = Store.open(str(tmp_path / "store")), Store.open(f"s3://{OURS}/{name}/store")
    here, there = (Context(store, CONFIG, in_process=True) for store in stores)
    return here, there


def assert_equal(here: Context, there: Context, tables: tuple[str, ...]) -> None:
    """But for what names the place: keys, URIs, states of pictures."""
    of_places = {"stage_key", "generation_id", "pair_set", "uri", "source_digest"}
    for table in tables:
        ours, theirs = read(here.store, table), read(there.store, table)
        kept = [name for name in ours.column_names if name not in of_places]
        assert ours.select(kept).equals(theirs.select(kept)), table


def write_frames(people: list[TruePerson], folder: Path) -> AnnotationSource:
    pytest.importorskip("av")
    return write_video(people, folder)


WRITERS: dict[str, Callable[[list[TruePerson], Path], AnnotationSource]] = {
    "3dpw": lambda people, folder: write_scorehypo(people, folder, "3dpw"),
    "humandata": lambda people, folder: write_humandata(people, folder, body="smpl"),
    "persons": lambda people, folder: write_coco(people, folder, "train"),
    "osx-h36m": write_osx_h36m,
    "video": write_frames,
}


@pytest.mark.parametrize("name", WRITERS)
def test_annotations_on_s3_as_on_a_disk(client: Any, tmp_path: Path, name: str) -> None:
    data, url = tmp_path / "data", f"s3://{OURS}/{name}/data"
    local = WRITERS[name](true_people(3), data)
    upload(client, data, f"{name}/data")
    away = moved(local, data, url)
    bodies = CONFIG.body
    if name == "osx-h36m":  # whose labels are of SMPL-X
        bodies = str(tmp_path / "human_model_files")
        (tmp_path / "human_model_files" / "smplx").mkdir(parents=True)
        np.savez(tmp_path / "human_model_files" / "smplx" / "SMPLX_NEUTRAL.npz", **smplx_arrays())
    here, there = both(tmp_path, name)
    if name == "video":
        with pytest.raises(DataError, match="give a folder that lasts for the frames"):
            IngestAnnotations(away).run(there)
        with pytest.raises(DataError, match="can be written to a local folder only"):
            IngestAnnotations(replace(away, images=f"{url}/frames")).run(there)
        away = replace(away, images=str(tmp_path / "frames"))
    done, done_there = (IngestAnnotations(one, bodies).run(ctx) for ctx, one in ((here, local), (there, away)))
    assert done.record.tally == done_there.record.tally
    assert done_there.record.tally.ok == 3
    assert_equal(here, there, ("images", "instances", "labels"))
    assert IngestAnnotations(away, bodies).run(there).reused
    assert there.store.list_files("ingests") == []


@pytest.mark.parametrize("name", ["multihypo-npz", "scorer-eval"])
def test_hypotheses_on_s3_as_on_a_disk(client: Any, tmp_path: Path, name: str) -> None:
    data, people = tmp_path / "data", true_people(3)
    if name == "scorer-eval":
        local = write_scorer_cache(people, data)
    else:
        local = replace(write_hypothesis_cache(people, data), options={PICTURES: str(data / "images")})
    upload(client, data, f"{name}/data")
    away = moved(local, data, f"s3://{OURS}/{name}/data")
    here, there = both(tmp_path, name)
    done, done_there = IngestHypotheses(local).run(here), IngestHypotheses(away).run(there)
    assert done.record.tally == done_there.record.tally
    assert done_there.record.tally.ok == 3
    assert_equal(here, there, ("images", "instances", "hypotheses", "errors"))
    assert all(row["uri"].startswith("s3://bodies/") for row in read(there.store, "images").to_pylist())
    assert IngestHypotheses(away).run(there).reused
    assert there.store.list_files("ingests") == []


def test_pairs_in_and_all_forms_out_on_s3_as_on_a_disk(client: Any, tmp_path: Path) -> None:
    data, url, people = tmp_path / "data", "s3://bodies/pairs/data", true_people(3)
    annotated, pairs = write_humandata(people, data), write_pair_json(people, data, "humandata", "train")
    entries = json.loads(Path(pairs.url).read_text())
    for entry in entries:
        entry["img_path"] = f"images/{entry['img_idx']:06d}.jpg"  # as HumanData has it
    Path(pairs.url).write_text(json.dumps(entries))
    upload(client, data, "pairs/data")
    target, campaign = Target("humandata", "train"), CONFIG.campaign
    out: dict[str, dict[str, bytes]] = {}
    taken: list[pa.Table] = []
    here, there = both(tmp_path, "pairs")
    for ctx, place in ((here, str(tmp_path / "out")), (there, "s3://bodies/pairs/out")):
        given, given_pairs = (one if ctx is here else moved(one, data, url) for one in (annotated, pairs))
        ingested = IngestAnnotations(given, CONFIG.body).run(ctx)
        paired = IngestPairs(given_pairs, (ingested.key,), target).run(ctx)
        assert paired.record.tally.ok == 6
        taken.append(read(ctx.store, "pairs", stage_keys=[paired.key]))
        export(ctx.store, "dpo-json", f"{place}/new/pairs.json", campaign)
        export(ctx.store, "trl", f"{place}/preferences", campaign)
        export(ctx.store, "humandata", f"{place}/labels.npz", campaign, dataset="humandata", split="train")
        files = Folder(place)
        out[place] = {name: files.read(name) for name, _ in files.files()}
        with pytest.raises(DataError, match="There is something at"):
            export(ctx.store, "trl", f"{place}/preferences", campaign)
        # what went out comes in again
        again = IngestPairs(replace(given_pairs, url=f"{place}/new/pairs.json"), (ingested.key,), target).run(ctx)
        assert again.record.tally.ok == 6
    assert_equal(here, there, ("images", "instances", "labels"))
    first, second = (rows.drop_columns(["pair_set", "generation_id", "stage_key"]) for rows in taken)
    assert first.equals(second)
    ours, theirs = out.values()
    assert sorted(ours) == sorted(theirs)
    assert {"new/pairs.json", "labels.npz", "preferences/README.md"} < set(theirs)
    assert ours["new/pairs.json"] == theirs["new/pairs.json"]
    (table,) = (name for name in theirs if name.endswith(".parquet"))
    assert pq.read_table(io.BytesIO(ours[table])).equals(pq.read_table(io.BytesIO(theirs[table])))
    with (
        np.load(io.BytesIO(ours["labels.npz"]), allow_pickle=True) as mine,  # files that the test itself has written
        np.load(io.BytesIO(theirs["labels.npz"]), allow_pickle=True) as other,
    ):
        assert mine.files == other.files
        for name in mine.files:
            np.testing.assert_equal(mine[name].tolist(), other[name].tolist())
