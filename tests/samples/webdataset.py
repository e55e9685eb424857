"""A sample of WebDataset's tars: pictures, each with the label of its people beside."""

import io
import json
import pickle
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tasks.ingest.formats.coco.reader import joint_called
from tasks.ingest.people.annotations import AnnotationSource
from tasks.ingest.people.keypoints import names_of
from tests.samples.truth import TruePerson

Form = Literal["data.pyd", "json", "npz"]


def write_webdataset(
    people: Sequence[TruePerson],
    folder: Path,
    split: str = "train",
    *,
    form: Form = "data.pyd",
    edit: Callable[[int, Any], Any] = lambda number, label: label,
    images: bool = True,
) -> AnnotationSource:
    """Write 000000.tar with a sample for each person, and return the source that reads it.

    data.pyd: a pickled list, as 4D-Humans' training data has it, without a place and a camera. json and npz say both.
    `edit` may change the label of each sample; `images`: pictures go to images/ beside it when it is read.
    """
    files: dict[str, bytes] = {}
    for number, person in enumerate(people):
        files[f"{number:06d}.jpg"] = person.jpeg
        files[f"{number:06d}.{form}"] = packed(edit(number, _label(person, form)), form)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "000000.tar").write_bytes(tar_of(files))
    return AnnotationSource(
        "webdataset", str(folder / "000000.tar"), "tars", split, str(folder / "images") if images else None
    )


def tar_of(files: Mapping[str, bytes]) -> bytes:
    """A tar of plain files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def packed(label: Any, form: Form) -> bytes:
    """A label as the bytes of its member."""
    if form == "data.pyd":
        return pickle.dumps(label)
    if form == "json":
        return json.dumps(label).encode()
    buffer = io.BytesIO()
    np.savez(buffer, **label)
    return buffer.getvalue()


def _label(person: TruePerson, form: Form) -> Any:
    label = person.label
    x, y, w, h = person.box
    names = [name.removesuffix("_openpose") for name in names_of("smpl_49")[:44]]
    joints = [joint_called(name) for name in names]
    points = [[0.0] * 3 if joint is None else [*person.pixels[joint], 1.0] for joint in joints]
    given: dict[str, Any] = {
        "keypoints_2d": np.array(points, np.float32),
        "keypoints_3d": np.zeros((44, 4), np.float32),
        "center": np.array([x + w / 2, y + h / 2]),
        "scale": np.array([w, h]) * 1.2 / 200,
        "body_pose": np.concatenate([label.global_orient, label.body_pose]).astype(np.float32),
        "betas": label.betas.astype(np.float32),
        "has_body_pose": np.array(1.0),
        "has_betas": np.array(1.0),
    }
    if form == "data.pyd":
        return [given | {"extra_info": {"fitting_loss": np.array(0.5)}}]
    fx, fy, cx, cy = person.intrinsics
    given |= {"transl": label.transl, "cam_int": np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])}
    if form == "npz":
        return given
    return {"people": [{key: np.asarray(value).tolist() for key, value in given.items()}]}
