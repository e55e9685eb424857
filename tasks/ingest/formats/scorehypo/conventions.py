"""What the public description of ScoreHypo's files leaves open, settled by what a file's first rows show: units (3DPW's
training file is in mm, its test file in metres), the form of boxes, whether `trans` places the body, and where the
pictures are.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from statistics import mode
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.skeleton import BETAS, JOINTS, SMPL_JOINTS
from tasks.ingest.formats.json_rows import beyond, cut_words, numbers, points, sides
from tasks.ingest.formats.scorehypo.rows import Agreed, joints_of, parameters_of, picture_path
from tasks.ingest.formats.scorehypo.sets import HUMAN36M_COUNT, MPI_INF_3DHP, PublishedSet
from tasks.ingest.people.agreement import root_relative
from tasks.ingest.people.box_checks import are_corners, extent
from tasks.ingest.people.lengths import Bone, limbs, unit_of
from tasks.ingest.source.folder import RefusedError

ROWS_LOOKED_AT: Final = 200
_TEST_3DHP_BONES: Final = limbs((8, 9, 10), (11, 12, 13), arms=((2, 3, 4), (5, 6, 7)))
_NEAR_M: Final = 1.0
"""A body's translation and its joint 0 are closer than this: they differ by where the joint is at rest."""


def agree(
    rows: Sequence[Mapping[str, Any]], published: PublishedSet, where: str, exists: Callable[[str], bool]
) -> Agreed:
    """What rows, as a file has them, settle. `exists` says whether there is a file of a path below the root.

    Raises DataError where joints are neither in metres nor in mm.
    """
    optional = (published.joints, published.human36m, "trans")
    present = frozenset(key for key in optional if key and 2 * sum(_has(row, key) for row in rows) > len(rows))
    of_3dhp = published.name == "mpi-inf-3dhp"
    counts, bones = (tuple(MPI_INF_3DHP), _TEST_3DHP_BONES) if of_3dhp else ((SMPL_JOINTS, JOINTS), None)
    units = {published.joints: _unit(rows, published.joints, counts, where, bones)}
    if published.human36m:
        units[published.human36m] = _unit(rows, published.human36m, (HUMAN36M_COUNT,), where)
    corners = _are_corners(rows, published)
    box_remark = "bbox is read as two corners (x0, y0, x1, y1), which fits the joints." if corners else ""
    transl, transl_remark = _transl(rows, published, units[published.joints]) if "trans" in present else (None, "")
    remarks = (*filter(None, (box_remark, transl_remark, _cut(rows, published))),)
    return Agreed(present, units, corners, transl, _folder(rows, published, exists), remarks)


def _has(row: Mapping[str, Any], key: str) -> bool:
    if key == "trans":
        parameters = row.get("smpl_param")
        return isinstance(parameters, dict) and parameters.get("trans") is not None
    return row.get(key) is not None


def _readable(rows: Iterable[Mapping[str, Any]], read: Callable[[Mapping[str, Any]], Any]) -> list[Any]:
    """What `read` makes of the rows that it can read."""
    values = []
    for row in rows:
        with suppress(RefusedError, KeyError):
            values.append(read(row))
    return [value for value in values if value is not None]


def _unit(
    rows: Sequence[Mapping[str, Any]],
    key: str,
    counts: tuple[int, ...],
    where: str,
    bones_of_17: Sequence[Bone] | None = None,
) -> float:
    """Factor to metres of 3D joints, by the rows that have their usual count; 1 where no row has any."""
    readable = _readable(rows, lambda row: points(row[key], "", counts, (3,)))
    if not readable:
        return 1.0
    count = mode(map(len, readable))
    alike = np.stack([joints for joints in readable if len(joints) == count])
    return unit_of(alike, f"{where}, key {key}", bones_of_17 if count == HUMAN36M_COUNT else None)


def _are_corners(rows: Sequence[Mapping[str, Any]], published: PublishedSet) -> bool:
    """Whether boxes are two corners: published for none of the files, and left open for those that are lists."""

    def box_and_points(row: Mapping[str, Any]) -> list[float | None] | None:
        key = next((key for key in published.pixels if row.get(key) is not None), None)
        if key is None:
            return None
        pixels = points(row[key], "", (SMPL_JOINTS, JOINTS), (2, 3))[:SMPL_JOINTS, :2]
        return [*numbers(row["bbox"], "", 4), *extent(pixels), *sides(row)]

    measures = np.array(_readable(rows, box_and_points), np.float64).reshape(-1, 10)
    return are_corners(measures[:, :4], measures[:, 4:8], measures[:, 8:])


def _cut(rows: Sequence[Mapping[str, Any]], published: PublishedSet) -> str:
    """What is lost of shapes that have more coefficients than the tables take."""

    def rest(row: Mapping[str, Any]) -> NDArray[np.float64] | None:
        parameters, _, shape = parameters_of(row, published)
        return beyond(parameters[shape], BETAS)

    return cut_words("shapes", _readable(rows, rest))


def _transl(rows: Sequence[Mapping[str, Any]], published: PublishedSet, unit: float) -> tuple[float | None, str]:
    """The unit of `trans`, by its distance to joint 0; where no joint is in the camera frame, metres, as published."""

    def pair(row: Mapping[str, Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        joints = joints_of(row, published.joints)
        trans = numbers(row["smpl_param"]["trans"], "", 3)
        return None if joints is None or root_relative(joints * unit) else (joints[0] * unit, trans)

    pairs = _readable((row for row in rows if _has(row, "trans")), pair)
    if not pairs:
        return 1.0, ""
    joint, trans = np.moveaxis(np.array(pairs), 1, 0)
    for factor in (1.0, 0.001):
        if float(np.median(np.linalg.norm(trans * factor - joint, axis=1))) < _NEAR_M:
            return factor, "smpl_param.trans is in millimetres." if factor != 1 else ""
    return None, (
        "smpl_param.trans is not near joint 0, so it is no translation in the camera frame: bodies are placed by "
        f"joint 0 of {published.joints} instead."
    )


def _folder(rows: Sequence[Mapping[str, Any]], published: PublishedSet, exists: Callable[[str], bool]) -> str:
    for row in rows[:3]:
        with suppress(RefusedError):
            for folder in published.pictures:
                if exists(picture_path(row, published, folder)):
                    return folder
    return published.pictures[0]
