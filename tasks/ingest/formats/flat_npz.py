"""An .npz with a plain array for everything and a row for each person, whose box is a centre and a scale: what SPIN
began and much of the field goes on with.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from models.skeleton import BETAS
from schemas.errors import DataError
from tasks.ingest.formats import json_rows
from tasks.ingest.formats.humandata.block import Block, Values, sampled
from tasks.ingest.people.keypoints import JOINTS_29, converted, names_of
from tasks.ingest.source.column import Column, column_of
from tasks.ingest.source.folder import printable
from tasks.ingest.source.npz_columns import Npz

PLACE: Final = ("imgname", "center", "scale")
"""Members that every such file has."""
ENLARGED: Final = 1.2
"""The square of a file is so much larger than the box around the person's joints, which is ours."""
CROP_SCALE: Final = 1.25
_UNIT_PX: Final = 200.0
"""Of the scale, in most files."""
_LARGEST_SCALE: Final = 20.0
"""In that unit nobody fills so much of a picture; a file whose scales are larger has them in pixels."""
_FOUND: Final = {"n": "neutral", "neutral": "neutral", "m": "male", "male": "male", "f": "female", "female": "female"}


class FlatNpz:
    """One file: its columns, looked at when they are first used. DataError for a file that is none.

    `remarks` are what a user should know of it.
    """

    def __init__(self, npz: Npz, needed: Sequence[str], format_name: str) -> None:
        self.npz, self.name = npz, npz.name
        self.remarks: list[str] = []
        self._columns: dict[str, Column] = {}
        missing = [key for key in (*PLACE, *needed) if key not in npz]
        if missing:
            members = ", ".join(printable(name) for name in npz.names[:20]) or "nothing"
            raise DataError(
                f"{self.name} lacks {' and '.join(missing)}; it holds {members}. Check that --format {format_name} is "
                "right for it."
            )
        shape = npz.header("imgname").shape
        if len(shape) != 1:
            raise DataError(f"{self.name}, imgname: one path for each person is expected, not the shape {shape}.")
        self.count = shape[0]
        if self.count and not self.column("imgname").is_text:
            raise DataError(f"{self.name}, imgname: texts are expected.")
        self.numbers("center", 2)
        scales = np.abs(sampled(self.numbers("scale", 1, 2)))
        scales = scales[np.isfinite(scales)]
        self.in_pixels = bool(scales.size and np.median(scales) > _LARGEST_SCALE)

    def __contains__(self, name: object) -> bool:
        return name in self.npz

    def column(self, name: str) -> Column:
        """A member with a row for each person."""
        if name not in self._columns:
            if self.npz.is_pickle(name):
                self._columns[name] = column_of(self.npz.value(name), self.count, f"{self.name}, {name}", self.npz.work)
            else:
                column = self.npz.column(name)
                if len(column) != self.count:
                    raise DataError(
                        f"{self.name}: {name} has {len(column)} rows, but imgname {self.count}. They must agree."
                    )
                self._columns[name] = column
        return self._columns[name]

    def numbers(self, name: str, *counts: int, at_least: bool = False) -> Column:
        """A member with so many numbers for each person, one of `counts` (or `at_least` the only one)."""
        column = self.column(name)
        count = int(np.prod(column.shape[1:]))
        fits = count >= counts[0] if at_least else count in counts
        if column.is_text or (self.count and not fits):
            kind = "texts" if column.is_text else f"{count} (its shape is {column.shape})"
            expected = " or ".join(map(str, counts)) + (" or more" if at_least else "")
            raise DataError(f"{self.name}, {name}: {expected} numbers are expected for each person, not {kind}.")
        return column

    def first(self, names: Sequence[str], *counts: int, at_least: bool = False) -> Column | None:
        """The first of some members that is there."""
        name = next((name for name in names if name in self.npz), None)
        return None if name is None else self.numbers(name, *counts, at_least=at_least)

    def points(self, names: Sequence[str], counts: Sequence[int], widths: Sequence[int]) -> tuple[Column, int] | None:
        """The first of some members that is there, of key-points (rows, points, numbers), and how many points it has.

        None, and a remark, for one with other counts.
        """
        name = next((name for name in names if name in self.npz), None)
        if name is None:
            return None
        column = self.column(name)
        if len(column.shape) == 3 and column.shape[1] in counts and column.shape[2] in widths and not column.is_text:
            return column, column.shape[1]
        expected = " or ".join(map(str, counts))
        self.remarks.append(
            f"{self.name}: {name} has the shape {column.shape}, where (rows, {expected}, {widths[-1]}) is known: these "
            "key-points are NOT read."
        )
        return None

    def betas(self, names: Sequence[str]) -> Column | None:
        """Shapes; that more than ten numbers are cut is a remark."""
        column = self.first(names, BETAS, at_least=True)
        if column is not None:
            rest = [more for row in sampled(column) if (more := json_rows.beyond(row, BETAS)) is not None]
            cut = json_rows.cut_words("shapes", rest)
            self.remarks += [f"{self.name}: {cut}"] if cut else []
        return column

    def put_place(self, block: Block, first: int, folder: str = "") -> None:
        """Numbers, picture and box of a block's rows. `first` is the number of the file's first row in the source."""
        numbers = range(first + block.start, first + block.stop)
        block.put("row", numbers)
        block.put("counts_as", numbers)
        block.put("origin", [f"{self.name}, row {row}" for row in range(block.start, block.stop)])
        names = block.texts(self.column("imgname"), "imgname")
        block.put("path", [f"{folder}{name}" if name else name for name in names])
        centres = block.numbers(self.column("center"), "center")
        sides = block.numbers(self.column("scale"), "scale") * (1 if self.in_pixels else _UNIT_PX) / ENLARGED
        sides = np.broadcast_to(sides, (len(centres), 2)) if sides.shape[1] == 1 else sides
        for number in np.flatnonzero(~(sides >= 1).all(1)):
            size = " x ".join(f"{side:g}" for side in sides[number])
            block.refuse(int(number), "box without area", f"scale: a box of {size} pixels")
        block.put("box", np.concatenate([centres - sides / 2, sides], 1))
        block.fill("box_per_joints", 1.0)
        block.fill("crop_scale", CROP_SCALE)

    def genders(self) -> Column | None:
        """Genders as texts, if the file has any. DataError for others."""
        if "gender" not in self.npz:
            return None
        column = self.column("gender")
        if self.count and not column.is_text:
            raise DataError(f"{self.name}, gender: texts are expected, such as m, f or neutral.")
        return column

    def put_genders(self, block: Block) -> None:
        """The gender of a block's rows; neutral where the file has none."""
        column = self.genders()
        if column is None:
            block.fill("gender", "neutral")
            return
        words = block.texts(column, "gender")
        genders = [_FOUND.get(word.strip().lower()) for word in words]
        for number, (word, gender) in enumerate(zip(words, genders, strict=True)):
            if gender is None:
                shown = printable(word)[:40]
                block.refuse(number, json_rows.UNREADABLE, f"gender: {shown!r} is none of neutral, male, female")
        block.put("gender", genders)

    def put_betas(self, block: Block, column: Column, where: str) -> None:
        """The first ten coefficients of shape."""
        block.put("betas", as_vectors(block.numbers(column, where)[:, :BETAS]))


