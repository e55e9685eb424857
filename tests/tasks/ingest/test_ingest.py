"""The ingest stage: a user's folder with all that can be wrong with one, several people, labels, killed runs."""

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from infra.standing import read_standing
from infra.store import Store
from infra.tables import read
from models.bodies import load_body
from models.cameras import apply_affine, project
from schemas.errors import DataError, GateError
from schemas.tables import matrix
from tasks.engine.context import Context
from tasks.ingest.annotated import IngestAnnotations
from tasks.ingest.people.annotations import AnnotationSource
from tasks.ingest.people.worker import GONE
from tasks.ingest.source.folder import UNREAD_TYPE
from tasks.ingest.stage import Ingest
from tasks.stages.synthesize import Synthesize, synthetic_sources
from tests.tasks.ingest.pictures import Heard, context, exif, folder, jpeg, noise, pictures, source

ROOT = Path(__file__).resolve().parents[3]
BAD = {
    "truncated.jpg": "picture truncated",
    "empty.jpg": "picture empty",
    "text.jpg": "not a picture",
    "outside.jpg": "box outside picture",
    "nan.jpg": "box not finite",
    "gone.jpg": "picture missing",
}


def bad_folder(root: Path) -> AnnotationSource:
    """Ten good pictures, one of everything bad, and one picture with two people of the same number."""
    files = {f"good{number}.jpg": jpeg(noise(seed=number)) for number in range(10)}
    files |= {"truncated.jpg": jpeg(noise())[:-1500], "empty.jpg": b"", "text.jpg": b"see attachment\n"}
    files |= {name: jpeg(noise()) for name in ("outside.jpg", "nan.jpg", "twice.jpg")}
    folder(root, files)
    with (root / "boxes.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "x", "y", "w", "h", "person"])
        table.writerows(
            [name, 10, 10, 30, 50, 0] for name in [*sorted(files), "gone.jpg"] if name not in ("outside.jpg", "nan.jpg")
        )
        table.writerow(["outside.jpg", 60, 10, 30, 50, 0])
        table.writerow(["nan.jpg", 10, "nan", 30, 50, 0])
        table.writerow(["twice.jpg", 12, 10, 30, 50, 0])
    return source(root)


def test_everything_bad_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    given, ctx = bad_folder(tmp_path), context(tmp_path / "store")
    result = IngestAnnotations(given).run(ctx)
    assert result.record.units_in == 18
    assert (result.record.tally.ok, result.record.tally.failed, result.record.tally.crashed) == (11, 7, 0)
    failures = {row["id"]: row for row in read(ctx.store, "failures").to_pylist()}
    expected = {f"mine/train/{name}#0": reason for name, reason in BAD.items()}
    expected["mine/train/nan.jpg (row 17)"] = expected.pop("mine/train/nan.jpg#0")
    expected["mine/train/twice.jpg (row 18)"] = "duplicate id"
    assert {name: row["reason"] for name, row in failures.items()} == expected
    assert all(row["detail"] for row in failures.values())
    ids = [f"mine/train/good{number}.jpg#0" for number in range(10)] + ["mine/train/twice.jpg#0"]
    instances = read(ctx.store, "instances")
    assert instances.column("instance_id").to_pylist() == ids
    # the picture whose only box lies outside is a picture all the same
    assert set(read(ctx.store, "images").column("image_id").to_pylist()) == {name[:-2] for name in ids} | {
        "mine/train/outside.jpg"
    }
    assert len(read(ctx.store, "labels")) == 0


def test_more_failures_than_the_gates_allow_stop_the_run_but_are_recorded(tmp_path: Path) -> None:
    given, ctx = bad_folder(tmp_path), context(tmp_path / "store", gates__max_failed_share=0.05)
    for _ in range(2):
        with pytest.raises(GateError, match=r"ingest: 7 of 18 rows failed"):
            IngestAnnotations(given).run(ctx)
    assert len(read(ctx.store, "failures")) == 7


def test_the_same_folder_is_reused_and_a_changed_one_is_not(tmp_path: Path) -> None:
    given, heard = bad_folder(tmp_path), Heard()
    ctx = context(tmp_path / "store", heard)
    first = IngestAnnotations(given).run(ctx)
    assert IngestAnnotations(given).spec(ctx).key == first.key
    assert IngestAnnotations(given).run(ctx).reused
    assert any(line.startswith("ingest: reused, mine/train is as it was") for line in heard.lines)
    (tmp_path / "images" / "good3.jpg").write_bytes(jpeg(noise(90, 70)))
    changed = IngestAnnotations(given).spec(ctx).key
    assert changed != first.key
    with (tmp_path / "boxes.csv").open("a") as file:
        file.write("good4.jpg,0,0,20,20,1\n")
    again = IngestAnnotations(given).run(ctx)
    assert again.key not in (changed, first.key)
    # the new row, and the person whose picture was replaced
    assert again.record.tally.ok == again.record.units_in == 2
    assert "ingest: 17 rows of mine/train are as they were, and stay" in heard.lines
    assert len(read_standing(ctx.store, "instances", [again.key])) == 12


def test_a_folder_without_boxes_is_done_again_in_part(tmp_path: Path) -> None:
    images = folder(tmp_path, {f"{number}.jpg": jpeg(noise(seed=number)) for number in range(4)})
    given, ctx = source(tmp_path, boxes=None), context(tmp_path / "store", heard := Heard())
    first = IngestAnnotations(given).run(ctx)
    (images / "1.jpg").unlink()
    (images / "5.heic").write_bytes(b"")
    (images / "9.jpg").write_bytes(jpeg(noise(seed=9)))
    second = IngestAnnotations(given).run(ctx)
    assert second.record.reads == (first.key,)
    assert (second.record.tally.ok, second.record.tally.filtered) == (1, 2)
    assert {"ingest: 3 rows of mine/train are as they were, and stay"} < set(heard.lines)
    failures = {row["id"]: row["reason"] for row in read(ctx.store, "failures").to_pylist()}
    assert failures == {"mine/train/1.jpg#0": GONE, "mine/train/5.heic": UNREAD_TYPE}
    # what is left out is left out once, and is noticed where nothing else changed
    (images / "6.heic").write_bytes(b"")
    third = IngestAnnotations(given).run(ctx)
    assert (third.record.units_in, third.record.tally.filtered) == (1, 1)
    assert IngestAnnotations(given).run(ctx).reused
    standing = read_standing(ctx.store, "instances", [third.key]).column("instance_id").to_pylist()
    assert sorted(standing) == [f"mine/train/{number}.jpg#0" for number in (0, 2, 3, 9)]
    # a table of boxes that comes later changes people, and not the split
    (images / "boxes.csv").write_text("path,x,y,w,h\n0.jpg,0,0,30,40\n2.jpg,0,0,60,80\n")
    fourth = IngestAnnotations(given).run(ctx)
    assert fourth.record.reads == (third.key,)
    assert sorted(read(ctx.store, "instances", stage_keys=[fourth.key]).column("instance_id").to_pylist()) == [
        "mine/train/0.jpg#0",
        "mine/train/2.jpg#0",
    ]


def test_another_folder_takes_the_place_of_a_splits_own_only_when_told(tmp_path: Path) -> None:
    ctx = context(tmp_path / "store")
    first, other = tmp_path / "first", tmp_path / "other"
    for place, name in ((first, "a.jpg"), (other, "b.jpg")):
        folder(place, {name: jpeg(noise())})
    key = IngestAnnotations(source(first, boxes=None)).run(ctx).key
    with pytest.raises(DataError, match=r"1 of its people are not in .*--replace"):
        IngestAnnotations(source(other, boxes=None)).run(ctx)
    IngestAnnotations(source(other, boxes=None), replace_source=True).run(ctx)
    assert IngestAnnotations(source(first, boxes=None), replace_source=True).run(ctx).key != key
    # moved with its times, it is the same folder
    shutil.move(first, tmp_path / "moved")
    moved = IngestAnnotations(source(tmp_path / "moved", boxes=None)).run(ctx)
    assert (moved.reused, moved.record.units_in) == (False, 0)


def test_without_boxes_each_whole_picture_is_one_person_and_that_is_said(tmp_path: Path) -> None:
    folder(
        tmp_path,
        {"a.jpg": jpeg(noise()), "sub/b.jpeg": jpeg(noise(64, 48), exif=exif(orientation=6)), "notes.txt": b""},
    )
    heard = Heard()
    ctx = context(tmp_path / "store", heard)
    IngestAnnotations(source(tmp_path, boxes=None)).run(ctx)
    rows = {row["instance_id"]: row for row in read(ctx.store, "instances").to_pylist()}
    assert set(rows) == {"mine/train/a.jpg#0", "mine/train/sub/b.jpeg#0"}
    assert rows["mine/train/a.jpg#0"]["box_xywh"] == [0, 0, 60, 80]
    assert rows["mine/train/sub/b.jpeg#0"]["box_xywh"] == [0, 0, 48, 64]
    images = {row["key"]: row for row in read(ctx.store, "images").to_pylist()}
    assert (images["sub/b.jpeg"]["width_px"], images["sub/b.jpeg"]["height_px"]) == (48, 64)
    assert images["a.jpg"]["uri"] == str(tmp_path / "images" / "a.jpg")
    assert any("NO BOXES" in line and "2 pictures" in line for line in heard.lines)


def test_file_names_in_other_scripts_are_kept_and_broken_ones_refused(tmp_path: Path) -> None:
    folder(tmp_path, {"人 1.jpg": jpeg(noise()), "ok.jpg": jpeg(noise())})
    with open(os.fsencode(tmp_path / "images") + b"/\xff.jpg", "wb") as file:
        file.write(jpeg(noise()))
    ctx = context(tmp_path / "store")
    IngestAnnotations(source(tmp_path, boxes=None)).run(ctx)
    assert read(ctx.store, "instances").column("instance_id").to_pylist() == [
        "mine/train/ok.jpg#0",
        "mine/train/人 1.jpg#0",
    ]
    (failure,) = read(ctx.store, "failures").to_pylist()
    assert (failure["id"], failure["reason"]) == ("mine/train/\\udcff.jpg", "path not usable")


def test_cameras_and_where_they_came_from(tmp_path: Path) -> None:
    folder(tmp_path, {"a.jpg": jpeg(noise()), "b.jpg": jpeg(noise(), exif=exif(equivalent_mm=28))})
    (tmp_path / "boxes.json").write_text(
        json.dumps(
            [
                {"path": "a.jpg", "x": 10, "y": 20, "w": 20, "h": 40, "focal_px": 70, "cx": 31, "cy": 39},
                {"path": "a.jpg", "x": 30, "y": 20, "w": 20, "h": 40},
                {"path": "b.jpg", "x": -20, "y": 20, "w": 40, "h": 32},
            ]
        )
    )
    ctx = context(tmp_path / "store")
    IngestAnnotations(source(tmp_path, "boxes.json")).run(ctx)
    rows = read(ctx.store, "instances")
    assert rows.column("instance_id").to_pylist() == [
        f"mine/train/{name}" for name in ("a.jpg#0", "a.jpg#1", "b.jpg#0")
    ]
    assert rows.column("intrinsics_source").to_pylist() == ["given", "diagonal", "exif"]
    assert rows.column("crop_rule").to_pylist() == ["box"] * 3
    pictures = matrix(rows, "image_intrinsics")
    assert pictures[0].tolist() == [70, 70, 31, 39]
    assert pictures[1].tolist() == [100, 100, 30, 40]
    assert pictures[2] == pytest.approx([28 / 43.27 * 100] * 2 + [30, 40])
    # the square of the first: 50 px around (20, 40), so from (-5, 15), enlarged to 64
    affine = matrix(rows, "crop_affine").reshape(-1, 2, 3)
    assert affine[0] == pytest.approx(np.array([[1.28, 0, 6.4], [0, 1.28, -19.2]]), abs=1e-5)
    assert matrix(rows, "crop_intrinsics")[0] == pytest.approx(
        [89.6, 89.6, 31 * 1.28 + 6.4, 39 * 1.28 - 19.2], abs=1e-4
    )
    for row in rows.to_pylist():
        with Image.open(io.BytesIO(row["crop"])) as crop:
            assert crop.size == (64, 64)
    # two people of one picture, one picture
    assert read(ctx.store, "images").column("image_id").to_pylist() == ["mine/train/a.jpg", "mine/train/b.jpg"]


def test_people_of_one_picture_in_different_shards_leave_one_picture(tmp_path: Path) -> None:
    folder(tmp_path, {"a.jpg": jpeg(noise())})
    boxes = "\n".join(f"a.jpg,{number},0,20,30" for number in range(9))
    (tmp_path / "boxes.csv").write_text(f"path,x,y,w,h\n{boxes}\n")
    ctx = context(tmp_path / "store", ingest__shard_size=2)
    assert IngestAnnotations(source(tmp_path)).run(ctx).record.rows["images"] == 1
    assert len(read(ctx.store, "instances")) == 9


@pytest.mark.slow
def test_synthetic_labels_land_on_the_crop(tmp_path: Path) -> None:
    ctx = context(tmp_path / "store")
    made = Synthesize().run(ctx)
    sources = synthetic_sources(ctx, made.key)
    result = Ingest(sources, (made.key,)).run(ctx)
    assert result.record.reads == (made.key,)
    assert result.record.tally.ok == made.record.tally.ok == result.record.rows["instances"]
    labels, instances = (read(ctx.store, name).sort_by("instance_id") for name in ("labels", "instances"))
    assert set(labels.column("body_digest").to_pylist()) == {load_body("tiny").digest}
    assert set(labels.column("label_set").to_pylist()) == {"gt"}
    unlabelled = set(instances.column("instance_id").to_pylist()) - set(labels.column("instance_id").to_pylist())
    assert len(unlabelled) == ctx.config.synthesize.wild_train
    assert all(name.startswith("wild/train/") for name in unlabelled)
    place = {name: row for row, name in enumerate(instances.column("instance_id").to_pylist())}
    instances = instances.take([place[name] for name in labels.column("instance_id").to_pylist()])
    joints = torch.tensor(matrix(labels, "joints").reshape(-1, 29, 3))
    crop_pixels = project(joints, torch.tensor(matrix(instances, "crop_intrinsics")))
    picture_pixels = project(joints, torch.tensor(matrix(instances, "image_intrinsics")))
    affine = torch.tensor(matrix(instances, "crop_affine").reshape(-1, 2, 3))
    assert (apply_affine(affine, picture_pixels) - crop_pixels).abs().max() < 1e-2
    boxes = torch.tensor(matrix(instances, "box_xywh"))
    middle = apply_affine(affine, (boxes[:, None, :2] + boxes[:, None, 2:] / 2))[:, 0]
    assert (middle - 32).abs().max() < 1e-3
    whole = (boxes[:, 0] >= 0) & (boxes[:, 1] >= 0)  # where nothing is cut off, all joints are within the crop
    whole &= (boxes[:, 0] + boxes[:, 2] <= 96) & (boxes[:, 1] + boxes[:, 3] <= 96)
    assert whole.sum() > 5
    assert crop_pixels[whole].min() > 0
    assert crop_pixels[whole].max() < 64
    # pictures in the store are named below its root, so that the store can be moved
    row = read(ctx.store, "images").to_pylist()[0]
    assert ctx.store.exists(row["uri"])


@pytest.mark.slow
def test_a_label_with_a_nan_costs_its_instance_and_a_table_without_columns_the_ingest(tmp_path: Path) -> None:
    ctx = context(tmp_path / "store")
    made = Synthesize().run(ctx)
    test = next(item for item in synthetic_sources(ctx, made.key) if str(item) == "source/test")
    assert "labels" in test.options
    labels = pq.read_table(test.options["labels"])
    betas = np.array(labels.column("betas").to_pylist(), np.float32)
    betas[3, 2] = np.nan
    place = labels.schema.get_field_index("betas")
    changed = labels.set_column(place, "betas", pa.array(betas.tolist()))
    pq.write_table(changed, tmp_path / "labels.parquet")
    given = pictures(test.url, test.options["boxes"], tmp_path / "labels.parquet", split="test")
    result = IngestAnnotations(given).run(ctx)
    assert (result.record.tally.failed, result.record.rows["labels"]) == (1, len(labels) - 1)
    (failure,) = read(ctx.store, "failures").to_pylist()
    assert (failure["id"], failure["reason"]) == ("mine/test/00000003.jpg (row 4)", "label not finite")
    pq.write_table(changed.drop_columns(["twist"]), tmp_path / "labels.parquet")
    with pytest.raises(DataError, match="lacks the columns twist"):
        IngestAnnotations(given).run(ctx)
    pq.write_table(
        changed.set_column(place, "betas", pa.array([[0.0] * 16] * len(changed))), tmp_path / "labels.parquet"
    )
    with pytest.raises(DataError, match="column betas: 10 numbers are needed"):
        IngestAnnotations(given).run(ctx)


@pytest.mark.slow
def test_labels_that_somebody_brings_are_compared_with_the_body(tmp_path: Path) -> None:
    ctx = context(tmp_path / "store")
    made = Synthesize().run(ctx)
    test = next(item for item in synthetic_sources(ctx, made.key) if str(item) == "source/test")
    assert "labels" in test.options
    labels = pq.read_table(test.options["labels"])
    joints = np.array(labels.column("joints").to_pylist(), np.float32).reshape(-1, 29, 3)
    joints[3] *= 1.2
    place = labels.schema.get_field_index("joints")
    changed = labels.set_column(place, "joints", pa.array(joints.reshape(-1, 87).tolist()))
    pq.write_table(changed, tmp_path / "labels.parquet")
    given = pictures(test.url, test.options["boxes"], tmp_path / "labels.parquet", split="test")
    result = IngestAnnotations(given).run(ctx)
    assert (result.record.tally.failed, result.record.rows["labels"]) == (1, len(labels) - 1)
    (failure,) = read(ctx.store, "failures").to_pylist()
    assert (failure["id"], failure["reason"]) == ("mine/test/00000003.jpg#0", "joints disagree")


DRIVER = """
import sys
from pathlib import Path
from tasks.ingest.annotated import IngestAnnotations
from tests.tasks.ingest.pictures import context, source
IngestAnnotations(source(Path(sys.argv[2]))).run(context(Path(sys.argv[1]), ingest__shard_size=4))
"""


@pytest.mark.slow
@pytest.mark.parametrize("point", ["shard:ingest@2", "shard-file:instances@3", "commit:instances", "commit:stages"])
def test_a_killed_ingest_goes_on_and_ends_with_the_same_tables(tmp_path: Path, point: str) -> None:
    given = bad_folder(tmp_path)
    command = [sys.executable, "-c", DRIVER, str(tmp_path / "killed"), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "ADHMR_FAULT_AT": point}, check=False)
    assert done.returncode == -signal.SIGKILL
    killed, undisturbed = (context(tmp_path / name, ingest__shard_size=4) for name in ("killed", "undisturbed"))
    result = IngestAnnotations(given).run(killed)
    assert result.shards_found > 0
    assert IngestAnnotations(given).run(undisturbed).key == result.key
    for table in ("images", "instances", "failures"):
        assert read(killed.store, table).equals(read(undisturbed.store, table))


