"""From samples of every labelled format to tables: what lands is the synthetic truth, what can't is told."""

import dataclasses
import io
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

from infra.standing import read_standing
from infra.store import Store
from infra.tables import read
from models.bodies import load_body
from models.cameras import crop_affine
from models.published_crops import joint_box, published_square
from models.smplx_body import load_smplx_body
from schemas.errors import DataError, GateError
from schemas.ids import Target
from schemas.tables import matrix
from tasks.engine import sharded
from tasks.engine.context import Context
from tasks.engine.results import StageResult
from tasks.ingest.annotated import IngestAnnotations
from tasks.ingest.image.hashes import perceptual_hash
from tasks.ingest.image.leakage import Apart
from tasks.ingest.image.published_crop import cut_published_crop
from tasks.ingest.people.annotations import AnnotationSource
from tasks.ingest.people.worker import GONE
from tasks.ingest.plan import annotations as planning
from tasks.ingest.source.folder import RefusedError
from tasks.rows.instances import instance_ids, load_instances
from tests.samples.coco import write_coco
from tests.samples.emdb_pkl import write_emdb_pkl
from tests.samples.humandata import members, write_humandata
from tests.samples.neuralannot import write_neuralannot
from tests.samples.osx_h36m import write_osx_h36m
from tests.samples.pw3d_pkl import write_pw3d_pkl
from tests.samples.scorehypo import write_scorehypo
from tests.samples.truth import TruePerson, write_pictures
from tests.samples.video import write_video
from tests.samples.webdataset import write_webdataset
from tests.tasks.ingest.conftest import CONFIG, GATES

pytestmark = pytest.mark.slow


def ingest(here: Context, source: AnnotationSource, **options: Any) -> StageResult:
    return IngestAnnotations(source, **{"bodies": CONFIG.body, **options}).run(here)


def failed(here: Context, result: StageResult) -> Counter[str]:
    rows = read(here.store, "failures", stage_keys=[result.key], columns=["reason", "detail"]).to_pylist()
    assert all(row["detail"] for row in rows)
    return Counter(row["reason"] for row in rows)


def of_people(here: Context, result: StageResult, table: str) -> dict[str, dict[str, Any]]:
    """Rows by instance."""
    rows = read(here.store, table, stage_keys=[result.key]).to_pylist()
    return {row["instance_id"]: row for row in rows}


SETS = ("3dpw", "human36m", "coco", "mpii", "up3d", "surreal")


@pytest.mark.parametrize("name", SETS)
def test_scorehypo(here: Context, people: Sequence[TruePerson], tmp_path: Path, name: str) -> None:
    source = write_scorehypo(people, tmp_path / name, name)
    assert_truth(here, ingest(here, source), source, people)


@pytest.mark.parametrize("compressed", [False, True])
def test_humandata(here: Context, people: Sequence[TruePerson], tmp_path: Path, compressed: bool) -> None:
    source = write_humandata(people, tmp_path / "hd", body="smpl", compressed=compressed, dataset="spec", split="train")
    assert_truth(here, ingest(here, source), source, people)


@pytest.mark.parametrize("write", [write_pw3d_pkl, write_emdb_pkl])
def test_sequences(here: Context, people: Sequence[TruePerson], tmp_path: Path, write: Callable[..., Any]) -> None:
    source = write(people, tmp_path / "sequences")
    result = ingest(here, source)
    assert_truth(here, result, source, people)
    assert {row["crop_rule"] for row in of_people(here, result, "instances").values()} == {"joints"}


@pytest.mark.parametrize("form", ["json", "npz"])
def test_tars(here: Context, people: Sequence[TruePerson], tmp_path: Path, form: Any) -> None:
    source = write_webdataset(people, tmp_path / "shards", form=form, images=False)
    result = ingest(here, source)
    assert_truth(here, result, source, people)
    uris = {row["uri"] for row in read(here.store, "images").to_pylist()}
    assert uris == {f"frames/tars/train/000000/{number:06d}.jpg" for number in range(len(people))}
    assert ingest(here, source).reused


