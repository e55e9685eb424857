"""Human3.6M as OSX and HMR-Scorer read it: four json files for each subject, with SMPL-X bodies in the world's frame.

`x_cam = R x + t`, t in mm. A body's root rotation is turned by R. Its translation can't be: a body turns about its
root joint, which is R (J + trans) + t - J away from it, with J the root at rest, and that only the body model knows. So
rows have trans as it is, with R and t as `extrinsics`.
"""

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import count, islice
from pathlib import Path
from statistics import mode
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from models.skeleton import BETAS
from schemas.errors import ConfigError, DataError
from tasks.ingest.formats import json_rows
from tasks.ingest.formats.disk_table import DiskTable, ImageTable
from tasks.ingest.formats.json_rows import MISSING, beyond, entry, numbers, points, shown, vector, whole
from tasks.ingest.formats.scorehypo.reader import COUNTED_UP_TO, root_of
from tasks.ingest.people.annotations import AnnotationSource, Survey
from tasks.ingest.people.lengths import unit_of
from tasks.ingest.source.files import local_file
from tasks.ingest.source.folder import RefusedError
from tasks.ingest.source.json_stream import items, pairs

NAME: Final = "osx-h36m"
SUBJECTS: Final = {"train": (1, 5, 6, 7, 8), "test": (9, 11)}
TEST_CAMERAS: Final = ("4",)
SUFFIXES: Final = {"data": "data", "camera": "camera", "joints": "joint_3d", "bodies": "SMPLX_NeuralAnnot"}
DATA_FILE: Final = re.compile(r"(?:(.*)/)?Human36M_subject(\d{1,4})_data\.json")
"""Path of a subject's annotations: the folder, and the subject's number."""
CROP_SCALE: Final = 1.0
_FRAME: Final = ("action_idx", "subaction_idx", "frame_idx")
"""Keys of an image that name its frame."""
_IMAGE_KEYS: Final = ("file_name", "width", "height", *_FRAME, "cam_idx")
_FRAMES_LOOKED_AT: Final = 200
_MOST_CAMERAS: Final = 1000
_BODY_JOINTS: Final = 21
_BODY_POSE: Final = 69
_HANDS: Final = {"lhand_pose": "left_hand", "rhand_pose": "right_hand"}
_FINGERS: Final = 45
_EXPRESSION: Final = 10


@dataclass(frozen=True)
class _Camera:
    turn: NDArray[np.float64]
    shift_m: NDArray[np.float64]
    pixels: Mapping[str, float]


