"""Labels beside what their files say themselves: whose body they are, where joints and boxes are, what is missing."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest

from infra.standing import read_standing
from infra.tables import read
from models.body_arrays import BUILT_IN
from schemas.errors import ConfigError, GateError
from schemas.progress import SilentProgress
from tasks.engine.context import Context
from tasks.ingest.people.annotations import AnnotationSource
from tasks.ingest.people.keypoints import HUMAN_DATA, JOINTS_29, places
from tests.samples.coco import write_coco
from tests.samples.humandata import members, write_humandata
from tests.samples.osx_h36m import write_osx_h36m
from tests.samples.scorehypo import write_scorehypo
from tests.samples.truth import TruePerson, write_pictures
from tests.tasks.ingest.test_annotated import SETS, configured, failed, ingest, limited, of_people

pytestmark = pytest.mark.slow


class Listening(SilentProgress):
    """Keeps what a stage says."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


@pytest.mark.parametrize(
    "write",
    [
        *(partial(write_scorehypo, name=name) for name in SETS),
        *(partial(write_humandata, body=body) for body in ("smpl", "smplh", "smplx")),
        write_osx_h36m,
    ],
)
def test_parameters_of_bodies_need_to_be_told_whose_they_are(
    here: Context, people: Sequence[TruePerson], tmp_path: Path, write: Callable[..., AnnotationSource]
) -> None:
    source = write(people, tmp_path / "data")
    with pytest.raises(ConfigError, match=r"parameters of SMPL(-X)? bodies.*--body DIR.*--body tiny or full"):
        ingest(here, source, bodies=None)
    assert read(here.store, "stages").num_rows == 0
    assert here.store.list_files("ingests") == []


@pytest.mark.parametrize("kind", ["coco", "mpi-inf-3dhp", "points"])
def test_what_has_no_parameters_needs_no_body(
    here: Context, people: Sequence[TruePerson], tmp_path: Path, kind: str
) -> None:
    if kind == "points":
        source = write_humandata(people, tmp_path, body="none")
    else:
        source = write_coco(people, tmp_path, "train") if kind == "coco" else write_scorehypo(people, tmp_path, kind)
    assert ingest(here, source, bodies=None).record.tally.ok == len(people)


def test_another_body_disagrees_with_the_files_joints(
    here: Context, people: Sequence[TruePerson], tmp_path: Path
) -> None:
    """What the free body made of published labels before: labels called gt, some cm beside the file's own joints."""
    arrays = {name: np.array(values) for name, values in np.load(BUILT_IN["tiny"]).items()}
    arrays["v_template"] = 1.1 * arrays["v_template"]
    other = tmp_path / "other.npz"
    np.savez(other, **arrays)
    source = write_scorehypo(people, tmp_path / "3dpw", "3dpw")
    result = ingest(here, source, bodies=str(other))
    assert failed(here, result) == {"joints disagree": len(people)}
    assert result.record.tally.ok == 0
    detail = read(here.store, "failures").column("detail").to_pylist()[0]
    assert "3DPW_train.json, annotations[" in detail
    assert "(30 are allowed)" in detail


JOINTS: dict[str, Callable[[Any], Any]] = {
    "metres": lambda row: row.update(smpl_joint_cam=(np.array(row["smpl_joint_cam"]) / 1000).tolist()),
    "shift": lambda row: row.update(smpl_joint_cam=(np.array(row["smpl_joint_cam"]) + np.array([0, 300, 0])).tolist()),
    "seventeen": lambda row: row.update(h36m_joints=(np.array(row["h36m_joints"]) + np.array([0, 0.3, 0])).tolist()),
    "gone": lambda row: row["smpl_param"].update(trans=[0.0, 0.5, 4.0]),
}


