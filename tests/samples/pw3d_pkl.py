"""A sample of 3DPW's own files, one for each person here, because each person's picture has a camera of its own."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from scipy.spatial.transform import Rotation

from tasks.ingest.people.annotations import AnnotationSource
from tasks.ingest.people.keypoints import names_of
from tests.models.pickles import python2_pickle
from tests.samples.coco import NEAREST
from tests.samples.truth import TruePerson, write_pictures

#: The phone walks about: another place and turn in each sequence.
_SHIFT: Final = np.array([0.4, -1.1, 2.5])
_DETECTED: Final = names_of("pw3d")
Content = dict[str, Any]


def in_world(person: TruePerson, turn: Rotation, shift: np.ndarray) -> dict[str, np.ndarray]:
    """The body of a person in a world that x_cam = R x + t leads from: pose (72,), trans (3,), joints (24, 3)."""
    label = person.label
    rest = label.joints[0].astype(np.float64) - label.transl
    root = turn.inv() * Rotation.from_rotvec(label.global_orient.astype(np.float64))
    return {
        "pose": np.concatenate([root.as_rotvec(), label.body_pose]),
        # the root stands at J + transl, and turning the body about it leaves it there
        "trans": turn.inv().apply(label.joints[0] - shift) - rest,
        "joints": turn.inv().apply(label.joints[:24] - shift),
    }


def camera(person: TruePerson) -> tuple[Rotation, np.ndarray, np.ndarray, np.ndarray]:
    """R, t, the two as a matrix (4, 4), and the intrinsics (3, 3)."""
    turn = Rotation.from_euler("xyz", [170.0 + 5 * person.index, 20.0 * person.index, 3.0], degrees=True)
    shift = _SHIFT + 0.1 * person.index
    pose, (fx, fy, cx, cy) = np.eye(4), person.intrinsics
    pose[:3, :3], pose[:3, 3] = turn.as_matrix(), shift
    return turn, shift, pose, np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])


def write_pw3d_pkl(
    people: Sequence[TruePerson],
    folder: Path,
    split: str = "test",
    *,
    frames: int = 1,
    edit: Callable[[int, Content], Any] = lambda number, content: content,
) -> AnnotationSource:
    """Write pictures (imageFiles/) and sequenceFiles/<split>/<sequence>.pkl as Python 2 does, and return the source.

    A person stands still for all `frames`, whose pictures are the same. `edit` may change the content of each file.
    """
    where = folder / "sequenceFiles" / split
    where.mkdir(parents=True, exist_ok=True)
    for number, person in enumerate(people):
        sequence = f"downtown_walk_{person.index:02d}"
        for frame in range(frames):
            write_pictures([person], folder, [f"imageFiles/{sequence}/image_{frame:05d}.jpg"])
        content = edit(number, _content(person, sequence, frames))
        (where / f"{sequence}.pkl").write_bytes(python2_pickle(content))
    return AnnotationSource("pw3d-pkl", str(where), "3dpw", split)


def _content(person: TruePerson, sequence: str, frames: int) -> Content:
    turn, shift, pose, intrinsics = camera(person)
    body = in_world(person, turn, shift)
    spots = dict(zip(names_of("coco"), person.pixels[list(NEAREST)], strict=True))
    detected = np.array([[*spots.get(name, (0.0, 0.0)), float(name in spots)] for name in _DETECTED])

    def still(values: Any) -> np.ndarray:
        return np.repeat(np.asarray(values, np.float64)[None], frames, 0)

    return {
        "sequence": sequence,
        "betas": [np.concatenate([person.label.betas.astype(np.float64), np.zeros(290)])],
        "poses": [still(body["pose"])],
        "trans": [still(body["trans"])],
        "poses_60Hz": [np.repeat(still(body["pose"]), 2, 0)],
        "trans_60Hz": [np.repeat(still(body["trans"]), 2, 0)],
        "genders": ["n"],
        "poses2d": [still(detected.T)],
        "jointPositions": [still(body["joints"].reshape(-1))],
        "img_frame_ids": 2 * np.arange(frames),
        "cam_poses": still(pose),
        "campose_valid": [np.ones(frames, np.int64)],
        "cam_intrinsics": intrinsics,
        "v_template_clothed": [np.zeros((6, 3))],
        "texture_maps": [],
    }