class OsxHuman36mReader:
    """The people of some subjects, subject after subject. The URL is the folder of annotations, or one subject's
    ..._data.json. `options`: subjects ("9,11"; by default those of the split train or test) and cameras ("4" or
    "all"; by default 4 for the split test, as published, else all).

    Pictures are by default in the folder images beside that of the annotations.
    """

    def __init__(self, source: AnnotationSource, work: Path) -> None:
        self.source, self.work = source, work
        single = DATA_FILE.fullmatch(source.url)
        self.folder = (single[1] or ".") if single else source.url.rstrip("/")
        self.subjects = (int(single[2]),) if single else _subjects(source)
        default = ",".join(TEST_CAMERAS) if source.split == "test" else "all"
        self.cameras = _listed(source.options.get("cameras", default))
        self.images = source.images or posixpath.join(root_of(posixpath.join(self.folder, "any")), "images")
        self._files: dict[tuple[int, str], Path] = {}
        for subject in self.subjects:
            for kind in SUFFIXES:
                self._files[subject, kind] = local_file(self._url(subject, kind), work, "annotations of Human3.6M")

    def survey(self) -> Survey:
        """Subjects and units; people are counted in files of up to COUNTED_UP_TO bytes together."""
        files = [self._url(subject, kind) for subject in self.subjects for kind in SUFFIXES]
        data = [self._files[subject, "data"] for subject in self.subjects]
        small = sum(path.stat().st_size for path in data) <= COUNTED_UP_TO
        rows = sum(1 for path in data for _ in items(path, "annotations.item")) if small else None
        facts = {
            "labels": "gt",
            "body model": "smplx, neutral; placed in the world frame",
            "subjects": ", ".join(map(str, self.subjects)),
            "cameras": ", ".join(self.cameras) if self.cameras else "all",
            "units": "3D joints in " + ", ".join(sorted({json_rows.UNITS[unit] for unit in self.units.values()})),
            "camera": "given; x_cam = R x + t",
            "every N": "counts frames, by frame_idx",
            "crop": f"joints x {CROP_SCALE:g}",
        }
        remarks = [f"Rows of other cameras than {', '.join(self.cameras)} are left out."] if self.cameras else []
        remarks += self._left_out()
        # once they were left out, so that finished ingests are looked at again
        others = "hands are components" if self.hand_numbers < _FINGERS else None
        return Survey(NAME, files, rows, self.images, facts, remarks, ["smplx"], others)

    @cached_property
    def units(self) -> Mapping[int, float]:
        """Factor to metres of each subject's 3D joints. Raises DataError where in no unit they are a person's."""
        units = {}
        for subject in self.subjects:
            frames = (joints for _, joints in _frames(self._files[subject, "joints"]))
            readable = (json_rows.unless_refused(None, points, joints, "", (17,), (3,)) for joints in frames)
            first = list(islice((joints for joints in readable if joints is not None), _FRAMES_LOOKED_AT))
            units[subject] = unit_of(np.stack(first), self._url(subject, "joints")) if first else 1.0
        return units

    @cached_property
    def hand_numbers(self) -> int:
        """Numbers of most hands: 45 are axis-angles of 15 joints, fewer are components of a PCA, more are not read."""
        hands = (beyond(body.get(key), 0) for body in self._first_bodies() for key in _HANDS)
        counts = [len(hand) for hand in hands if hand is not None]
        return mode(counts) if counts else _FINGERS

    def _left_out(self) -> list[str]:
        """What of the first bodies is not taken: shapes and faces beyond ten numbers, hands that are no 15 joints."""
        remarks = []
        for what, key, most in (("shapes", "shape", BETAS), ("faces", "expr", _EXPRESSION)):
            rest = [more for body in self._first_bodies() if (more := beyond(body.get(key), most)) is not None]
            remarks.append(json_rows.cut_words(what, rest))
        if self.hand_numbers < _FINGERS:
            remarks.append(
                f"Hands have {self.hand_numbers} numbers, read as the first components of the body file's hand PCA."
            )
        elif self.hand_numbers > _FINGERS:
            remarks.append(
                f"Hands have {self.hand_numbers} numbers, where 15 joints' axis-angles have {_FINGERS}. They are NOT "
                "read, and the hands count as unknown."
            )
        return [remark for remark in remarks if remark]

    def _first_bodies(self) -> Iterator[Mapping[str, Any]]:
        for subject in self.subjects:
            for _, body in islice(_frames(self._files[subject, "bodies"]), _FRAMES_LOOKED_AT):
                if isinstance(body, dict):
                    yield body

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All people in the order of the files."""
        return json_rows.in_batches(self._rows())

    def _url(self, subject: int, kind: str) -> str:
        return posixpath.join(self.folder, file_name(subject, kind))

    def _rows(self) -> Iterator[dict[str, Any]]:
        numbers = count()
        for subject in self.subjects:
            yield from self._rows_of(subject, numbers)
        if next(numbers) == 0:
            raise DataError(f"The annotations in {self.folder} have no people: the lists annotations are empty.")

    def _rows_of(self, subject: int, numbers: Iterator[int]) -> Iterator[dict[str, Any]]:
        """The people of a subject, each with one of the numbers, but for those of other cameras."""
        files = {kind: self._files[subject, kind] for kind in SUFFIXES}
        cameras = self._cameras(subject)
        with (
            ImageTable(files["data"], _IMAGE_KEYS, self.work) as images,
            DiskTable(_frames(files["joints"]), self.work) as joints,
            DiskTable(_frames(files["bodies"]), self.work) as bodies,
        ):
            annotations = zip(items(files["data"], "annotations.item"), numbers, strict=False)
            for place, (annotation, number) in enumerate(annotations):
                origin = f"{file_name(subject, 'data')}, annotations[{place}]"
                row = json_rows.new_row(number, origin, "joints", CROP_SCALE)
                with json_rows.refusal_in(row):
                    image = images.image(entry(json_rows.table(annotation, "the annotation"), "image_id"))
                    camera_name = _index(entry(image, "cam_idx"), "cam_idx")
                    if self.cameras and camera_name not in self.cameras:
                        continue
                    row["counts_as"] = whole(entry(image, "frame_idx"), "frame_idx", 0, 2**31 - 1)
                    row["path"] = json_rows.text(entry(image, "file_name"), "file_name")
                    row["box"] = json_rows.box(entry(annotation, "bbox"))
                    row["width_px"], row["height_px"] = json_rows.sides(image)
                    camera = cameras.get(camera_name) or RefusedError(MISSING, f"there is no camera {camera_name}")
                    if isinstance(camera, RefusedError):
                        raise camera
                    frame = "/".join(_index(entry(image, key), key) for key in _FRAME)
                    try:
                        world, body = joints.find(frame), bodies.find(frame)
                    except KeyError:
                        what = f"both {SUFFIXES['joints']} and {SUFFIXES['bodies']}"
                        raise RefusedError(MISSING, f"not in {what}: frame {frame} (action/subaction/frame)") from None
                    row |= _label(world, body, camera, self.units[subject], self.hand_numbers)
                yield row

    def _cameras(self, subject: int) -> dict[str, _Camera | RefusedError]:
        """Cameras by name, or why one can't be used."""
        first = islice(pairs(self._files[subject, "camera"]), _MOST_CAMERAS)
        return {key: json_rows.or_refusal(_camera, value, f"camera {key} of subject {subject}") for key, value in first}


