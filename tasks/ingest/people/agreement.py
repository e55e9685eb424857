"""Whether a posed body is where the file's own 3D joints are: what distinguishes the right body from others.

Joints that the same body gave (those of HybrIK's style, HumanData's `keypoints3d_smpl` beside `smpl`) agree with it
within rounding. Those of another make don't: Human3.6M's are regressed or marked elsewhere in the flesh, key-points of
equal names are a few cm away. So there are two limits (`IngestConfig`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from models.joint_sets import HUMAN36M_JOINTS, HUMAN36M_OF_29, MIRROR_HUMAN36M
from models.skeleton import JOINT_NAMES, MIRROR_JOINTS
from schemas.config.stages import IngestConfig
from tasks.ingest.people.keypoints import BY_BODY, BY_NAMES, OTHER_PLACE
from tasks.ingest.source.folder import RefusedError

DISAGREE: Final = "joints disagree"
AT_ORIGIN_M: Final = 0.1
"""A root that is nearer to the camera's centre than this is no person's: such joints are relative to the root."""
_FEWEST = 4
"""Joints that are needed to compare anything."""
_TRUNK_AND_HEAD: Final = (7, 8, 9, 10)
"""Of Human3.6M's 17: spine, neck, nose and head top have no joint of a body near enough."""
_ANOTHER_UNIT: Final = 1.5
_HIPS: Final = (1, 2)
HIPS_17: Final = (1, 4)


@dataclass(frozen=True)
class Agreement:
    """A posed body beside joints of the file: (J, 3) each, metres; NaN where the two can't be compared."""

    what: str
    names: tuple[str, ...]
    mirror: tuple[int, ...]
    hips: tuple[int, int]
    posed: NDArray[np.float64]
    written: NDArray[np.float64]
    same_body: bool
    """The file's joints are of this very body, and not only of about the same places."""

    @cached_property
    def relative(self) -> bool:
        """The file's joints are relative to the root: nothing but the root itself is at the camera's centre."""
        return root_relative(self.written, self.hips)

    @cached_property
    def errors_mm(self) -> NDArray[np.float64]:
        """(J,) distances; NaN where a joint is not compared. Of joints relative to the root, from the roots on."""
        return np.asarray(1000 * np.linalg.norm(self._aligned(self.written) - self._aligned(self.posed), axis=1))

    @property
    def mean_mm(self) -> float:
        return float(np.nanmean(self.errors_mm))

    def check(self, limit_mm: float) -> None:
        """RefusedError "joints disagree" beyond `limit_mm`."""
        if self.mean_mm > limit_mm:
            worst = int(np.nanargmax(self.errors_mm))
            raise RefusedError(
                DISAGREE,
                f"{self.what} lie {self.mean_mm:.0f} mm from the posed body ({limit_mm:g} are allowed), "
                f"{self.names[worst]} {self.errors_mm[worst]:.0f} mm: {self._cause(limit_mm)}",
            )

    def _aligned(self, joints: NDArray[np.float64]) -> NDArray[np.float64]:
        return joints - _root(joints, self.hips) if self.relative else joints

    def _cause(self, limit_mm: float) -> str:
        """What the difference looks like."""
        compared = np.isfinite(self.written).all(1) & np.isfinite(self.posed).all(1)
        written, posed = self.written[compared], self.posed[compared]
        shift = written.mean(0) - posed.mean(0)
        theirs, ours = written - written.mean(0), posed - posed.mean(0)
        longer = float(np.linalg.norm(theirs)) / max(float(np.linalg.norm(ours)), 1e-9)
        if not 1 / _ANOTHER_UNIT < longer < _ANOTHER_UNIT:
            return f"they are {longer:.3g} times as far apart as the body's; another unit?"
        if 1000 * np.linalg.norm(theirs - ours, axis=1).mean() <= limit_mm:
            x, y, z = 1000 * shift
            return f"all are shifted by ({x:.0f}, {y:.0f}, {z:.0f}) mm; another translation, or another frame?"
        if replace(self, written=self.written[list(self.mirror)]).mean_mm <= limit_mm:
            return "left and right are swapped"
        turn, _ = Rotation.align_vectors(theirs, ours)
        if 1000 * np.linalg.norm(theirs - turn.apply(ours), axis=1).mean() <= limit_mm:
            return f"they are turned by {np.degrees(turn.magnitude()):.0f} degrees; are they in another frame?"
        return "another body, gender or shape (--body)?"


def agreements(row: Mapping[str, Any], posed: NDArray[np.floating]) -> Iterator[Agreement]:
    """What a row has beside its posed joints (29, 3), as far as it has enough to compare."""
    body = np.asarray(posed, np.float64)
    pairs: list[Agreement] = []
    if row["joints"] is not None:
        joints = _without(row["joints"], () if row["joints_by"] == BY_BODY else OTHER_PLACE)
        same_body = row["joints_by"] != BY_NAMES
        pairs.append(Agreement("the file's 3D joints", JOINT_NAMES, MIRROR_JOINTS, _HIPS, body, joints, same_body))
    if row["human36m"] is not None:
        joints, places = _without(row["human36m"], _TRUNK_AND_HEAD), body[list(HUMAN36M_OF_29)]
        what = "Human3.6M's 17 joints"
        pairs.append(Agreement(what, HUMAN36M_JOINTS, MIRROR_HUMAN36M, HIPS_17, places, joints, same_body=False))
    yield from (pair for pair in pairs if np.isfinite(pair.errors_mm).sum() >= _FEWEST)


def _without(joints: Any, elsewhere: Sequence[int]) -> NDArray[np.float64]:
    """A file's joints (J, 3), NaN for those that have no joint of a body near enough."""
    written = np.array(joints, np.float64).reshape(-1, 3)
    written[list(elsewhere)] = np.nan
    return written


def check_agreement(row: Mapping[str, Any], posed: NDArray[np.floating], config: IngestConfig) -> None:
    """RefusedError "joints disagree" where joints of the file are elsewhere than the posed ones (29, 3), metres."""
    for pair in agreements(row, posed):
        pair.check(config.max_joint_error_mm if pair.same_body else config.max_other_joint_error_mm)


def root_relative(joints: NDArray[np.float64], hips: tuple[int, int] = _HIPS) -> bool:
    """Whether joints (J, 3) in metres have their root, joint 0, at the origin; unknown ones are NaN."""
    root = _root(joints, hips)
    return bool(np.isfinite(root).all() and np.linalg.norm(root) < AT_ORIGIN_M)


def _root(joints: NDArray[np.float64], hips: tuple[int, int]) -> NDArray[np.float64]:
    """(3,): joint 0, or the middle of the hips where it isn't known; NaN where neither is."""
    return joints[0] if np.isfinite(joints[0]).all() else joints[list(hips)].mean(0)
