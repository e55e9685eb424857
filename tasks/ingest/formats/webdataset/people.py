"""The people of a sample's label, as 4D-Humans' training tars have them, and plain boxes and bodies beside.

A label is a list of people, one person, or an object with the list `people`. Of a person: the box (`bbox`, or `center`
and `scale`, whose side is 200 scale), `keypoints_2d`, and `body_pose` with `betas`, both only where `has_body_pose` and
`has_betas` don't deny them; `transl` and a camera where there are any.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.skeleton import BETAS, JOINTS, SMPL_JOINTS
from tasks.ingest.formats import json_rows
from tasks.ingest.formats.coco.reader import SKELETON, joint_called
from tasks.ingest.formats.humandata.missing import BOX_PER_JOINTS
from tasks.ingest.formats.json_rows import MISSING, POINT_COUNT, UNREADABLE, entry, numbers, placed, shown, vector
from tasks.ingest.people.keypoints import names_of
from tasks.ingest.source.folder import RefusedError

PIXELS_OF_SCALE: Final = 200
"""Side of a box in pixels over its scale, since SPIN."""
CROP_SCALE: Final = 1.25
MOST_PEOPLE: Final = 1000
MOST_NUMBERS: Final = 10_000
"""Of a value; key-points of a whole body are 400."""
KEYS: Final = (
    *("bbox", "center", "scale", "width", "height", "keypoints_2d", "cam_int", "focal_length", "principal_point"),
    *("gender", "global_orient", "body_pose", "betas", "transl", "trans", "has_body_pose", "has_betas"),
)
"""What is read of a person."""
_LISTS: Final = ("people", "annotations")
_NAMES: Final = {44: names_of("smpl_49")[:44], 25: names_of("openpose_25"), 17: SKELETON}
"""By their count: 4D-Humans' are OpenPose's 25, then 19 that people have marked."""
_SLOTS: Final = {
    count: {at: joint for at, name in enumerate(names) if (joint := joint_called(name.removesuffix("_openpose")))}
    for count, names in _NAMES.items()
}


def people_of(label: Any) -> list[Any]:
    """The people of a label. RefusedError for what is none."""
    if isinstance(label, dict):
        found = next((label[key] for key in _LISTS if isinstance(label.get(key), list)), [label])
    else:
        found = label.tolist() if isinstance(label, np.ndarray) and label.dtype.hasobject else label
    if not isinstance(found, list):
        raise RefusedError(UNREADABLE, f"the label is {shown(label)}, a list of people is expected")
    if len(found) > MOST_PEOPLE:
        raise RefusedError(UNREADABLE, f"the label has {len(found)} people, more than the {MOST_PEOPLE} that are read")
    return found


def has_body(given: Any) -> bool:
    """Whether a person's label speaks of a body, be it only to deny it."""
    return isinstance(given, dict) and "body_pose" in given


def person(given: Any, kind: str, found: bool) -> dict[str, Any]:
    """Columns of a person, without number and path. RefusedError for one that can't be used.

    kind: gt or pseudo, of labels. found: who has no place gets one by what is seen (`tasks.ingest.people.placing`).
    """
    told = json_rows.table(given, "the person")
    values = {key: _plain(told[key], key) for key in KEYS if key in told}
    row: dict[str, Any] = {"box": _box(values)}
    for key in ("width", "height"):
        if values.get(key) is not None:
            row[f"{key}_px"] = json_rows.whole(values[key], key, 1, 10**6)
    row |= _camera(values)
    if values.get("keypoints_2d") is not None:
        row |= _pixels(values["keypoints_2d"])
    if values.get("body_pose") is None or not (_has(values, "body_pose") and _has(values, "betas")):
        return row | {"crop_scale": 1.0} if values.get("bbox") is None else row
    row |= _body(values) | {"label_kind": kind, "crop_rule": "joints"}
    if found:
        row["box_per_joints"] = BOX_PER_JOINTS
    return row


