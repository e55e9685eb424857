"""What the public description of ScoreHypo's files leaves open, settled by what a file's first rows show: units (3DPW's
training file is in mm, its test file in metres), the form of boxes, whether `trans` places the body, and where the
pictures lie.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.skeleton import BETAS
from tasks.ingest.formats import json_rows
from tasks.ingest.formats.scorehypo.rows import HUMAN36M_COUNT, MPI_INF_3DHP, Agreed, joints_of, picture_path
from tasks.ingest.formats.scorehypo.sets import PublishedSet
from tasks.ingest.people.agreement import root_relative
from tasks.ingest.people.box_checks import are_corners, extent
from tasks.ingest.people.lengths import HUMAN36M_BONES, limbs, unit_of
from tasks.ingest.source.folder import RefusedError

ROWS_LOOKED_AT: Final = 200
_TEST_3DHP_BONES: Final = limbs((8, 9, 10), (11, 12, 13), arms=((2, 3, 4), (5, 6, 7)))
_NEAR_M: Final = 1.0
"""A body's translation and its joint 0 are closer than this: they differ by where the joint is at rest."""


def agree(
    rows: Sequence[Mapping[str, Any]], made: PublishedSet, where: str, exists: Callable[[str], bool] | None
) -> Agreed:
    """Look at rows as a file has them. `exists` tells whether there is a file of a path below the root.

    Raises DataError where joints are neither in metres nor in mm.
    """
    optional = (made.joints, made.human36m, "trans")
    present = frozenset(key for key in optional if key and 2 * sum(_has(row, key) for row in rows) > len(rows))
    units = {made.joints: _unit(rows, made, where)}
    if made.human36m:
        seventeen = _readable(rows, lambda row: json_rows.points(row[made.human36m], "", (HUMAN36M_COUNT,), (3,)))
        named = f"{where}, key {made.human36m}"
        units[made.human36m] = unit_of(np.stack(seventeen), named, HUMAN36M_BONES) if seventeen else 1.0
    corners, box_remark = _corners(rows, made)
    transl, transl_remark = _transl(rows, made, units[made.joints]) if "trans" in present else (None, "")
    remarks = (*filter(None, (box_remark, transl_remark, _cut(rows, made))),)
    return Agreed(present, units, corners, transl, _folder(rows, made, exists), remarks)


def _has(row: Mapping[str, Any], key: str) -> bool:
    if key == "trans":
        given = row.get("smpl_param")
        return isinstance(given, dict) and given.get("trans") is not None
    return row.get(key) is not None


def _readable(rows: Iterable[Mapping[str, Any]], read: Callable[[Mapping[str, Any]], Any]) -> list[Any]:
    """What `read` makes of the rows that it can read."""
    values = []
    for row in rows:
        try:
            value = read(row)
        except (RefusedError, KeyError):
            continue
        if value is not None:
            values.append(value)
    return values


def _unit(rows: Sequence[Mapping[str, Any]], made: PublishedSet, where: str) -> float:
    named = f"{where}, key {made.joints}"
    if made.name == "mpi-inf-3dhp":
        found = _readable(rows, lambda row: json_rows.points(row[made.joints], "", tuple(MPI_INF_3DHP), (3,)))
        if not found:
            return 1.0
        (count, _), *_others = Counter(map(len, found)).most_common()
        alike = np.stack([joints for joints in found if len(joints) == count])
        return unit_of(alike, named, None if count == 28 else _TEST_3DHP_BONES)
    found = _readable(rows, lambda row: joints_of(row, made.joints))
    return unit_of(np.stack([joints[:24] for joints in found]), named) if found else 1.0


def _corners(rows: Sequence[Mapping[str, Any]], made: PublishedSet) -> tuple[bool, str]:
    """Whether boxes are two corners: published for none of the files, and left open for those that are lists."""

    def box_and_points(row: Mapping[str, Any]) -> NDArray[np.float64] | None:
        key = next((key for key in made.pixels if row.get(key) is not None), None)
        if key is None:
            return None
        pixels = json_rows.points(row[key], "", (24, 29), (2, 3))[:24, :2]
        return np.concatenate([json_rows.numbers(row["bbox"], "", 4), extent(pixels), _size(row)])

    found = np.array(_readable(rows, box_and_points)).reshape(-1, 10)
    corners = are_corners(found[:, :4], found[:, 4:8], found[:, 8:])
    return corners, "bbox is read as two corners (x0, y0, x1, y1), which fits the joints." if corners else ""


def _size(row: Mapping[str, Any]) -> list[float]:
    found = json_rows.size(row)
    return [found.get("width_px", np.nan), found.get("height_px", np.nan)]


def _cut(rows: Sequence[Mapping[str, Any]], made: PublishedSet) -> str:
    """What is lost of shapes of which more is given than the tables know."""

    def rest(row: Mapping[str, Any]) -> NDArray[np.float64] | None:
        given = row if made.name == "human36m" else json_rows.table(row["smpl_param"], "")
        return json_rows.beyond(given["betas" if made.name == "human36m" else "shape"], BETAS)

    return json_rows.cut_words("shapes", _readable(rows, rest))


def _transl(rows: Sequence[Mapping[str, Any]], made: PublishedSet, unit: float) -> tuple[float | None, str]:
    """The unit of `trans`, by its distance to joint 0; where no joint is in the camera frame, metres, as published."""

    def pair(row: Mapping[str, Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        joints = joints_of(row, made.joints)
        trans = json_rows.numbers(row["smpl_param"]["trans"], "", 3)
        return None if joints is None or root_relative(joints * unit) else (joints[0] * unit, trans)

    found = _readable((row for row in rows if _has(row, "trans")), pair)
    if not found:
        return 1.0, ""
    joint, trans = np.moveaxis(np.array(found), 1, 0)
    for factor in (1.0, 0.001):
        if float(np.median(np.linalg.norm(trans * factor - joint, axis=1))) < _NEAR_M:
            return factor, "smpl_param.trans is in millimetres." if factor != 1 else ""
    return None, (
        "smpl_param.trans is not near joint 0, so it is no translation in the camera frame: bodies are placed by "
        f"joint 0 of {made.joints} instead."
    )


def _folder(rows: Sequence[Mapping[str, Any]], made: PublishedSet, exists: Callable[[str], bool] | None) -> str:
    if exists is not None:
        for row in rows[:3]:
            for folder in made.pictures:
                try:
                    if exists(picture_path(row, made, folder)):
                        return folder
                except RefusedError:
                    break
    return made.pictures[0]
