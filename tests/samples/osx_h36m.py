"""A sample of the four json files for each subject of Human3.6M, as OSX and HMR-Scorer read them."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from scipy.spatial.transform import Rotation

from tasks.ingest.formats.osx_h36m.reader import SUBJECTS, SUFFIXES
from tasks.ingest.people.annotations import AnnotationSource
from tests.samples.human36m_joints import seventeen
from tests.samples.truth import TruePerson, write_pictures

#: The cameras look from their own places, turned as Human3.6M's are: the world's z is up.
_TURNS: Final = Rotation.from_euler(
    "xz", [[-95.0, 30.0], [-92.0, 130.0], [-97.0, -50.0], [-94.0, -140.0]], degrees=True
)
_SHIFT_MM: Final = ((-300.0, 500.0, 5500.0), (200.0, 450.0, 4800.0), (-100.0, 600.0, 5200.0), (350.0, 400.0, 5000.0))
_MM: Final = 1000.0
CAMERAS: Final = (4, 3, 2, 1)
"""Those of a subject, in the order in which people are given to them."""


def write_osx_h36m(
    people: Sequence[TruePerson],
    folder: Path,
    split: str = "train",
    *,
    subjects: Sequence[int] | None = None,
    edit: Callable[[str, Any], Any] = lambda kind, content: content,
) -> AnnotationSource:
    """Write pictures (images/) and annotations/Human36M_subject<S>_*.json, and return the source that reads them.

    People go to the subjects in turn (by default those of the split); those of one subject are seen by its cameras 4,
    3, 2, 1 in turn, since each person's picture has a camera of its own: there can be no more. The split test reads
    camera 4 alone. `edit` may change the content of each kind of file (data, camera, joints, bodies) before it is
    written.
    """
    subjects = subjects or SUBJECTS[split]
    if len(people) > len(CAMERAS) * len(subjects):
        raise ValueError(f"{len(people)} people are more than {len(CAMERAS)} for each of the subjects {subjects}")
    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    for place, subject in enumerate(subjects):
        seen = list(zip(people[place :: len(subjects)], CAMERAS, strict=False))
        for kind, content in _files(seen, subject, folder).items():
            file = folder / "annotations" / f"Human36M_subject{subject}_{SUFFIXES[kind]}.json"
            file.write_text(json.dumps(edit(kind, content)))
    options = {} if tuple(subjects) == SUBJECTS.get(split) else {"subjects": ",".join(map(str, subjects))}
    return AnnotationSource("osx-h36m", str(folder / "annotations"), "human36m", split, options=options)


def _files(seen: Sequence[tuple[TruePerson, int]], subject: int, folder: Path) -> Mapping[str, Any]:
    images: list[Any] = []
    annotations: list[Any] = []
    cameras: dict[str, Any] = {}
    joints: dict[str, Any] = {}
    bodies: dict[str, Any] = {}
    for person, camera in seen:
        turn, shift = _TURNS[camera - 1], np.array(_SHIFT_MM[camera - 1])
        focal, centre = person.intrinsics[:2].tolist(), person.intrinsics[2:].tolist()
        cameras[str(camera)] = {"R": turn.as_matrix().tolist(), "t": shift.tolist(), "f": focal, "c": centre}
        action, subaction, frame = 2 + person.index % 2, 1, 5 * person.index
        sequence = f"s_{subject:02d}_act_{action:02d}_subact_{subaction:02d}_ca_{camera:02d}"
        name = f"{sequence}/{sequence}_{frame + 1:06d}.jpg"
        write_pictures([person], folder, [f"images/{name}"])
        images.append(
            {"id": person.index, "file_name": name, "width": person.width, "height": person.height, "subject": subject}
            | {"action_idx": action, "subaction_idx": subaction, "frame_idx": frame, "cam_idx": camera}
        )
        annotations.append({"id": person.index, "image_id": person.index, "bbox": person.box.tolist()})
        place = (str(action), str(subaction), str(frame))
        _put(joints, place, turn.inv().apply(seventeen(person) * _MM - shift).tolist())
        _put(bodies, place, _body(person, turn, shift / _MM))
    data = {"images": images, "annotations": annotations}
    return {"data": data, "camera": cameras, "joints": joints, "bodies": bodies}


def _body(person: TruePerson, turn: Rotation, shift_m: np.ndarray) -> dict[str, Any]:
    label = person.label
    # the root stands at J + transl, and turning the body about it leaves it there
    rest = label.joints[0].astype(np.float64) - label.transl
    root = turn.inv() * Rotation.from_rotvec(label.global_orient.astype(np.float64))
    return {
        "root_pose": root.as_rotvec().tolist(),
        "body_pose": label.body_pose[:63].tolist(),
        "shape": label.betas.tolist(),
        "trans": (turn.inv().apply(label.joints[0] - shift_m) - rest).tolist(),
        "lhand_pose": [0.0] * 45,
        "rhand_pose": [0.0] * 45,
        "jaw_pose": [0.0] * 3,
        "expr": [0.0] * 10,
    }


def _put(tree: dict[str, Any], place: tuple[str, str, str], value: Any) -> None:
    action, subaction, frame = place
    tree.setdefault(action, {}).setdefault(subaction, {})[frame] = value
