"""Samples of BEDLAM's labels: an .npz for each scene, with SMPL-X or SMPL parameters."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.ingest.people.annotations import AnnotationSource
from tests.samples.humandata import hands
from tests.samples.spin_npz import squares
from tests.samples.truth import TruePerson, write_pictures

SMPLX_POINTS = 127


def write_bedlam(
    people: Sequence[TruePerson], folder: Path, *, body: str = "smplx", scenes: int = 1, split: str = "train"
) -> AnnotationSource:
    """Write pictures (images/SCENE/png) and labels/SCENE.npz for `scenes` scenes, and return the source of all.

    `body`: smplx or smpl.
    """
    (folder / "labels").mkdir(parents=True, exist_ok=True)
    for number in range(scenes):
        scene, shown = f"2022101{number}_3_1000_batch01hand_6fps", people[number::scenes]
        paths = [f"seq_000000/seq_000000_{5 * person.index:04d}.png" for person in shown]
        write_pictures(shown, folder / "images" / scene / "png", paths)
        np.savez(folder / "labels" / f"{scene}.npz", **members(shown, paths, body))
    url = str(folder / "labels" / ("*.npz" if scenes > 1 else f"{scene}.npz"))
    return AnnotationSource("bedlam", url, "bedlam", split, str(folder / "images"))


def members(people: Sequence[TruePerson], paths: Sequence[str], body: str) -> dict[str, Any]:
    """The members of one .npz, by name."""
    centres, sides = squares(people)
    cameras, outer = np.zeros((len(people), 3, 3)), np.tile(np.eye(4), (len(people), 1, 1))
    for place, person in enumerate(people):
        fx, fy, cx, cy = person.intrinsics
        cameras[place] = [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]
        # the camera stands somewhere, and the body's own translation is the rest
        outer[place, :3, 3] = [0.25 * person.index, -0.5, 2.0]
    transl = np.stack([person.label.transl for person in people])
    count = SMPLX_POINTS if body == "smplx" else 24
    points = np.ones((len(people), count, 3))
    points[:, :, :2] = -5.0
    points[:, :22, :2] = np.stack([person.pixels[:22] for person in people])
    return {
        "imgname": np.array(paths),
        "center": centres,
        "scale": sides / 200,
        "pose_cam": np.stack([_pose(person, body) for person in people]),
        "pose_world": np.zeros((len(people), 165 if body == "smplx" else 72)),
        "shape": np.pad(np.stack([person.label.betas for person in people]), ((0, 0), (0, 1))),
        "trans_cam": transl - outer[:, :3, 3],
        "trans_world": np.zeros((len(people), 3)),
        "gtkps": points,
        "cam_int": cameras,
        "cam_ext": outer,
        "gender": np.array(["female", "male"] * len(people))[: len(people)],
        "motion_info": np.array([{"amass": "walk"}] * len(people), object),
        "sub": np.array([f"rp_{person.index}" for person in people]),
    }


def _pose(person: TruePerson, body: str) -> NDArray[np.float64]:
    label = person.label
    if body == "smpl":
        return np.concatenate([label.global_orient, label.body_pose])
    return np.concatenate([label.global_orient, label.body_pose[:63], np.zeros(9), hands(person).reshape(-1)])