def test_bodies_of_tars_without_a_place_are_put_where_they_are_seen(
    here: Context, people: Sequence[TruePerson], tmp_path: Path
) -> None:
    result = ingest(here, write_webdataset(people, tmp_path))
    assert (failed(here, result), result.record.tally.ok) == ({}, len(people))
    for name, label in of_people(here, result, "labels").items():
        truth = people[int(name.split("/")[-1].split(".")[0])].label
        joints = np.reshape(label["joints"], (29, 3))
        np.testing.assert_allclose(joints - joints[0], truth.joints - truth.joints[0], atol=1e-4)
        assert label["placed_by"] == "points"
    refused = dataclasses.replace(write_webdataset(people, tmp_path, "test"), options={"place": "refused"})
    assert failed(here, ingest(here, refused, allow_leakage=True)) == {"no depth": len(people)}


def test_neuralannot(here: Context, people: Sequence[TruePerson], tmp_path: Path) -> None:
    source = write_neuralannot(people, tmp_path / "coco")
    result = ingest(here, source)
    assert_truth(here, result, source, people)
    assert {row["label_kind"] for row in of_people(here, result, "labels").values()} == {"pseudo"}
    # the COCO file counts by what it holds, as the other does
    moved = tmp_path / "elsewhere.json"
    Path(source.options["annotations"]).rename(moved)
    again = dataclasses.replace(source, options={"annotations": str(moved)}, images=str(tmp_path / "coco"))
    assert ingest(here, again).reused


def test_frames_that_do_not_count_are_no_failures(here: Context, people: Sequence[TruePerson], tmp_path: Path) -> None:
    def hidden(number: int, content: dict[str, Any]) -> dict[str, Any]:
        content["campose_valid"][0][1] = 0
        return content

    result = ingest(here, write_pw3d_pkl(people[:2], tmp_path, frames=2, edit=hidden))
    assert (result.record.tally.ok, result.record.tally.filtered, result.record.tally.failed) == (2, 2, 0)
    assert failed(here, result) == {"frame left out": 2}


def test_coco_gives_people_without_labels(here: Context, people: Sequence[TruePerson], tmp_path: Path) -> None:
    source = write_coco(people, tmp_path / "coco", "train")
    result = ingest(here, source)
    assert result.record.tally.ok == len(people)
    assert len(read(here.store, "labels")) == 0
    assert {row["crop_rule"] for row in of_people(here, result, "instances").values()} == {"box"}


def assert_truth(here: Context, result: StageResult, source: AnnotationSource, people: Sequence[TruePerson]) -> None:
    """Joints within 0.1 mm, cameras and boxes within 0.01 px, angles within 1e-4 rad; every row became a person."""
    assert failed(here, result) == {}
    assert result.record.tally.ok == len(people)
    labels, instances = of_people(here, result, "labels"), of_people(here, result, "instances")
    body = load_body(CONFIG.body)
    images = {row["image_id"]: row for row in read(here.store, "images", stage_keys=[result.key]).to_pylist()}
    assert len(images) == len(people)
    by_focal = sorted(instances.values(), key=lambda row: row["image_intrinsics"][0])
    for row, person in zip(by_focal, sorted(people, key=lambda one: one.intrinsics[0]), strict=True):
        label, truth = labels[row["instance_id"]], person.label
        assert label["body_digest"] == body.digest
        np.testing.assert_allclose(row["image_intrinsics"], person.intrinsics, atol=0.01)
        assert images[row["image_id"]]["width_px"] == person.width
        np.testing.assert_allclose(np.reshape(label["joints"], (29, 3)), truth.joints, atol=1e-4)
        np.testing.assert_allclose(np.reshape(label["twist"], (23, 2)), truth.twist, atol=1e-4)
        np.testing.assert_allclose(label["global_orient"], truth.global_orient, atol=1e-4)
        np.testing.assert_allclose(label["transl"], truth.transl, atol=1e-4)
    ids = instance_ids(here.store, [result.key], [Target(source.dataset, source.split)])
    found = load_instances(here.store, [result.key], ids)
    kinds = {row["label_kind"] for row in labels.values()}
    assert found.labelled.all() == (kinds == {"gt"})
    assert found.crops.shape == (len(people), 64, 64, 3)
    assert matrix(read(here.store, "labels"), "joints").shape == (len(people), 87)