@pytest.mark.parametrize("name", JOINTS)
def test_a_row_whose_joints_disagree_fails_alone(
    here: Context, people: Sequence[TruePerson], tmp_path: Path, name: str
) -> None:
    def edit(content: Any) -> Any:
        JOINTS[name](content["annotations"][2])
        return content

    result = ingest(here, write_scorehypo(people, tmp_path, "3dpw", edit=edit))
    assert failed(here, result) == {"joints disagree": 1}
    assert result.record.tally.ok == len(people) - 1
    assert result.record.units_in == len(people)


@pytest.mark.parametrize("body", ["smpl", "smplh"])
@pytest.mark.parametrize("change", [lambda points: points * 1000, lambda points: points + np.array([0.3, 0, 0])])
def test_key_points_of_humandata_are_compared_with_the_body(
    here: Context, people: Sequence[TruePerson], tmp_path: Path, body: str, change: Callable[[Any], Any]
) -> None:
    def source(*changed: int) -> AnnotationSource:
        write_pictures(people, tmp_path, [f"{person.index}.jpg" for person in people])
        made = members(people, [f"{person.index}.jpg" for person in people], body, compressed=True, meta=True)
        points = made["keypoints3d_smpl" if body == "smpl" else "keypoints3d"]
        for row in changed:
            points[row, :, :3] = change(points[row, :, :3])
        np.savez(tmp_path / "own.npz", **made)
        return AnnotationSource("humandata", str(tmp_path / "own.npz"), "own", "train")

    result = ingest(here, source(2))
    assert failed(here, result) == {"joints disagree": 1}
    assert result.record.tally.ok == len(people) - 1
    again = ingest(here, source())
    assert failed(here, again) == {}
    assert len(read_standing(here.store, "instances", [again.key])) == len(people), "a row that was mended comes in"
    lenient = configured(here, max_joint_error_mm=1e7, max_other_joint_error_mm=1e7)
    assert failed(here, ingest(lenient, source(2))) == {}


def test_key_points_of_smplx_are_compared_with_its_body(
    here: Context, people: Sequence[TruePerson], tmp_path: Path, bodies: Path
) -> None:
    """What that body poses, written as `keypoints3d_smplx`, agrees with it, and nothing else does."""
    source = write_humandata(people, tmp_path / "hd", body="smplx", dataset="own", split="train")
    lenient = configured(here, max_reprojection=0.5)
    unused = ingest(lenient, dataclasses.replace(source, options={"keypoints3d": "unused"}), bodies=str(bodies))
    rows = of_people(here, unused, "labels")
    joints = np.array([rows[name]["joints"] for name in sorted(rows)]).reshape(-1, 29, 3)
    with np.load(source.url, allow_pickle=True) as file:
        made = dict(file)
    place = np.flatnonzero(made["keypoints3d_smplx_mask"]).tolist()
    columns = [place.index(column) for column in places(HUMAN_DATA, JOINTS_29)]
    made["keypoints3d_smplx"][:, columns, :3] = joints
    np.savez(source.url, **made)
    assert failed(here, ingest(lenient, source, bodies=str(bodies))) == {}
    made["keypoints3d_smplx"][3, :, 1] += 0.2
    np.savez(source.url, **made)
    assert failed(here, ingest(lenient, source, bodies=str(bodies))) == {"joints disagree": 1}


