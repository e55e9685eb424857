"""Body parameters of a HumanData file: SMPL, SMPL-H or SMPL-X, as a dictionary of arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from scipy.spatial.transform import Rotation

from models.skeleton import BETAS
from schemas.errors import DataError
from tasks.ingest.formats.humandata.block import NOT_READABLE, Block, Values, sampled
from tasks.ingest.formats.humandata.file import HumanDataFile
from tasks.ingest.formats.humandata.variants import Options
from tasks.ingest.source.column import Column
from tasks.ingest.source.folder import printable

_BODY_POSE: Final = {"smplx": 63, "smplh": 63, "smpl": 69}
_FINGERS: Final = 45
_EXPRESSION: Final = 10
_IN_MATRIX: Final = 3
"""Numbers of a rotation matrix over those of an axis-angle."""
_SIX_D: Final = 2
_ROTATION_ERROR: Final = 1e-2
"""By which the rows of a rotation matrix may miss unit length and right angles."""
_GENDERS: Final = {"": "neutral", "n": "neutral", "m": "male", "f": "female"}
_GENDER_WORDS: Final = {"none": "neutral", "neutral": "neutral", "male": "male", "female": "female"} | _GENDERS
_GENDERS_BY_NUMBER: Final = {-1.0: "neutral", 0.0: "male", 1.0: "female"}
_FARTHEST_M: Final = 500.0
IMPOSSIBLE_POSE: Final = "impossible pose"


@dataclass(frozen=True)
class _Vector:
    """A column of the file that becomes one of ours."""

    name: str
    where: str
    column: Column
    taken: int
    """How many of the file's numbers are taken, the first ones."""
    length: int
    """How many ours has; what is missing is zero."""
    matrices: bool = False
    """The file has rotation matrices, row by row; `taken` and `length` count the axis-angles that they become."""

    def values(self, block: Block) -> Values:
        """(n, length) of a block; rows that are no rotations are refused."""
        held = block.numbers(self.column, self.where)
        if self.matrices:
            held = _axis_angles(block, held, self.where)
        held = held[:, : self.taken]
        return np.pad(held, ((0, 0), (0, self.length - held.shape[1])))