@pytest.mark.slow
def test_on_a_real_ray_with_pictures_behind_a_url(tmp_path: Path) -> None:
    given = bad_folder(tmp_path)
    behind = pictures(f"file://{given.url}", f"file://{given.options['boxes']}")
    here, there = context(tmp_path / "here"), context(tmp_path / "there")
    IngestAnnotations(given).run(here)
    IngestAnnotations(behind).run(Context(there.store, there.config))
    for table in ("images", "instances", "failures"):
        assert len(read(here.store, table)) > 0
        ours, theirs = read(here.store, table), read(there.store, table)
        # keys and details name the folder as it was given
        unsure = [name for name in ("detail", "stage_key") if name in ours.column_names]
        assert ours.drop_columns(unsure).equals(theirs.drop_columns(unsure))


@pytest.mark.slow
def test_a_store_that_was_moved_is_whole(tmp_path: Path) -> None:
    ctx = context(tmp_path / "store")
    made = Synthesize().run(ctx)
    result = Ingest(synthetic_sources(ctx, made.key), (made.key,)).run(ctx)
    shutil.move(tmp_path / "store", tmp_path / "moved")
    moved = context(Store.open(tmp_path / "moved", create=False))
    again = Synthesize().run(moved)
    assert again.reused
    assert Ingest(synthetic_sources(moved, again.key), (again.key,)).run(moved).key == result.key
    assert all(moved.store.exists(uri) for uri in read(moved.store, "images").column("uri").to_pylist())
