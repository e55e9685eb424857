"""Rows of SPIN's files as rows of `tasks.ingest.people.annotations`, a block at a time."""

from typing import Any, Final

import numpy as np

from tasks.ingest.formats.flat_npz import PLACE, FlatNpz, as_vectors, by_name, filled, seen_points
from tasks.ingest.formats.flat_reader import FlatRows
from tasks.ingest.formats.humandata.block import Block, Values, sampled
from tasks.ingest.people.box_checks import check_box_points
from tasks.ingest.people.keypoints import HUMAN36M, JOINTS_29, converted, names_of
from tasks.ingest.people.lengths import HUMAN36M_BONES, unit_of
from tasks.ingest.source.folder import RefusedError

OWN: Final = "smpl_24"
"""SPIN's own 24 points; 4D-Humans has the first 19 of them."""
OPENPOSE: Final = "openpose_25"
_POSE: Final = ("pose", "body_pose")
_SHAPE: Final = ("shape", "betas")
_VALID: Final = ("has_smpl", "has_body_pose", "has_betas")
_OWN_2D, _OPENPOSE_2D = ("part", "extra_keypoints_2d"), ("openpose", "body_keypoints_2d")
_OWN_3D: Final = ("S", "extra_keypoints_3d")
_UNREAD: Final = ("maskname", "partname", "body_keypoints_3d")
USED: Final = (*PLACE, "gender", *_POSE, *_SHAPE, *_VALID, *_OWN_2D, *_OPENPOSE_2D, *_OWN_3D, *_UNREAD)
"""Members that are used, or left out without a word."""
_FEWEST: Final = 4
_LIMBS: Final = ("shoulder", "elbow", "wrist", "knee", "ankle")
"""OpenPose's points of these are where other annotations have them, too; its hips, neck and pelvis are not."""


class SpinRows(FlatRows):
    """The rows of one file. Raises DataError for one that can't be used as a whole."""

    def __init__(self, file: FlatNpz, label_kind: str) -> None:
        self.file, self.label_kind = file, label_kind
        self.pose, self.shape = file.first(_POSE, 72), file.betas(_SHAPE)
        if self.pose is None or self.shape is None:
            self.pose = self.shape = None
        self.model = "smpl" if self.pose else None
        file.genders()
        self.valid = [file.numbers(name, 1) for name in _VALID if name in file]
        self.own_2d = file.points(_OWN_2D, (19, 24), (2, 3))
        self.openpose_2d = file.points(_OPENPOSE_2D, (25,), (2, 3))
        self.own_3d = file.points(_OWN_3D, (19, 24), (3, 4))
        self.unit = self._unit()
        self.facts = {
            "body": "smpl" if self.pose else "none",
            "box": f"center and scale, in {'pixels' if file.in_pixels else '200 px'}",
            "2D key-points": _named(file, (*_OWN_2D, *_OPENPOSE_2D)),
            "3D joints": _named(file, _OWN_3D) + (", from the root on" if self.own_3d else ""),
            "camera": "none: focal lengths from EXIF or the diagonal, places fitted",
            "labels": label_kind if self.labelled else "none",
        }

    @property
    def labelled(self) -> bool:
        """The file has labels."""
        return bool(self.pose or self.own_3d)

    @property
    def seen(self) -> bool:
        """The file has key-points in the picture."""
        return bool(self.own_2d or self.openpose_2d)

    def put(self, block: Block, first: int) -> None:
        """As `FlatRows`."""
        block.fill("crop_rule", "joints" if self.labelled else "box")
        self.file.put_place(block, first)
        self._put_pixels(block)
        has_body = self._put_bodies(block)
        has_joints = self._put_joints(block, has_body)
        block.put("label_kind", [self.label_kind if one else None for one in has_body | has_joints])

    def _put_bodies(self, block: Block) -> Any:
        """Gives rows their bodies, and says which have one (n,)."""
        has = np.full(len(block.rows), self.pose is not None)
        if self.pose is None or self.shape is None:
            return has
        for column in self.valid:
            has &= block.numbers(column, "has_smpl")[:, 0] > 0
        part = Block(block.start, block.stop)  # of a row that is said to have no body, they may hold anything
        pose = as_vectors(part.numbers(self.pose, "pose"))
        self.file.put_betas(part, self.shape, "shape")
        self.file.put_genders(part)
        for number in np.flatnonzero(has):
            if number in part.refusals:
                block.refuse(int(number), *part.refusals[int(number)])
            row = block.rows[number]
            row |= {"body_model": "smpl", "global_orient": pose[number, :3], "body_pose": pose[number, 3:]}
            row |= {name: part.rows[number][name] for name in ("betas", "gender")}
        return has

    def _put_pixels(self, block: Block) -> None:
        pixels = np.full((len(block.rows), 29, 2), np.nan)
        for held, convention in ((self.own_2d, OWN), (self.openpose_2d, OPENPOSE)):
            if held is None:
                continue
            points = seen_points(block, held[0], "2D key-points", 2)
            self._check_boxes(block, points)
            found = _limbs(points) if convention == OPENPOSE else by_name(points, convention)
            pixels = np.where(np.isfinite(pixels), pixels, found)
        if self.seen:
            block.put("pixels", as_vectors(pixels))

    def _put_joints(self, block: Block, has_body: Any) -> Any:
        """Gives rows their 3D joints, from the root on, and says which have some (n,)."""
        if self.own_3d is None:
            return np.zeros(len(block.rows), bool)
        points = seen_points(block, self.own_3d[0], "3D joints", 3) * self.unit
        seventeen = converted(filled(points, OWN), OWN, HUMAN36M)
        root = np.where(np.isfinite(seventeen[:, :1]), seventeen[:, :1], seventeen[:, [1, 4]].mean(1, keepdims=True))
        seventeen, joints = seventeen - root, by_name(points, OWN) - root
        has = np.isfinite(joints).all(2).sum(1) >= _FEWEST
        for number in np.flatnonzero(has):
            block.rows[number]["human36m"] = as_vectors(seventeen[number])
            if not has_body[number]:  # beside a body, the seventeen are compared with it
                block.rows[number] |= {"joints": as_vectors(joints[number]), "joints_by": "names"}
        return has

    def _check_boxes(self, block: Block, points: Values) -> None:
        for number, row in enumerate(block.rows):
            if np.isfinite(row["box"]).all():
                try:
                    check_box_points(row["box"], points[number], (None, None))
                except RefusedError as error:
                    block.refuse(number, error.reason, error.detail)

    def _unit(self) -> float:
        if self.own_3d is None or not self.file.count:
            return 1.0
        points = sampled(self.own_3d[0])
        seen = points[..., :3].copy()
        if points.shape[2] == 4:
            seen[~(points[..., 3] > 0)] = np.nan
        seventeen = converted(filled(seen, OWN), OWN, HUMAN36M)
        if not np.isfinite(seventeen).any():
            return 1.0
        return unit_of(seventeen, f"{self.file.name}, 3D joints", HUMAN36M_BONES)


def _limbs(points: Values) -> Values:
    """OpenPose's points (n, 25, D) of arms and legs among the 29 joints; NaN for the others."""
    names = names_of(OPENPOSE)
    found = np.full((len(points), 29, points.shape[2]), np.nan)
    for joint, name in enumerate(names_of(JOINTS_29)):
        if name.endswith(_LIMBS):
            found[:, joint] = points[:, names.index(f"{name}_openpose")]
    return found


def _named(file: FlatNpz, names: tuple[str, ...]) -> str:
    return ", ".join(name for name in names if name in file) or "none"
