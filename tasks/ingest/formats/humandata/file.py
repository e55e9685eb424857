"""One HumanData file: which of its members are used, and what their rows say.

A HumanData file is an .npz with a row for each person: `image_path`, `bbox_xywh`, key-points in the 190 columns of
mmhuman3d, body parameters and camera in dictionaries that are pickled. Where two members say the same, the order of the
published loader decides (HMR-Scorer, Shen et al. 2025).
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.errors import DataError
from tasks.ingest.people.keypoints import HUMAN_DATA, names_of, places
from tasks.ingest.source.column import Column, column_of
from tasks.ingest.source.folder import printable
from tasks.ingest.source.npz_columns import Npz

RELATIVE_HANDS: Final = "relative to the mean hand"
"""What exported files say of their hands in `misc`."""

KEYPOINTS_2D: Final = ("keypoints2d", "keypoints2d_smplx", "keypoints2d_smpl", "keypoints2d_original")
KEYPOINTS_3D: Final = (
    *("keypoints3d_cam", "keypoints3d", "keypoints3d_smplx", "keypoints3d_smpl", "keypoints3d_original"),
)
"""The first that a file has is used."""
BODIES: Final = ("smplx", "smpl", "smplh")
COMPRESSED: Final = "__keypoints_compressed__"
_COUNTS: Final = (len(names_of(HUMAN_DATA)), len(names_of("smplx")))


@dataclass(frozen=True)
class KeyPoints:
    """Key-points of all rows, as they are stored, and where each of the 190 is among them."""

    name: str
    count: int
    dimensions: int
    """2 (pixels) or 3; a further number of each point is its confidence."""
    used: NDArray[np.int64]
    """Stored columns that the mask calls valid."""
    place: NDArray[np.int64]
    """(190,) the stored column of each, -1 where the mask says that there is none."""

    def valid(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Stored values (n, K, D) as the points (n, k, 2 or 3) that the mask calls valid; NaN without confidence."""
        return self._at(values, self.used)

    def of(self, values: NDArray[np.float64], convention: str) -> NDArray[np.float64]:
        """Stored values (n, K, D) as points (n, J, 2 or 3); NaN where there is none, or without confidence."""
        columns = np.array(places(HUMAN_DATA, convention))
        return self._at(values, np.where(columns < 0, -1, self.place[columns]))

    def _at(self, values: NDArray[np.float64], columns: NDArray[np.int64]) -> NDArray[np.float64]:
        points = values[:, columns, : self.dimensions]
        points[:, columns < 0] = np.nan
        if values.shape[2] > self.dimensions:
            points[~(values[:, columns, self.dimensions] > 0)] = np.nan
        return points