class HumanDataBody:
    """The body parameters of a file. Raises DataError for ones that no body can be made of.

    `described` and `remarks` say what was found.
    """

    def __init__(self, file: HumanDataFile, options: Options) -> None:
        assert file.body_name is not None
        self.file, self.kind = file, file.body_name
        self.remarks: list[str] = []
        self.neutral_betas = file.body.get("betas_neutral") is not None and not options.gendered
        """Betas of the neutral body are taken in place of those of the person's gender."""
        self.zero_betas = options.zero_betas and self.kind != "smplx"
        self.hands_absolute = options.variant.hands_absolute and not file.hands_relative
        self.vectors = self._vectors()
        self.genders = None if self.neutral_betas else file.genders()
        self._check_translations()
        if self.kind == "smplh":
            self.remarks.append(
                f"{file.name}: SMPL-H is read as SMPL without its fingers; its betas belong to a model of their own, "
                "so that zero_betas may be nearer."
            )
        betas = "zero" if self.zero_betas else "of the neutral body" if self.neutral_betas else "as given"
        self.described = f"{self.kind}, betas {betas}"

    def put(self, block: Block) -> None:
        """Give the rows of a block their body."""
        count = len(block.rows)
        block.put("body_model", [self.model] * count)
        for vector in self.vectors:
            with np.errstate(over="ignore", invalid="ignore"):
                block.put(vector.name, vector.values(block).astype(np.float32))
        if self.zero_betas:
            block.put("betas", [np.zeros(BETAS, np.float32)] * count)
        if any(vector.name.endswith("hand_pose") for vector in self.vectors):
            block.put("hands_absolute", [self.hands_absolute] * count)
        self._put_genders(block)

    def _put_genders(self, block: Block) -> None:
        if self.genders is None:
            block.put("gender", ["neutral"] * len(block.rows))
            return
        found: list[Any]
        if self.genders.is_text:
            found = block.texts(self.genders, "gender")
            meanings = [_GENDER_WORDS.get(text.strip().lower()) for text in found]
        else:
            # one number a row, or what is refused below
            found = [row[0] if len(row) == 1 else row for row in block.numbers(self.genders, "gender").tolist()]
            meanings = [_GENDERS_BY_NUMBER.get(code) if isinstance(code, float) else None for code in found]
        for number, (value, meaning) in enumerate(zip(found, meanings, strict=True)):
            if meaning is None:
                seen = printable(str(value))[:40]
                block.refuse(number, NOT_READABLE, f"gender: {seen!r} is none of neutral, male, female")
        block.put("gender", meanings)

    @property
    def model(self) -> str:
        """Of the tables: SMPL-H is taken as SMPL."""
        return "smplx" if self.kind == "smplx" else "smpl"

    @property
    def placed(self) -> bool:
        """The file says where people are."""
        return any(vector.name == "transl" for vector in self.vectors)

    @property
    def as_given(self) -> bool:
        """The body is the one that the file's parameters speak of, with their shape."""
        return not (self.zero_betas or self.neutral_betas or self.kind == "smplh")

    def _vectors(self) -> list[_Vector]:
        pose = _BODY_POSE[self.kind]
        found = [
            self._rotations("global_orient", (3,)),
            # of more joints than the model has, the first; SMPL with 21 joints has hands that don't turn
            self._rotations("body_pose", (63, 69), taken=pose, length=69),
            self._coefficients("betas", BETAS, theirs="betas_neutral" if self.neutral_betas else "betas"),
            self._translation(),
        ]
        if self.kind == "smplx":
            found += [
                self._hand("left_hand_pose"),
                self._hand("right_hand_pose"),
                self._rotations("jaw_pose", (3,), needed=False),
                self._coefficients("expression", _EXPRESSION, needed=False),
            ]
        return [vector for vector in found if vector is not None]

    def _rotations(
        self,
        name: str,
        counts: Sequence[int],
        *,
        taken: int | None = None,
        length: int | None = None,
        needed: bool = True,
    ) -> _Vector | None:
        """Rotations as axis-angles, `counts` numbers a person, or as matrices, three times as many."""
        column = self._parameter(name, needed)
        if column is None:
            return None
        found = _numbers_of(column)
        matrices = found in [_IN_MATRIX * count for count in counts]
        if found not in counts and not matrices:
            six = found in [_SIX_D * count for count in counts]
            raise self._error(
                name,
                column,
                f"{' or '.join(map(str, counts))} numbers (axis-angles) or {_IN_MATRIX} times as many (matrices)",
                "; they look like 6D rotations: turn them into matrices" if six else "",
            )
        if matrices:
            self.remarks.append(f"{self.file.name}: {self._where(name)} has rotation matrices, read as what they are.")
        return _Vector(name, self._where(name), column, taken or counts[0], length or counts[0], matrices)

    def _hand(self, name: str) -> _Vector | None:
        """A hand's 15 rotations. What is no such thing leaves the hand unknown, and the body as it is."""
        column = self._parameter(name, needed=False)
        if column is None or _numbers_of(column) in (_FINGERS, _IN_MATRIX * _FINGERS):
            return self._rotations(name, (_FINGERS,), needed=False)
        found = _numbers_of(column)
        what = "components of a hand's PCA" if found < _FINGERS else "no rotations of 15 joints"
        self.remarks.append(
            f"{self.file.name}: {self._where(name)} has {found} numbers a hand, which are {what}: they are NOT read, "
            f"and the hands count as unknown. Write {_FINGERS} numbers (axis-angles) to have them."
        )
        return None

    def _coefficients(self, name: str, count: int, *, theirs: str | None = None, needed: bool = True) -> _Vector | None:
        """The first `count` coefficients of shape or face; what a file leaves out is zero."""
        theirs = theirs or name
        column = self._parameter(theirs, needed)
        if column is None:
            return None
        found = _numbers_of(column)
        if found > count and not (name == "betas" and self.zero_betas):
            self.remarks.append(self._cut(theirs, column, count))
        elif found < count:
            self.remarks.append(
                f"{self.file.name}: {self._where(theirs)} has {found} numbers a person; the others are 0."
            )
        return _Vector(name, self._where(theirs), column, min(found, count), count)

    def _translation(self) -> _Vector | None:
        column = self._parameter("transl", needed=False)
        if column is None:
            return None
        if _numbers_of(column) != 3:
            raise self._error("transl", column, "3 numbers")
        return _Vector("transl", self._where("transl"), column, 3, 3)

    def _cut(self, theirs: str, column: Column, count: int) -> str:
        """What is lost of coefficients of which the tables, bodies and networks know the first `count` only."""
        rest = np.abs(sampled(column).reshape(-1, _numbers_of(column))[:, count:])
        lost = int((rest > 0).any(1).sum())
        found = _numbers_of(column)
        told = (
            f"of {len(rest):,} people looked at, {lost:,} have others than 0 there, up to {np.nanmax(rest):.3g}: their "
            "bodies are not quite the file's"
            if lost
            else "they are 0 in all people looked at, so nothing is lost"
        )
        return (
            f"{self.file.name}: {self._where(theirs)} has {found} numbers a person; the first {count} are taken and "
            f"{found - count} are CUT, because the tables know {count}. {told[0].upper()}{told[1:]}."
        )

    def _parameter(self, name: str, needed: bool) -> Column | None:
        column = self.file.parameter(name)
        if column is None and needed:
            raise DataError(
                f"{self.file.name}, {self.kind}: its dictionary lacks {name}, without which there is no body."
            )
        return column

    def _error(self, name: str, column: Column, expected: str, hint: str = "") -> DataError:
        return DataError(
            f"{self.file.name}, {self._where(name)}: {expected} are expected for each person, not "
            f"{_numbers_of(column)} (its shape is {column.shape}){hint}."
        )

    def _where(self, name: str) -> str:
        return f"{self.kind}[{name}]"

    def _check_translations(self) -> None:
        column = next((vector.column for vector in self.vectors if vector.name == "transl"), None)
        if column is None:
            return
        sample = sampled(column).reshape(-1, 3)
        with np.errstate(over="ignore", invalid="ignore"):
            far = np.linalg.norm(sample, axis=1)
        far = far[np.isfinite(far)]
        if len(far) and np.median(far) > _FARTHEST_M:
            raise DataError(
                f"{self.file.name}, {self.kind}[transl]: people are {np.median(far):.0f} m from the camera, if lengths "
                "are in metres. Convert it from millimetres to metres."
            )


def _numbers_of(column: Column) -> int:
    return int(np.prod(column.shape[1:]))


def _axis_angles(block: Block, held: Values, where: str) -> Values:
    """Rotation matrices (n, 9 J) as axis-angles (n, 3 J); rows with a matrix that is no rotation are refused."""
    matrices = held.reshape(len(held), -1, 3, 3)
    with np.errstate(over="ignore", invalid="ignore"):
        off = np.abs(matrices @ np.swapaxes(matrices, -1, -2) - np.eye(3)).max((-1, -2))
        proper = (off <= _ROTATION_ERROR) & (np.linalg.det(np.nan_to_num(matrices)) > 0)
    for number in np.flatnonzero(~proper.all(1)):
        at = int(np.flatnonzero(~proper[number])[0])
        block.refuse(int(number), IMPOSSIBLE_POSE, f"{where}: matrix {at} is no rotation")
    whole = np.where(proper[..., None, None], matrices, np.eye(3))
    return Rotation.from_matrix(whole.reshape(-1, 3, 3)).as_rotvec().reshape(len(held), -1)