def spoilt(change: Callable[[list[dict[str, Any]]], object]) -> Callable[[Any], Any]:
    """An `edit` of a list of people."""

    def edit(content: Any) -> Any:
        change(content)
        return content

    return edit


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-300])


def empty(path: Path) -> None:
    path.write_bytes(b"")


BAD_ROWS: dict[str, Callable[[list[dict[str, Any]]], object]] = {
    "box outside picture": lambda rows: rows[2].update(bbox=[500, 0, 10, 10]),
    "box without area": lambda rows: rows[2].update(bbox=[0, 0, 0, 10]),
    "picture size differs": lambda rows: rows[2].update(width=640),
    "reprojection error": lambda rows: rows[2].update(f=[700.0, 700.0]),
    "not finite": lambda rows: rows[2]["smpl_param"]["shape"].__setitem__(0, float("nan")),
    "impossible pose": lambda rows: rows[2]["smpl_param"].update(pose=[170.0] * 72),
    "impossible shape": lambda rows: rows[2]["smpl_param"].update(shape=[40.0] * 10),
    "impossible depth": lambda rows: rows[2]["joint_cam_29"].__setitem__(0, [0.0, 0.0, -4000.0]),
    "duplicate id": lambda rows: rows.append(dict(rows[2])),
    "key-point count": lambda rows: rows[2].update(joint_cam_29=rows[2]["joint_cam_29"][:20]),
    "picture missing": lambda rows: rows[2].update(img_path="val2017/nowhere.jpg"),
    "path leaves the folder": lambda rows: rows[2].update(img_path="../../secret.jpg"),
}


@pytest.mark.parametrize("reason", BAD_ROWS)
def test_a_bad_row_fails_and_its_neighbours_stay(
    here: Context, people: Sequence[TruePerson], tmp_path: Path, reason: str
) -> None:
    source = write_scorehypo(people, tmp_path / "coco", "coco", edit=spoilt(BAD_ROWS[reason]))
    result = ingest(here, source)
    more = reason == "duplicate id"
    assert failed(here, result) == {reason: 1}
    assert result.record.tally.ok == len(people) - (0 if more else 1)
    assert result.record.units_in == len(people) + (1 if more else 0)


@pytest.mark.parametrize(
    ("reason", "spoil"),
    [
        ("picture truncated", truncate),
        ("picture missing", Path.unlink),
        ("picture empty", lambda path: path.write_bytes(b"")),
    ],
)
def test_a_bad_picture_fails(
    here: Context, people: Sequence[TruePerson], tmp_path: Path, reason: str, spoil: Callable[[Path], object]
) -> None:
    source = write_scorehypo(people, tmp_path, "coco")
    spoil(next((tmp_path / "images").rglob("*3.jpg")))
    result = ingest(here, source)
    assert failed(here, result) == {reason: 1}
    assert result.record.tally.ok == len(people) - 1


def standing(here: Context, key: str) -> dict[str, list[dict[str, Any]]]:
    """What stands after an ingest, but for the keys of stages."""
    tables = {}
    for table, name in (("images", "image_id"), ("instances", "instance_id"), ("labels", "instance_id")):
        rows = read_standing(here.store, table, [key]).drop_columns(["stage_key"]).to_pylist()
        tables[table] = sorted(rows, key=lambda row: row[name])
    return tables


