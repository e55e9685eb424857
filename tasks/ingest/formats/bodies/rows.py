"""One row of a table of bodies as ours: whom it shows, the body, and the camera that sees it."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.skeleton import BETAS
from tasks.ingest.formats import json_rows
from tasks.ingest.formats.json_rows import MISSING, UNREADABLE, entry, shown, text, vector, whole
from tasks.ingest.people.boxes import LARGEST
from tasks.ingest.people.rotations import IMPOSSIBLE_POSE, IN_MATRIX, SIX_D, axis_angles
from tasks.ingest.source.folder import RefusedError

NEEDED: Final = ("body_model", "global_orient", "body_pose", "betas")
CAMERA: Final = ("transl", "fx", "fy", "cx", "cy")
WEAK: Final = ("s", "tx", "ty", "box_center", "box_size", "focal_length", "crop_px")
"""A weak-perspective camera and the crop that it is of."""
HANDS_AND_FACE: Final = ("left_hand_pose", "right_hand_pose", "jaw_pose", "expression")
"""Of SMPL-X, if they are there."""
KEYS: Final = frozenset(
    {
        *("path", "instance_id", "person", "box", "width", "height", "source", "sample", "gender"),
        *(*NEEDED, *CAMERA, *WEAK, *HANDS_AND_FACE),
    }
)
"""The columns that mean something."""
_MODELS: Final = ("smpl", "smplx")
_BODY_JOINTS: Final = {"smpl": (23, 21), "smplx": (21,)}
_MOST: Final = 2**31 - 1
_MOST_PERSONS: Final = 10**7 - 1
_FINGERS: Final = 15
_POSE: Final = 69
_EXPRESSION: Final = 10


def columns_of(row: Mapping[str, Any], named: bool, label_kind: str) -> Iterator[tuple[str, Any]]:
    """The columns of a row one after the other, those that say whose it is first. RefusedError where one can't be.

    `named`: people are named by instance_id, not by picture and box.
    """
    for value in row.values():
        if isinstance(value, RefusedError):
            raise value
    yield "label_kind", label_kind
    if named:
        yield "instance_id", text(entry(row, "instance_id"), "instance_id")
    else:
        yield "path", text(_given(row, "path", "the picture, below the folder of pictures"), "path")
        yield "person", _whole(row, "person", high=_MOST_PERSONS)
    yield "source", None if _absent(row.get("source")) else text(row["source"], "source")
    yield "sample", _whole(row, "sample")
    if not named:
        yield "box", json_rows.box(_given(row, "box", "x, y, width, height of the person in the picture"), what="box")
        yield "width_px", _whole(row, "width", 1, int(LARGEST))
        yield "height_px", _whole(row, "height", 1, int(LARGEST))
    yield from _body(row)
    yield from _camera(row, named).items()


def _body(row: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    model = entry(row, "body_model")
    model = model.strip().lower() if isinstance(model, str) else model
    if model not in _MODELS:
        raise RefusedError(UNREADABLE, f"body_model is {shown(model)}, smpl or smplx is expected")
    yield "body_model", model
    yield "gender", json_rows.gender(None if _absent(row.get("gender")) else row["gender"])
    yield "global_orient", vector(rotations(entry(row, "global_orient"), "global_orient", 1))
    pose = rotations(entry(row, "body_pose"), "body_pose", *_BODY_JOINTS[model])
    yield "body_pose", vector(np.pad(pose, (0, _POSE - len(pose))))
    yield "betas", vector(json_rows.numbers(entry(row, "betas"), "betas", BETAS, at_least=True))
    if model == "smplx":
        for name, joints in (("left_hand_pose", _FINGERS), ("right_hand_pose", _FINGERS), ("jaw_pose", 1)):
            if not _absent(row.get(name)):
                yield name, vector(rotations(row[name], name, joints))
        if not _absent(row.get("expression")):
            yield "expression", vector(json_rows.numbers(row["expression"], "expression", _EXPRESSION, at_least=True))


def rotations(value: Any, what: str, *joints: int) -> NDArray[np.float64]:
    """Rotations of one of these counts of joints (J,), however nested, as axis-angles (3 J,) in radians.

    RefusedError for other counts, and for matrices that are no rotations.
    """
    flat = json_rows.numbers(value, what, 1, at_least=True, whole=True)
    if len(flat) in [3 * count for count in joints]:
        return flat
    if len(flat) in [3 * IN_MATRIX * count for count in joints]:
        vectors, proper = axis_angles(flat.reshape(-1, 3, 3))
        if not proper.all():
            raise RefusedError(IMPOSSIBLE_POSE, f"{what}: matrix {int(np.argmin(proper))} is no rotation")
        return vectors.reshape(-1)
    six = "; 6D rotations? Turn them into matrices" if len(flat) in [3 * SIX_D * count for count in joints] else ""
    counts = " or ".join(f"{3 * count} (axis-angles) or {3 * IN_MATRIX * count} (matrices)" for count in joints)
    raise RefusedError(UNREADABLE, f"{what} has {len(flat)} numbers, {counts} are expected{six}")


def _camera(row: Mapping[str, Any], named: bool) -> dict[str, Any]:
    """fx, fy, cx, cy in pixels of the picture, null where that of the person or picture counts, and transl in metres.

    Of a weak-perspective camera it is the camera of the crop itself, whose principal point is the crop's middle: there
    joints lie where the network's own projection has them.
    """
    if not _absent(row.get("transl")):
        camera = {name: _number(row, name) for name in CAMERA[1:]}
        if camera["fx"] is None and not named:
            raise RefusedError(MISSING, "there is no fx, the focal length of the camera that transl is for, in pixels")
        transl = json_rows.numbers(row["transl"], "transl", 3)
    elif not _absent(row.get("s")):
        numbers = {name: _given_number(row, name) for name in WEAK if name != "box_center"}
        scale, size, crop_px = numbers["s"], numbers["box_size"], numbers["crop_px"]
        if not min(scale, size, crop_px) > 0:
            of_crop = f"s is {scale:g}, box_size {size:g}, crop_px {crop_px:g}"
            raise RefusedError("camera not usable", f"{of_crop}: all are above 0")
        x, y = json_rows.numbers(_given(row, "box_center", "the middle of the crop, x and y"), "box_center", 2)
        focal = numbers["focal_length"] / crop_px
        camera = {"fx": focal * size, "fy": focal * size, "cx": float(x), "cy": float(y)}
        transl = np.array([numbers["tx"], numbers["ty"], 2 * focal / scale])
    else:
        raise RefusedError("no depth", f"there is neither transl nor a weak-perspective camera ({', '.join(WEAK)})")
    focal_lengths = [value for value in (camera["fx"], camera["fy"]) if value is not None]
    known = [value for value in camera.values() if value is not None]
    seen = min(focal_lengths, default=1.0) > 0 and max(map(abs, known), default=0.0) <= LARGEST
    if not seen or np.abs(transl).max() > LARGEST:
        words = ", ".join(f"{name} {value:g}" for name, value in camera.items() if value is not None)
        raise RefusedError("camera not usable", f"{words}: positive focal lengths in pixels are expected")
    return {**camera, "transl": vector(transl)}


def _absent(value: Any) -> bool:
    """Whether a value is left out: null, NaN in place of a number, a text or list of nothing."""
    values = value if isinstance(value, list) else [value]
    return all(one is None or (isinstance(one, float) and one != one) or one == "" for one in values)


def _given(row: Mapping[str, Any], name: str, what: str) -> Any:
    if _absent(row.get(name)):
        raise RefusedError(MISSING, f"there is no {name}: {what}")
    return row[name]


def _whole(row: Mapping[str, Any], name: str, low: int = 0, high: int = _MOST) -> int | None:
    return None if _absent(row.get(name)) else whole(_alone(row[name]), name, low, high)


def _number(row: Mapping[str, Any], name: str) -> float | None:
    """A number that may be left out."""
    return None if _absent(row.get(name)) else float(json_rows.numbers([_alone(row[name])], name, 1)[0])


def _given_number(row: Mapping[str, Any], name: str) -> float:
    number = _number(row, name)
    if number is None:
        raise RefusedError(MISSING, f"there is no {name}, without which the weak-perspective camera says nothing")
    return number


def _alone(value: Any) -> Any:
    """The number in a list of one, as columns of shape (n, 1) have it; what is no such list stays as it is."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value