class HumanDataFile:
    """Members of a HumanData file, unpacked when they are first used. DataError for a file that is none."""

    def __init__(self, npz: Npz, body: str | None) -> None:
        self.npz, self.name = npz, npz.name
        self.remarks: list[str] = []
        self.shared: list[str] = []
        """Camera and body parameters of which there is one for all people."""
        self._columns: dict[str, Column] = {}
        missing = [key for key in ("image_path", "bbox_xywh") if key not in npz]
        if missing:
            members = ", ".join(printable(name) for name in npz.names[:20]) or "nothing"
            raise DataError(
                f"{self.name} lacks {' and '.join(missing)}, which every HumanData file has; it holds {members}. Check "
                "that --format humandata is right for it."
            )
        shape = npz.header("image_path").shape
        if len(shape) != 1:
            raise DataError(f"{self.name}, image_path: one value for each person is expected, not the shape {shape}.")
        self.count = shape[0]
        if not self.column("image_path").is_text:
            raise DataError(f"{self.name}, image_path: texts are expected.")
        self._numbers(self.column("bbox_xywh"), "bbox_xywh", 4)
        self.body_name = self._body_name(body)
        self.body = self._dictionary(self.body_name) if self.body_name else {}
        self.meta = self._dictionary("meta") if "meta" in npz else {}
        self.keypoints_2d = self._keypoints(KEYPOINTS_2D, 2)
        self.keypoints_3d = self._keypoints(KEYPOINTS_3D, 3)

    def column(self, name: str) -> Column:
        """A member with a row for each person."""
        if name not in self._columns:
            if self.npz.is_pickle(name):
                column = column_of(self.npz.value(name), self.count, f"{self.name}, {name}", self.npz.work)
            else:
                column = self.npz.column(name)
                self._check_count(name, len(column))
            self._columns[name] = column
        return self._columns[name]

    def camera(self, name: str) -> Column | None:
        """height, width, focal_length or principal_point of `meta`; None where it doesn't say."""
        values = self.meta.get(name)
        if values is None:
            return None
        pair = name in ("focal_length", "principal_point") and _flat(values) == 2
        if pair and (name == "principal_point" or self.count != 2):  # of two people, two focal lengths are one each
            values = [values]
        return self._numbers(self._column_of(values, f"meta[{name}]"), f"meta[{name}]", 2 if "point" in name else 1)

    def parameter(self, name: str) -> Column | None:
        """An array of the body's dictionary, with numbers for each person; None where there is none.

        One row of numbers that is no list of people's holds for all of them.
        """
        values = self.body.get(name)
        if values is None:
            return None
        where = f"{self.body_name}[{name}]"
        return self._numbers(self._column_of([values] if (_flat(values) or 0) > 1 else values, where), where, 1)

    def genders(self) -> Column | None:
        """The column of genders: the body's, the file's or that of `meta`."""
        for where, values in ((self.body_name, self.body), ("meta", self.meta)):
            genders = values.get("gender")
            if genders is None:
                continue
            objects = isinstance(genders, np.ndarray) and genders.dtype.hasobject and genders.ndim == 1
            if objects or isinstance(genders, list):
                genders = ["" if value is None else value for value in genders]
            return self._column_of(genders, f"{where}[gender]")
        return self.column("gender") if "gender" in self.npz else None

    def label_kinds(self) -> list[str] | None:
        """What files that this project exported say of each label: gt or pseudo. None for others."""
        kind = self.misc.get("label_kind")
        kinds = kind.tolist() if isinstance(kind, np.ndarray) and kind.ndim == 1 else kind
        usable = isinstance(kinds, list) and len(kinds) == self.count and all(one in ("gt", "pseudo") for one in kinds)
        return kinds if usable else None

    @property
    def hands_relative(self) -> bool:
        """Whether the file itself says that its hands are relative to the mean hand."""
        hands = self.misc.get("hands")
        return isinstance(hands, str) and hands == RELATIVE_HANDS

    @cached_property
    def misc(self) -> dict[str, Any]:
        """What files may say beside: a dictionary, or nothing."""
        with suppress(DataError):
            return self._dictionary("misc")
        return {}

    def _body_name(self, wanted: str | None) -> str | None:
        present = [name for name in BODIES if name in self.npz]
        if wanted in present:
            return wanted
        if wanted is not None and present:
            self.remarks.append(f"{self.name} has {present[0]} parameters, where {wanted} was expected: they are used.")
        return present[0] if present else None

    def _column_of(self, values: Any, where: str) -> Column:
        """Values as a column; one value for all people is noted."""
        column = column_of(values, self.count, f"{self.name}, {where}", self.npz.work)
        if column.shared:
            self.shared.append(where)
        return column

    def _dictionary(self, name: str) -> dict[str, Any]:
        value = self.npz.value(name)
        if isinstance(value, np.ndarray) and value.size > 1 and isinstance(value.reshape(-1)[0], dict):
            raise DataError(
                f"{self.name}, {name}: it holds {value.size} dictionaries, one for each person. One dictionary of "
                "arrays is expected, with a row for each person in every array: stack them."
            )
        if isinstance(value, np.ndarray) and value.size == 1:
            value = value.reshape(-1)[0]
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise DataError(f"{self.name}, {name}: a dictionary of arrays is expected, as HumanData files have it.")
        return value

    def _keypoints(self, names: Sequence[str], dimensions: int) -> KeyPoints | None:
        name = next((name for name in names if name in self.npz), None)
        if name is None:
            return None
        shape = self.npz.header(name).shape if not self.npz.is_pickle(name) else self.column(name).shape
        where = f"{self.name}, {name}"
        if len(shape) != 3 or shape[2] not in (dimensions, dimensions + 1):
            raise DataError(
                f"{where}: (rows, key-points, {dimensions + 1}) is expected, with {dimensions} coordinates and a "
                f"confidence, not the shape {shape}."
            )
        self._check_count(name, shape[0])
        member = next((key for key in (f"{name}_mask", f"keypoints{dimensions}d_mask") if key in self.npz), None)
        if member is None and shape[1] not in _COUNTS:
            raise DataError(
                f"{where} has {shape[1]} key-points, and no {name}_mask that says which of the 190 they are."
            )
        mask = np.ones(shape[1], bool) if member is None else self._mask(member, where)
        if shape[1] not in (mask.size, int(mask.sum())):
            raise DataError(f"{where} has {shape[1]} key-points, where its mask has {int(mask.sum())} of {mask.size}.")
        place = np.full(_COUNTS[0], -1)
        place[: mask.size][mask] = np.flatnonzero(mask) if shape[1] == mask.size else np.arange(mask.sum())
        return KeyPoints(name, shape[1], dimensions, place[place >= 0], place)

    def _mask(self, member: str, where: str) -> NDArray[np.bool_]:
        mask = np.asarray(self.npz.value(member)).reshape(-1)
        if mask.dtype.kind not in "biuf" or mask.size not in _COUNTS:
            raise DataError(f"{where}: {member} should hold 190 zeros and ones, not {mask.size} {mask.dtype}.")
        return np.asarray(mask > 0)

    def _numbers(self, column: Column, name: str, fewest: int) -> Column:
        if column.is_text or int(np.prod(column.shape[1:])) < fewest:
            kind = "texts" if column.is_text else f"shape {column.shape}"
            raise DataError(f"{self.name}, {name}: {fewest} numbers or more are needed for each person, not {kind}.")
        return column

    def _check_count(self, name: str, length: int) -> None:
        if length != self.count:
            raise DataError(f"{self.name}: {name} has {length} rows, but image_path {self.count}. They must agree.")


def _flat(values: Any) -> int | None:
    """The count of numbers in a list or array without further axes; None for anything else."""
    if isinstance(values, np.ndarray):
        return len(values) if values.ndim == 1 and values.dtype.kind in "biuf" else None
    return len(values) if isinstance(values, list) and all(isinstance(one, int | float) for one in values) else None