def test_again_only_what_is_new_changed_or_gone(here: Context, people: Sequence[TruePerson], tmp_path: Path) -> None:
    folder = tmp_path / "coco"
    unchanged = write_scorehypo(people[:5], folder, "coco")
    assert not ingest(here, unchanged).reused
    assert ingest(here, unchanged).reused

    def changed(rows: list[dict[str, Any]]) -> None:
        rows[1]["bbox"] = [value + 1.0 for value in rows[1]["bbox"]]
        rows[2]["bbox"] = [900.0, 0.0, 10.0, 10.0]
        del rows[3]

    before = {path: path.stat() for path in folder.rglob("*.jpg")}
    source = write_scorehypo(people, folder, "coco", edit=spoilt(changed))
    for path, stat in before.items():  # the sample writes pictures anew; their times are put back
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    third = ingest(here, source)
    rows = of_people(here, third, "instances")
    names = sorted(int(name.rsplit("/", 1)[1].split(".")[0]) for name in rows)
    assert names == [1, 5]
    assert failed(here, third) == {"box outside picture": 1, GONE: 1}
    assert len(standing(here, third.key)["images"]) == len(people), "a picture stays when nobody in it does"
    fresh = Context(Store.open(str(tmp_path / "fresh")), CONFIG, in_process=True)
    whole = ingest(fresh, source)
    for table in ("instances", "labels"):
        for row, expected in zip(standing(here, third.key)[table], standing(fresh, whole.key)[table], strict=True):
            assert row == expected
    assert ingest(here, source).reused
    ids = instance_ids(here.store, [third.key], [Target("coco", "train")])
    assert load_instances(here.store, [third.key], ids).labelled.sum() == 0  # pseudo labels are no truth


