"""One HumanData file: which of its members are used, and what their rows say.

A HumanData file is an .npz with a row for each person: `image_path`, `bbox_xywh`, key-points in the 190 columns of
mmhuman3d, body parameters and camera in dictionaries that are pickled. Where two members say the same, the order of the
published loader decides (HMR-Scorer, Shen et al. 2025).
"""

from collections.abc import Sequence
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

    def where(self, convention: str) -> NDArray[np.int64]:
        """The stored column of each key-point of a convention, -1 where there is none."""
        chosen = np.array(places(HUMAN_DATA, convention))
        return np.where(chosen < 0, -1, self.place[chosen])

    def known(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Stored values (n, K, D) as the points (n, k, 2 or 3) that the mask calls valid; NaN without confidence."""
        made = values[:, self.used, : self.dimensions]
        if values.shape[2] > self.dimensions:
            made[~(values[:, self.used, self.dimensions] > 0)] = np.nan
        return made

    def of(self, values: NDArray[np.float64], convention: str) -> NDArray[np.float64]:
        """Stored values (n, K, D) as points (n, J, 2 or 3); NaN where there is none, or without confidence."""
        chosen = self.where(convention)
        made = values[:, chosen, : self.dimensions]
        made[:, chosen < 0] = np.nan
        if values.shape[2] > self.dimensions:
            made[~(values[:, chosen, self.dimensions] > 0)] = np.nan
        return made


class HumanDataFile:
    """Members of a HumanData file, unpacked when they are first asked for. DataError for a file that is none."""

    def __init__(self, npz: Npz, body: str | None) -> None:
        self.npz, self.name = npz, npz.name
        self.remarks: list[str] = []
        self.given_once: list[str] = []
        """Camera and body parameters of which there is one for all people."""
        self._columns: dict[str, Column] = {}
        missing = [key for key in ("image_path", "bbox_xywh") if key not in npz]
        if missing:
            held = ", ".join(printable(name) for name in npz.names[:20]) or "nothing"
            raise DataError(
                f"{self.name} lacks {' and '.join(missing)}, which every HumanData file has; it holds {held}. Check "
                "that --format humandata is right for it."
            )
        self.count = self._length("image_path")
        if not self.column("image_path").is_text:
            raise DataError(f"{self.name}, image_path: texts are expected.")
        self.numbers("bbox_xywh", 4)
        self.body_name = self._body_name(body)
        self.body = self._dictionary(self.body_name) if self.body_name else {}
        self.meta = self._dictionary("meta") if "meta" in npz else {}
        self.keypoints_2d = self._keypoints(KEYPOINTS_2D, 2)
        self.keypoints_3d = self._keypoints(KEYPOINTS_3D, 3)

    def column(self, name: str) -> Column:
        """A member with a row for each person."""
        if name not in self._columns:
            if self.npz.is_pickle(name):
                made = column_of(self.npz.value(name), self.count, f"{self.name}, {name}", self.npz.work)
            else:
                made = self.npz.column(name)
                self._agree(name, len(made))
            self._columns[name] = made
        return self._columns[name]

    def numbers(self, name: str, fewest: int) -> Column:
        """As `column`, with at least so many numbers in each row."""
        return self._numbers(self.column(name), name, fewest)

    def camera(self, name: str) -> Column | None:
        """height, width, focal_length or principal_point of `meta`; None where it doesn't say."""
        held = self.meta.get(name)
        if held is None:
            return None
        pair = name in ("focal_length", "principal_point") and _flat(held) == 2
        if pair and (name == "principal_point" or self.count != 2):  # of two people, two focal lengths are one each
            held = [held]
        return self._numbers(self._column_of(held, f"meta[{name}]"), f"meta[{name}]", 2 if "point" in name else 1)

    def parameter(self, name: str) -> Column | None:
        """An array of the body's dictionary, with numbers for each person; None where there is none.

        One row of numbers that is no list of people's holds for all of them.
        """
        held = self.body.get(name)
        if held is None:
            return None
        where = f"{self.body_name}[{name}]"
        return self._numbers(self._column_of([held] if (_flat(held) or 0) > 1 else held, where), where, 1)

    def genders(self) -> Column | None:
        """The column of genders: the body's, the file's or that of `meta`."""
        for where, held in ((self.body_name, self.body), ("meta", self.meta)):
            found = held.get("gender")
            if isinstance(found, list) or (isinstance(found, np.ndarray) and found.dtype.hasobject and found.ndim == 1):
                found = ["" if value is None else value for value in found]
            if found is not None:
                return self._column_of(found, f"{where}[gender]")
        return self.column("gender") if "gender" in self.npz else None

    def label_kinds(self) -> list[str] | None:
        """What files that this project exported say of each label: gt or pseudo. None for others."""
        kind = self.misc.get("label_kind")
        kinds = kind.tolist() if isinstance(kind, np.ndarray) and kind.ndim == 1 else kind
        if not isinstance(kinds, list) or len(kinds) != self.count:
            return None
        return kinds if all(kind in ("gt", "pseudo") for kind in kinds) else None

    @property
    def hands_relative(self) -> bool:
        """Whether the file itself says that its hands are relative to the mean hand."""
        return bool(isinstance(said := self.misc.get("hands"), str) and said == RELATIVE_HANDS)

    @cached_property
    def misc(self) -> dict[str, Any]:
        """What files may say beside: a dictionary, or nothing."""
        if "misc" not in self.npz:
            return {}
        try:
            return self._dictionary("misc")
        except DataError:
            return {}

    def _body_name(self, wanted: str | None) -> str | None:
        present = [name for name in BODIES if name in self.npz]
        if wanted in present:
            return wanted
        if wanted is not None and present:
            self.remarks.append(f"{self.name} has {present[0]} parameters, where {wanted} was expected: they are used.")
        return present[0] if present else None

    def _column_of(self, held: Any, where: str) -> Column:
        """Values as a column; what is given once is noted."""
        column = column_of(held, self.count, f"{self.name}, {where}", self.npz.work)
        if column.shared:
            self.given_once.append(where)
        return column

    def _dictionary(self, name: str) -> dict[str, Any]:
        held = self.npz.value(name)
        if isinstance(held, np.ndarray) and held.size == 1:
            held = held.reshape(-1)[0]
        if isinstance(held, np.ndarray) and held.size > 1 and isinstance(held.reshape(-1)[0], dict):
            raise DataError(
                f"{self.name}, {name}: it holds {held.size} dictionaries, one for each person. One dictionary of "
                "arrays is expected, with a row for each person in every array: stack them."
            )
        if not isinstance(held, dict) or not all(isinstance(key, str) for key in held):
            raise DataError(f"{self.name}, {name}: a dictionary of arrays is expected, as HumanData files have it.")
        return held

    def _keypoints(self, names: Sequence[str], dimensions: int) -> KeyPoints | None:
        present = [name for name in names if name in self.npz]
        if not present:
            return None
        name = present[0]
        shape = self.npz.header(name).shape if not self.npz.is_pickle(name) else self.column(name).shape
        where = f"{self.name}, {name}"
        if len(shape) != 3 or shape[2] not in (dimensions, dimensions + 1):
            raise DataError(
                f"{where}: (rows, key-points, {dimensions + 1}) is expected, with {dimensions} coordinates and a "
                f"confidence, not the shape {shape}."
            )
        self._agree(name, shape[0])
        mask = self._mask(name, f"keypoints{dimensions}d_mask", where)
        if mask is None:
            if shape[1] not in _COUNTS:
                raise DataError(
                    f"{where} has {shape[1]} key-points, and no {name}_mask that says which of the 190 they are."
                )
            mask = np.ones(shape[1], bool)
        if shape[1] not in (mask.size, int(mask.sum())):
            raise DataError(
                f"{where} has {shape[1]} key-points, where its mask speaks of {int(mask.sum())} of {mask.size}."
            )
        place = np.full(_COUNTS[0], -1)
        place[: mask.size][mask] = np.flatnonzero(mask) if shape[1] == mask.size else np.arange(mask.sum())
        return KeyPoints(name, shape[1], dimensions, place[place >= 0], place)

    def _mask(self, name: str, fallback: str, where: str) -> NDArray[np.bool_] | None:
        present = [key for key in (f"{name}_mask", fallback) if key in self.npz]
        if not present:
            return None
        held = self.npz.value(present[0])
        mask = np.asarray(held).reshape(-1)
        if mask.dtype.kind not in "biuf" or mask.size not in _COUNTS:
            raise DataError(f"{where}: {present[0]} should hold 190 zeros and ones, not {mask.size} {mask.dtype}.")
        return np.asarray(mask > 0)

    def _numbers(self, column: Column, name: str, fewest: int) -> Column:
        if column.is_text or int(np.prod(column.shape[1:])) < fewest:
            kind = "texts" if column.is_text else f"shape {column.shape}"
            raise DataError(f"{self.name}, {name}: {fewest} numbers or more are needed for each person, not {kind}.")
        return column

    def _length(self, name: str) -> int:
        shape = self.npz.header(name).shape
        if len(shape) != 1:
            raise DataError(f"{self.name}, {name}: one value for each person is expected, not the shape {shape}.")
        return int(shape[0])

    def _agree(self, name: str, length: int) -> None:
        if length != self.count:
            raise DataError(f"{self.name}: {name} has {length} rows, but image_path {self.count}. They must agree.")


def _flat(held: Any) -> int | None:
    """How many numbers a list or array without further axes has; None for anything else."""
    if isinstance(held, np.ndarray):
        return len(held) if held.ndim == 1 and held.dtype.kind in "biuf" else None
    return len(held) if isinstance(held, list) and all(isinstance(one, int | float) for one in held) else None