def as_vectors(values: Values) -> Any:
    """Values as the columns of ANNOTATIONS hold them; of rows that are refused they may be anything."""
    with np.errstate(over="ignore", invalid="ignore"):
        return values.astype(np.float32)


def seen_points(block: Block, column: Column, where: str, dimensions: int) -> Values:
    """Key-points (n, K, dimensions) of a column (rows, K, dimensions or one more, the confidence): NaN where there is
    no confidence. Rows that are not readable are refused, as are points that are not finite and count."""
    part = Block(block.start, block.stop)
    stored = part.numbers(column, where, json_rows.POINT_COUNT).reshape(len(block.rows), *column.shape[1:])
    points = stored[..., :dimensions].copy()
    if stored.shape[2] > dimensions:
        points[~(stored[..., dimensions] > 0)] = np.nan
        valid = stored[..., dimensions] > 0
        with np.errstate(over="ignore", invalid="ignore"):
            finite = np.isfinite(stored.astype(np.float32)).all(2)
        good = np.asarray((finite | ~valid).all(1))
    else:
        good = np.zeros(len(stored), bool)
    for number, (reason, detail) in part.refusals.items():
        if reason != json_rows.NOT_FINITE or not good[number]:
            block.refuse(number, reason, detail)
    return points


def by_name(points: Values, convention: str) -> Values:
    """Points (n, K, D), the first of a convention, as the 29 joints of equal names; NaN for the others."""
    return converted(filled(points, convention), convention, JOINTS_29)


def filled(points: Values, convention: str) -> Values:
    """Points with NaN for those of the convention that a file leaves out at the end."""
    missing = len(names_of(convention)) - points.shape[1]
    return np.pad(points, ((0, 0), (0, missing), (0, 0)), constant_values=np.nan)
