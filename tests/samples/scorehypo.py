"""Samples of the json files that ScoreHypo and ADHMR read, each in the units, keys and folders of its data set."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tasks.ingest.people.annotations import AnnotationSource
from tests.samples.human36m_joints import seventeen
from tests.samples.truth import TruePerson, write_pictures

_MM: Final = 1000.0
# MPI-INF-3DHP's points, as far as the 29 joints have them (by name or nearly): the joint for each.
_TRAIN_3DHP: Final = (
    *(9, 9, 6, 3, 0, 12, 15, 24, 13, 16, 18, 20, 22, 14, 17, 19, 21, 23),
    *(1, 4, 7, 10, 27, 2, 5, 8, 11, 28),
)
_TEST_3DHP: Final = (24, 12, 17, 19, 21, 16, 18, 20, 2, 5, 8, 1, 4, 7, 0, 6, 15)


def write_scorehypo(
    people: Sequence[TruePerson],
    folder: Path,
    name: str,
    split: str = "train",
    *,
    joints: int | None = None,
    edit: Callable[[Any], Any] = lambda content: content,
) -> AnnotationSource:
    """Write pictures and annotations/<file>.json of the set `name` into `folder`, and return the source that reads it.

    `name`: 3dpw, human36m, mpi-inf-3dhp, coco, mpii, up3d or surreal. As published, 3DPW's training file is in mm with
    29 joints and twists, its test file in metres with 24. `joints` chooses 24 or 29 for any. `edit` may change the
    content before it is written.
    """
    file_name, make = _WRITERS[name]
    content, paths = make(people, split, joints or (24 if name == "3dpw" and split == "test" else 29))
    write_pictures(people, folder, paths)
    file = folder / "annotations" / file_name.format(split)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(edit(content)))
    return AnnotationSource("scorehypo", str(file), name, split)


def _3dpw(people: Sequence[TruePerson], split: str, joints: int) -> tuple[Any, list[str]]:
    sequence = "downtown_sample_00"
    images, annotations, paths = [], [], []
    for person in people:
        name = f"image_{person.index:05d}.jpg"
        paths.append(f"imageFiles/{sequence}/{name}")
        camera = {"focal": person.intrinsics[:2].tolist(), "princpt": person.intrinsics[2:].tolist()}
        images.append({"id": person.index, "sequence": sequence, "file_name": name, **_size(person)})
        images[-1]["cam_param"] = camera
        annotation = {
            "id": 10 * person.index,
            "image_id": person.index,
            "bbox": person.box.tolist(),
            "smpl_param": {
                "pose": _pose(person).reshape(-1).tolist(),
                "shape": person.label.betas.tolist(),
                "trans": person.label.transl.tolist(),
                "gender": person.label.gender,
            },
            "h36m_joints": seventeen(person).tolist(),
            "smpl_joint_cam": _joints(person, joints, 1.0 if split == "test" else _MM),
            "smpl_joint_img": _image_joints(person, joints, 1.0 if split == "test" else _MM),
        }
        if split == "train":
            annotation |= {"angle_twist": _twist(person), "joint_2d": person.pixels.tolist()}
        annotations.append(annotation)
    return {"images": images, "annotations": annotations}, paths


def _human36m(people: Sequence[TruePerson], split: str, joints: int) -> tuple[Any, list[str]]:
    images, annotations, paths = [], [], []
    for person in people:
        sequence = f"s_{'01' if split == 'train' else '11'}_act_02_subact_01_ca_01"
        name = f"{sequence}/{sequence}_{5 * person.index + 1:06d}.jpg"
        paths.append(f"images/{name}")
        camera = {"f": person.intrinsics[:2].tolist(), "c": person.intrinsics[2:].tolist()}
        images.append({"id": person.index, "file_name": name, **_size(person), "cam_param": camera})
        annotations.append(
            {
                "image_id": person.index,
                "bbox": person.box.tolist(),
                "h36m_joints": (seventeen(person) * _MM).tolist(),
                "smpl_joints": _joints(person, joints, _MM),
                "betas": person.label.betas.tolist(),
                "thetas": _pose(person).tolist(),
                "root_coord": (person.label.joints[0] * _MM).tolist(),
                "angle_twist": _twist(person),
            }
        )
    return {"images": images, "annotations": annotations}, paths


def _3dhp(people: Sequence[TruePerson], split: str, joints: int) -> tuple[Any, list[str]]:
    images, annotations, paths = [], [], []
    order = list(_TRAIN_3DHP if split == "train" else _TEST_3DHP)
    for person in people:
        name = f"S1/Seq1/img_S1_Seq1_V0_{person.index:06d}.jpg"
        paths.append(f"images/{name}")
        fx, fy, cx, cy = person.intrinsics.tolist()
        matrix = [[fx, 0.0, cx, 0.0], [0.0, fy, cy, 0.0], [0.0, 0.0, 1.0, 0.0]]
        images.append(
            {"id": person.index, "file_name": name, **_size(person), "cam_param": {"intrinsic_param": matrix}}
        )
        annotation = {
            "image_id": person.index,
            "bbox": person.box.tolist(),
            "keypoints_cam": (person.label.joints[order].astype(np.float64) * _MM).tolist(),
        }
        annotations.append(annotation if split == "train" else {**annotation, "activity_id": 1})
    return {"images": images, "annotations": annotations}, paths


def _list_of(
    folder: str, with_name: bool, validity: bool
) -> Callable[[Sequence[TruePerson], str, int], tuple[Any, list[str]]]:
    def make(people: Sequence[TruePerson], split: str, joints: int) -> tuple[Any, list[str]]:
        rows, paths = [], []
        for person in people:
            name = f"{person.index:012d}.jpg"
            path = f"{split}2017/{name}"
            paths.append(f"{folder}{path}")
            row = {
                "img_path": path,
                "bbox": person.box.tolist(),
                **_size(person),
                "f": person.intrinsics[:2].tolist(),
                "c": person.intrinsics[2:].tolist(),
                "joint_cam_17": (seventeen(person) * _MM).tolist(),
                "joint_cam_29": _joints(person, joints, _MM),
                "joint_img_29": _image_joints(person, joints, _MM),
                "smpl_param": {"shape": person.label.betas.tolist(), "pose": _pose(person).reshape(-1).tolist()},
                "angle_twist": _twist(person),
            }
            rows.append(row | ({"img_name": name} if with_name else {}) | ({"joint_cam_valid": 1} if validity else {}))
        return rows, paths

    return make


_WRITERS: Final[dict[str, tuple[str, Callable[[Sequence[TruePerson], str, int], tuple[Any, list[str]]]]]] = {
    "3dpw": ("3DPW_{}.json", _3dpw),
    "human36m": ("Sample_5_{}_Human36M_smpl_leaf_twist_protocol_2.json", _human36m),
    "mpi-inf-3dhp": ("annotation_mpi_inf_3dhp_{}_v2.json", _3dhp),
    "coco": ("person_keypoints_coco.json", _list_of("images/", True, True)),
    "mpii": ("process_db_mpii.json", _list_of("", True, False)),
    "up3d": ("process_db_up3d.json", _list_of("", True, False)),
    "surreal": ("train_surreal.json", _list_of("", False, False)),
}
NAMES: Final = tuple(_WRITERS)
"""The seven sets."""


def _size(person: TruePerson) -> dict[str, Any]:
    return {"width": person.width, "height": person.height}


def _pose(person: TruePerson) -> NDArray[np.float64]:
    label = person.label
    return np.concatenate([label.global_orient, label.body_pose]).astype(np.float64).reshape(24, 3)


def _joints(person: TruePerson, count: int, per_metre: float) -> Any:
    return (person.label.joints[:count].astype(np.float64) * per_metre).tolist()


def _image_joints(person: TruePerson, count: int, per_metre: float) -> Any:
    depth = person.label.joints[:, 2:].astype(np.float64) * per_metre
    return np.concatenate([person.pixels, depth], 1)[:count].tolist()


def _twist(person: TruePerson) -> dict[str, Any]:
    cosine, sine = person.label.twist.astype(np.float64).T
    return {"angle": np.arctan2(sine, cosine).tolist(), "cos": cosine.tolist(), "sin": sine.tolist()}