def test_what_is_missing_is_the_reason(here: Context, people: Sequence[TruePerson], tmp_path: Path) -> None:
    """No place, no camera: told by the reason itself, and never "another camera?"."""

    def source(name: str, **changes: Any) -> AnnotationSource:
        made = members(people, [f"{person.index}.jpg" for person in people], "smpl", compressed=True, meta=True)
        for key, value in changes.items():
            (made["smpl"] if key == "transl" else made).pop(key)
            made |= {} if value is None else {key: value}
        np.savez(tmp_path / f"{name}.npz", **made)
        options = {"place": "refused"}
        return AnnotationSource("humandata", str(tmp_path / f"{name}.npz"), name, "train", options=options)

    write_pictures(people, tmp_path, [f"{person.index}.jpg" for person in people])
    placed = ingest(here, source("placed", transl=None))
    assert failed(here, placed) == {}
    for row, person in zip(of_people(here, placed, "labels").values(), people, strict=True):
        np.testing.assert_allclose(row["transl"], person.label.transl, atol=1e-5)
    nowhere = ingest(here, source("nowhere", transl=None, keypoints3d_smpl=None))
    assert failed(here, nowhere) == {"no depth": len(people)}
    # seen through a lens twice as long, which the file doesn't name
    middles = np.array([[person.width / 2, person.height / 2] for person in people])
    long = members(people, [""] * len(people), "smpl", compressed=True, meta=True)
    long["keypoints2d_smpl"][..., :2] += long["keypoints2d_smpl"][..., :2] - middles[:, None]
    long["bbox_xywh"][:, :2] += long["bbox_xywh"][:, :2] - middles
    long["bbox_xywh"][:, 2:4] *= 2
    blind = source("blind", meta=None, **{name: long[name] for name in ("keypoints2d_smpl", "bbox_xywh")})
    assert failed(here, ingest(here, blind)) == {"no focal length": len(people)}
    detail = read(here.store, "failures", where=pc.field("reason") == "no focal length").column("detail").to_pylist()[0]
    assert "the picture's diagonal" in detail
    assert "write the focal lengths into the file" in detail


def test_joints_relative_to_the_root_alone_have_no_depth(
    here: Context, people: Sequence[TruePerson], tmp_path: Path
) -> None:
    source = write_humandata(people, tmp_path, body="none")
    with np.load(source.url, allow_pickle=True) as file:
        made = dict(file)
    made["keypoints3d"][..., :3] -= made["keypoints3d"][:, :1, :3]
    np.savez(source.url, **made)
    refused = dataclasses.replace(source, options={"place": "refused"})
    assert failed(here, ingest(here, refused)) == {"no depth": len(people)}
    placed = ingest(here, source)
    assert failed(here, placed) == {}
    labels = of_people(here, placed, "labels")
    for name, person in zip(sorted(labels), people, strict=True):
        known = np.array(labels[name]["joints_valid"])
        joints = np.reshape(labels[name]["joints"], (29, 3))[known]
        np.testing.assert_allclose(joints, person.label.joints[known], atol=1e-4)
        assert labels[name]["placed_by"] == "points"


def test_an_ingest_says_what_it_does_not_take(here: Context, people: Sequence[TruePerson], tmp_path: Path) -> None:
    source = write_humandata(people, tmp_path)
    with np.load(source.url, allow_pickle=True) as file:
        made = dict(file)
    smpl = made["smpl"].item()
    made["smpl"] = np.array(smpl | {"betas": np.pad(smpl["betas"], ((0, 0), (0, 6)))}, object)
    np.savez(source.url, **made)
    heard = Listening()
    loud = dataclasses.replace(here, progress=heard)
    assert failed(here, ingest(loud, source)) == {}
    assert sum("16 numbers a person; the first 10 are taken and 6 are CUT" in line for line in heard.lines) == 1
    heard.lines.clear()
    assert ingest(loud, source).reused
    assert not any("CUT" in line for line in heard.lines)


@pytest.mark.parametrize("name", ["coco", "own"])
def test_boxes_that_are_corners_are_told_at_the_end(
    here: Context, people: Sequence[TruePerson], tmp_path: Path, name: str
) -> None:
    if name == "coco":
        source = write_coco(people, tmp_path, "train", edit=_with_corners)
    else:
        source = write_humandata(people, tmp_path)
        with np.load(source.url, allow_pickle=True) as file:
            made = dict(file)
        made["bbox_xywh"][:, 2:4] += made["bbox_xywh"][:, :2]
        np.savez(source.url, **made)
    with pytest.raises(GateError, match=r"6 of 6 rows failed.*6 x box looks like corners"):
        ingest(limited(here, 0.05), source)


def _with_corners(content: Any) -> Any:
    for row in content["annotations"]:
        x, y, w, h = row["bbox"]
        row["bbox"] = [x, y, x + w, y + h]
    return content