def test_killed_after_the_plan(
    here: Context, people: Sequence[TruePerson], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_scorehypo(people, tmp_path / "coco", "coco")

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(sharded, "run_sharded", killed)
        with pytest.raises(KeyboardInterrupt):
            ingest(here, source)
    planned = here.store.list_files("ingests")
    assert len(planned) == 2
    with monkeypatch.context() as patched:
        patched.setattr(planning, "_write_rows", killed)  # the plan stands, and is not made again
        result = ingest(here, source)
    assert result.record.tally.ok == len(people)
    assert here.store.list_files("ingests") == []


def test_pictures_of_the_test_are_refused_in_training(
    here: Context, people: Sequence[TruePerson], tmp_path: Path
) -> None:
    ingest(here, write_scorehypo(people[:3], tmp_path / "test", "up3d", "test"))
    source = write_scorehypo(people, tmp_path / "train", "up3d", "train")
    result = ingest(here, source)
    assert failed(here, result) == {"picture of another split": 3}
    assert ingest(here, source, allow_leakage=True).record.tally.ok == len(people)


def test_every_third(here: Context, people: Sequence[TruePerson], tmp_path: Path) -> None:
    source = write_scorehypo(people, tmp_path / "up3d", "up3d")
    result = ingest(here, dataclasses.replace(source, every=3))
    assert sorted(name.rsplit("/", 1)[1][:12] for name in of_people(here, result, "instances")) == [
        f"{index:012d}" for index in (0, 3)
    ]


def test_smplx_labels_are_posed_with_their_body(
    here: Context, people: Sequence[TruePerson], tmp_path: Path, bodies: Path
) -> None:
    source = write_humandata(people, tmp_path / "hd", body="smplx", dataset="bedlam", split="train")
    # key-points are of another body, in space and in the picture
    source = dataclasses.replace(source, options={"keypoints3d": "unused"})
    here = configured(here, max_reprojection=0.5)
    without = ingest(here, source)
    assert failed(here, without) == {"body missing": len(people)}
    result = ingest(here, source, bodies=str(bodies))
    assert failed(here, result) == {}
    body = load_smplx_body(bodies)
    for row in of_people(here, result, "labels").values():
        assert (row["body_model"], row["body_digest"]) == ("smplx", body.digest)
        given = {name: torch.tensor(row[name])[None] for name in ("global_orient", "body_pose", "betas", "transl")}
        left, right = (torch.tensor(row[f"{side}_hand_pose"])[None] for side in ("left", "right"))
        # BEDLAM's hands are absolute in the file, and relative to the mean hand in the table
        posed = body(
            given["global_orient"],
            given["body_pose"][:, :63],
            given["betas"],
            given["transl"],
            left,
            right,
            torch.tensor(row["jaw_pose"])[None],
            torch.tensor(row["expression"])[None],
        )
        np.testing.assert_allclose(body.joints29(posed)[0], np.reshape(row["joints"], (29, 3)), atol=1e-5)


def test_bodies_in_the_world_frame_stand_where_their_cameras_see_them(
    here: Context, people: Sequence[TruePerson], tmp_path: Path, bodies: Path
) -> None:
    source = write_osx_h36m(people, tmp_path / "osx")
    result = ingest(here, source, bodies=str(bodies))
    assert failed(here, result) == {}
    labels, instances = of_people(here, result, "labels"), of_people(here, result, "instances")
    by_focal = sorted(instances.values(), key=lambda row: row["image_intrinsics"][0])
    for row, person in zip(by_focal, sorted(people, key=lambda one: one.intrinsics[0]), strict=True):
        label = labels[row["instance_id"]]
        # another body than the truth's, with about its joints
        off = np.linalg.norm(np.reshape(label["joints"], (29, 3)) - person.label.joints, axis=1)
        assert off[0] < 0.01
        assert off[:22].max() < 0.2
        assert label["human36m"] is not None


def test_the_frames_of_a_video_last(here: Context, people: Sequence[TruePerson], tmp_path: Path) -> None:
    pytest.importorskip("av")
    source = dataclasses.replace(write_video(people, tmp_path), images=None, every=2)
    result = ingest(here, source)
    images = read(here.store, "images", stage_keys=[result.key]).to_pylist()
    assert result.record.tally.ok == len(images) == 3
    assert all((Path(here.store.root) / row["uri"]).is_file() for row in images)
    assert ingest(here, source).reused


@pytest.mark.parametrize(("name", "scale"), [("3dpw", 1.25), ("human36m", 1.0)])
def test_labelled_people_are_cropped_as_published(
    here: Context, people: Sequence[TruePerson], tmp_path: Path, name: str, scale: float
) -> None:
    """By the rule from joints, and pixel by pixel as published at the published size (both held by tests/parity)."""
    size = {"ingest": CONFIG.ingest.model_copy(update={"crop_size_px": 256})}
    large = dataclasses.replace(here, config=CONFIG.model_copy(update=size))
    result = ingest(large, write_scorehypo(people, tmp_path / name, name))
    instances = of_people(here, result, "instances").values()
    by_focal = sorted(instances, key=lambda row: row["image_intrinsics"][0])
    for row, person in zip(by_focal, sorted(people, key=lambda one: one.intrinsics[0]), strict=True):
        square = published_square(joint_box(torch.from_numpy(person.pixels)[:24]), scale)
        affine = crop_affine(square[None], 256)[0].numpy()
        assert row["crop_rule"] == "joints"
        np.testing.assert_allclose(np.reshape(row["crop_affine"], (2, 3)), affine, atol=1e-2)
        picture = np.asarray(Image.open(io.BytesIO(person.jpeg)))
        found = np.asarray(Image.open(io.BytesIO(row["crop"]))).astype(int)
        wanted = cut_published_crop(picture, affine)
        assert np.abs(found - wanted).mean() < 2  # what JPEG changes


def test_every_so_many_frames_that_are_none_is_refused(
    here: Context, people: Sequence[TruePerson], tmp_path: Path
) -> None:
    """Human3.6M's file of every fifth frame has the numbers 1, 6, 11, ..."""
    source = write_scorehypo(people, tmp_path / "h36m", "human36m")
    with pytest.raises(DataError, match=r"--every 10 takes none of the rows of .*needs no --every"):
        ingest(here, dataclasses.replace(source, every=10))
    assert len(read(here.store, "stages")) == 0
    assert ingest(here, source).record.tally.ok == len(people)


def test_all_people_are_cropped_by_their_boxes_where_that_is_said(
    here: Context, people: Sequence[TruePerson], tmp_path: Path
) -> None:
    boxes = configured(here, crop="box", box_padding=1.5)
    instances = of_people(here, ingest(boxes, write_scorehypo(people, tmp_path / "3dpw", "3dpw")), "instances").values()
    assert {row["crop_rule"] for row in instances} == {"box"}
    by_focal = sorted(instances, key=lambda row: row["image_intrinsics"][0])
    for row, person in zip(by_focal, sorted(people, key=lambda one: one.intrinsics[0]), strict=True):
        wide = CONFIG.ingest.crop_size_px / row["crop_affine"][0]
        assert wide == pytest.approx(1.5 * max(person.box[2:]), rel=1e-3)


def configured(here: Context, **changes: Any) -> Context:
    """With other settings of ingests."""
    config = CONFIG.model_copy(update={"ingest": CONFIG.ingest.model_copy(update=changes)})
    return dataclasses.replace(here, config=config)


def limited(here: Context, share: float) -> Context:
    gates = GATES.model_copy(update={"max_failed_share": share})
    return dataclasses.replace(here, config=CONFIG.model_copy(update={"gates": gates}))


def test_failures_are_judged_by_the_whole_source_each_time(
    here: Context, people: Sequence[TruePerson], tmp_path: Path
) -> None:
    bad = spoilt(lambda rows: rows[2].update(bbox=[500, 0, 10, 10]))
    folder = tmp_path / "coco"
    source = write_scorehypo(people[:5], folder, "coco", edit=bad)
    for _ in range(2):
        with pytest.raises(GateError, match=r"1 of 5 rows failed.*1 x box outside picture.*max_failed_share=0.2"):
            ingest(limited(here, 0.1), source)
    assert len(read(here.store, "instances")) == 4, "what is good is ingested all the same"
    times = {path: path.stat() for path in folder.rglob("*.jpg")}
    source = write_scorehypo(people, folder, "coco", edit=bad)
    for path, stat in times.items():
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    again = ingest(limited(here, 0.2), source)
    assert again.record.units_in == 1, "the bad row is as it was, and not tried again"
    assert len(read_standing(here.store, "failures", [again.key])) == 1


def test_another_source_of_the_split_takes_the_place_only_when_told(
    here: Context, people: Sequence[TruePerson], tmp_path: Path
) -> None:
    first = write_scorehypo(people[:3], tmp_path / "a", "coco")
    other = write_scorehypo(people[3:], tmp_path / "b", "coco")
    ingest(here, first)
    with pytest.raises(DataError, match=r"3 of its people are not in .*--replace"):
        ingest(here, other)
    assert here.store.list_files("ingests") == []
    result = ingest(here, other, replace_source=True)
    assert failed(here, result) == {GONE: 3}
    assert len(read_standing(here.store, "instances", [result.key])) == 3


@pytest.mark.parametrize("names", [("train[1].npz",), ("x/a.npz", "y/a.npz")])
def test_changes_are_noticed_whatever_files_are_called(
    here: Context, people: Sequence[TruePerson], tmp_path: Path, names: tuple[str, ...]
) -> None:
    def write(box: float) -> AnnotationSource:
        for number, name in enumerate(names):
            file = tmp_path / name
            file.parent.mkdir(exist_ok=True)
            shown = people[number : number + 1]
            made = members(shown, [f"{number}.jpg"], "smpl", compressed=True, meta=True)
            if number == 0:
                made["bbox_xywh"][:, 2] += box
            np.savez(file, **made)
        return AnnotationSource(
            "humandata", ",".join(str(tmp_path / name) for name in names), "own", "train", str(tmp_path / "pictures")
        )

    write_pictures(people[: len(names)], tmp_path / "pictures", [f"{number}.jpg" for number in range(len(names))])
    assert not ingest(here, write(0.0)).reused
    assert ingest(here, write(0.0)).reused
    assert ingest(here, write(1.0)).record.units_in == 1


def test_a_store_beside_the_pictures_is_no_part_of_them(people: Sequence[TruePerson], tmp_path: Path) -> None:
    source = write_humandata(people, tmp_path / "data")
    here = Context(Store.open(str(tmp_path / "data" / "adhmr-store")), CONFIG, in_process=True)
    here.store.atomic_write("synthetic/picture.jpg", people[0].jpeg)
    assert not ingest(here, source).reused
    here.store.atomic_write("synthetic/another.jpg", people[0].jpeg)
    assert ingest(here, source).reused


def test_a_leak_that_was_mended_is_none(here: Context, people: Sequence[TruePerson], tmp_path: Path) -> None:
    ingest(here, write_scorehypo(people[:3], tmp_path / "test", "up3d", "test"))
    train = write_scorehypo(people, tmp_path / "train", "up3d", "train")
    assert failed(here, ingest(here, train)) == {"picture of another split": 3}
    ingest(here, write_scorehypo(people[:1], tmp_path / "test", "up3d", "test"))
    mended = ingest(here, train)
    assert not mended.reused
    assert failed(here, mended) == {"picture of another split": 1}
    assert len(read_standing(here.store, "instances", [mended.key])) == 5


def test_pictures_of_one_fixed_camera_are_no_copies() -> None:
    rng = np.random.default_rng(0)
    wall = Image.fromarray(rng.normal(128, 40, (12, 12, 3)).clip(0, 255).astype(np.uint8)).resize((500, 500))
    pictures = []
    for _ in range(30):
        picture = np.array(wall)
        x, y = int(rng.integers(0, 440)), int(rng.integers(0, 300))
        picture[y : y + 200, x : x + 60] = rng.integers(0, 255)
        pictures.append(Image.fromarray(picture))
    apart = Apart(pa.table({"image_id": ["a"], "perceptual_hash": [perceptual_hash(pictures[0])]}))
    assert [apart.hash_of(other, "b") for other in pictures[1:]] == [perceptual_hash(other) for other in pictures[1:]]
    buffer = io.BytesIO()
    pictures[0].resize((250, 250)).save(buffer, "JPEG", quality=60)
    with pytest.raises(RefusedError, match="b shows what a shows"):
        apart.hash_of(Image.open(buffer), "b")
    assert perceptual_hash(Image.new("RGB", (50, 50))) is None


@pytest.mark.parametrize("kind", ["humandata", "mpi-inf-3dhp"])
def test_key_points_without_a_body_are_labels_of_joints_alone(
    here: Context, people: Sequence[TruePerson], tmp_path: Path, kind: str
) -> None:
    """By names: in four places they mean another point than the body's joint."""
    if kind == "humandata":
        source = write_humandata(people, tmp_path / "points", body="none")
    else:
        source = write_scorehypo(people, tmp_path / "points", kind)
    result = ingest(here, source)
    assert failed(here, result) == {}
    labels, instances = of_people(here, result, "labels"), of_people(here, result, "instances")
    assert len(labels) == len(people)
    by_focal = sorted(instances.values(), key=lambda row: row["image_intrinsics"][0])
    for row, person in zip(by_focal, sorted(people, key=lambda one: one.intrinsics[0]), strict=True):
        label = labels[row["instance_id"]]
        assert (label["body_model"], label["body_pose"], label["twist"]) == (None, None, None)
        known = np.array(label["joints_valid"])
        assert known[[1, 2, 4, 5]].all()
        np.testing.assert_allclose(np.reshape(label["joints"], (29, 3))[known], person.label.joints[known], atol=1e-4)
        assert row["crop_rule"] == ("joints" if known[:24].all() else "box")
    # they are no bodies to measure against or to train on
    ids = instance_ids(here.store, [result.key], [Target(source.dataset, source.split)])
    assert not load_instances(here.store, [result.key], ids).labelled.any()
