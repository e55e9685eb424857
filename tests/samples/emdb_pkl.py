"""A sample of EMDB's own files, one for each person here, because each person's picture has a camera of its own."""

import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tasks.ingest.people.annotations import AnnotationSource
from tests.samples.pw3d_pkl import Content, camera, in_world
from tests.samples.truth import TruePerson, write_pictures


def write_emdb_pkl(
    people: Sequence[TruePerson],
    folder: Path,
    split: str = "test",
    *,
    frames: int = 1,
    edit: Callable[[int, Content], Any] = lambda number, content: content,
) -> AnnotationSource:
    """Write P<n>/<sequence>/images and P<n>/<sequence>/P<n>_<sequence>_data.pkl, and return the source that reads them.

    A person stands still for all `frames`. `edit` may change the content of each file.
    """
    for number, person in enumerate(people):
        subject, sequence = f"P{number % 2}", f"{person.index:02d}_outdoor_walk"
        name = f"{subject}_{sequence}"
        for frame in range(frames):
            write_pictures([person], folder, [f"{subject}/{sequence}/images/{frame:05d}.jpg"])
        content = edit(number, _content(person, name, frames))
        (folder / subject / sequence / f"{name}_data.pkl").write_bytes(pickle.dumps(content))
    return AnnotationSource("emdb-pkl", str(folder), "emdb", split)


def _content(person: TruePerson, name: str, frames: int) -> Content:
    turn, shift, pose, intrinsics = camera(person)
    body = in_world(person, turn, shift)
    x, y, w, h = person.box

    def still(values: Any) -> np.ndarray:
        return np.repeat(np.asarray(values, np.float64)[None], frames, 0)

    return {
        "gender": "neutral",
        "name": name,
        "emdb1": person.index % 2 == 0,
        "emdb2": True,
        "n_frames": frames,
        "good_frames_mask": np.ones(frames, bool),
        "camera": {
            "intrinsics": intrinsics,
            "extrinsics": still(pose),
            "width": person.width,
            "height": person.height,
        },
        "smpl": {
            "poses_root": still(body["pose"][:3]),
            "poses_body": still(body["pose"][3:]),
            "trans": still(body["trans"]),
            "betas": person.label.betas.astype(np.float64),
        },
        "kp2d": still(person.pixels[:24]),
        "bboxes": {"bboxes": still([x, y, x + w, y + h]), "invalid_idxs": np.array([], np.int64)},
    }