def _box(values: Mapping[str, Any]) -> list[float]:
    if values.get("bbox") is not None:
        return json_rows.box(values["bbox"])
    if values.get("center") is None or values.get("scale") is None:
        raise RefusedError(MISSING, "there is neither bbox nor center and scale")
    x, y = numbers(_listed(values["center"]), "center", 2).tolist()
    scale = numbers(_listed(values["scale"]), "scale", 1, at_least=True, whole=True).reshape(-1)
    if len(scale) > 2:
        raise RefusedError(UNREADABLE, f"scale has {len(scale)} numbers, one or two are expected")
    w, h = (PIXELS_OF_SCALE * scale[[0, -1]]).tolist()
    return json_rows.box([x - w / 2, y - h / 2, w, h])


def _camera(values: Mapping[str, Any]) -> dict[str, float]:
    """fx, fy, cx, cy of `cam_int` (3, 3), or focal_length and principal_point; none where the label has no camera."""
    if values.get("cam_int") is not None:
        (fx, _, cx), (_, fy, cy), _ = numbers(values["cam_int"], "cam_int", 9).reshape(3, 3).tolist()
        return json_rows.camera([fx, fy], [cx, cy])
    if values.get("focal_length") is not None and values.get("principal_point") is not None:
        focal = numbers(_listed(values["focal_length"]), "focal_length", 1, at_least=True, whole=True)
        return json_rows.camera(focal[[0, -1]].tolist(), values["principal_point"])
    return {}


def _pixels(points: Any) -> dict[str, Any]:
    """The joints among the key-points in the picture; of two with one name that which was marked, if any was."""
    try:
        count = len(points)
    except TypeError:
        count = 0
    if count not in _SLOTS:
        known = ", ".join(map(str, sorted(_SLOTS)))
        what = f"keypoints_2d has {count} points, which nothing names; {known} are known"
        raise RefusedError(POINT_COUNT, what)
    found = json_rows.points(points, "keypoints_2d", (count,), (3,))
    there: NDArray[np.float64] = np.full((JOINTS, 2), np.nan)
    for at, joint in _SLOTS[count].items():  # those that people marked come last
        if found[at, 2] > 0:
            there[joint] = found[at, :2]
    every = {joint: joint for joint in range(JOINTS)}
    return {"pixels": placed(there, every, JOINTS)} if np.isfinite(there).any() else {}


def _body(values: Mapping[str, Any]) -> dict[str, Any]:
    pose = numbers(_listed(values["body_pose"]), "body_pose", 3 * (SMPL_JOINTS - 1), at_least=True, whole=True)
    if values.get("global_orient") is not None:
        pose = np.concatenate([numbers(_listed(values["global_orient"]), "global_orient", 3), pose])
    if len(pose) != 3 * SMPL_JOINTS:
        raise RefusedError(
            UNREADABLE, f"the pose has {len(pose)} numbers, 72 (axis-angles, the root first) are expected"
        )
    body: dict[str, Any] = {
        "body_model": "smpl",
        "gender": json_rows.gender(values.get("gender")),
        "global_orient": vector(pose[:3]),
        "body_pose": vector(pose[3:]),
        "betas": vector(numbers(_listed(entry(values, "betas")), "betas", BETAS, at_least=True)),
    }
    transl = values.get("transl", values.get("trans"))
    return body if transl is None else body | {"transl": vector(numbers(_listed(transl), "transl", 3))}


def _has(values: Mapping[str, Any], key: str) -> bool:
    """Whether the label doesn't deny it."""
    flag = values.get(f"has_{key}")
    return flag is None or bool(numbers(_listed(flag), f"has_{key}", 1)[0] > 0)


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _plain(value: Any, key: str) -> Any:
    """An array or number of numpy's as JSON would have it."""
    if not isinstance(value, np.ndarray | np.generic):
        return value
    if value.size > MOST_NUMBERS:
        raise RefusedError(UNREADABLE, f"{key} has {value.size} numbers, far more than a person's")
    return value.tolist()