def file_name(subject: int, kind: str) -> str:
    """The name of a subject's file of one of the four kinds (`SUFFIXES`)."""
    return f"Human36M_subject{subject}_{SUFFIXES[kind]}.json"


def _index(value: Any, what: str) -> str:
    """An index as the keys of the files have it: the digits of a whole number."""
    text = value if isinstance(value, str) and value.isdecimal() and len(value) < 10 else None
    return str(int(text)) if text else str(whole(value, what, 0, 10**9))


def _label(world: Any, body: Any, camera: _Camera, unit: float, hand_numbers: int) -> dict[str, Any]:
    joints = points(world, "joint_3d", (17,), (3,)) * unit @ camera.turn.T + camera.shift_m
    body = json_rows.table(body, "the body")
    root = Rotation.from_matrix(camera.turn) * Rotation.from_rotvec(numbers(entry(body, "root_pose"), "root_pose", 3))
    pose = numbers(entry(body, "body_pose"), "body_pose", 3 * _BODY_JOINTS)
    label: dict[str, Any] = {
        "label_kind": "gt",
        "body_model": "smplx",
        "gender": "neutral",
        "global_orient": vector(root.as_rotvec()),
        "body_pose": vector(np.pad(pose, (0, _BODY_POSE - len(pose)))),
        "betas": vector(numbers(entry(body, "shape"), "shape", BETAS, at_least=True)),
        "transl": vector(numbers(entry(body, "trans"), "trans", 3)),
        "extrinsics": vector(np.concatenate([camera.turn.reshape(-1), camera.shift_m])),
        "human36m": vector(joints),
        **camera.pixels,
    }
    for key, column in _HANDS.items():
        if body.get(key) is not None and 0 < hand_numbers <= _FINGERS:  # others are not read, as the survey says
            kind = "pose" if hand_numbers == _FINGERS else "pca"
            label[f"{column}_{kind}"] = vector(numbers(body[key], key, hand_numbers))
    if body.get("jaw_pose") is not None:
        label["jaw_pose"] = vector(numbers(body["jaw_pose"], "jaw_pose", 3))
    if body.get("expr") is not None:
        face = numbers(body["expr"], "expr", 1, at_least=True, whole=True)[:_EXPRESSION]
        label["expression"] = vector(np.pad(face, (0, _EXPRESSION - len(face))))
    return label


def _camera(value: Any, what: str) -> _Camera:
    camera = json_rows.table(value, what)
    turn = numbers(entry(camera, "R"), f"R of {what}", 9).reshape(3, 3)
    if not np.allclose(turn @ turn.T, np.eye(3), atol=1e-3) or np.linalg.det(turn) < 0:
        raise RefusedError("camera not usable", f"R of {what} is no rotation")
    shift = numbers(entry(camera, "t"), f"t of {what}", 3) / 1000
    return _Camera(turn, shift, json_rows.camera(entry(camera, "f"), entry(camera, "c")))


def _frames(path: Path) -> Iterator[tuple[str, Any]]:
    """The frames of a file {action: {subaction: {frame: value}}} as "action/subaction/frame" and value."""
    for action, subactions in pairs(path):
        for subaction, frames in subactions.items() if isinstance(subactions, dict) else ():
            for frame, value in frames.items() if isinstance(frames, dict) else ():
                yield f"{action}/{subaction}/{frame}", value


def _subjects(source: AnnotationSource) -> tuple[int, ...]:
    option = source.options.get("subjects")
    if option is None:
        if source.split not in SUBJECTS:
            raise ConfigError(
                f"Which subjects of Human3.6M are the split {source.split}? By default train is "
                f'{SUBJECTS["train"]} and test {SUBJECTS["test"]}; name others with the option subjects ("9,11").'
            )
        return SUBJECTS[source.split]
    subjects = _listed(option)
    if not subjects:
        raise ConfigError("subjects is empty; name at least one, as in 9,11.")
    return tuple(map(int, subjects))


def _listed(value: Any) -> tuple[str, ...]:
    """Numbers separated by commas (or one number, or a list of them) as texts; "all" is none."""
    parts = [str(part).strip() for part in (value if isinstance(value, list | tuple) else str(value).split(","))]
    if parts == ["all"]:
        return ()
    if not all(part.isdecimal() and len(part) < 10 for part in parts):
        raise ConfigError(f"{shown(value)} is no list of numbers such as 9,11.")
    return tuple(str(int(part)) for part in dict.fromkeys(parts))
