"""Body parameters of a HumanData file, a dictionary of arrays, as ours: SMPL, SMPL-H or SMPL-X."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from models.skeleton import BETAS
from schemas.errors import DataError
from tasks.ingest.formats.humandata.block import Block, Values, sampled
from tasks.ingest.formats.humandata.file import HumanDataFile
from tasks.ingest.formats.humandata.variants import Options
from tasks.ingest.formats.json_rows import UNREADABLE
from tasks.ingest.people.rotations import IMPOSSIBLE_POSE, IN_MATRIX, SIX_D, axis_angles
from tasks.ingest.source.column import Column
from tasks.ingest.source.folder import printable

_BODY_POSE: Final = {"smplx": 63, "smplh": 63, "smpl": 69}
_FINGERS: Final = 45
_EXPRESSION: Final = 10
_NEUTRAL: Final = dict.fromkeys(("", "n", "none", "neutral", -1.0), "neutral")
_GENDERS: Final = _NEUTRAL | dict.fromkeys(("m", "male", 0.0), "male") | dict.fromkeys(("f", "female", 1.0), "female")
_FARTHEST_M: Final = 500.0


@dataclass(frozen=True)
class _Parameter:
    """An array of the body's dictionary."""

    name: str
    where: str
    """What errors and remarks call it: smpl[betas]."""
    column: Column

    @property
    def count(self) -> int:
        """Its numbers for each person."""
        return int(np.prod(self.column.shape[1:]))


@dataclass(frozen=True)
class _Vector:
    """A parameter of the file that becomes a column of ours."""

    name: str
    source: _Parameter
    taken: int
    """How many of the file's numbers are taken, the first ones."""
    length: int
    """How many ours has; what is missing is zero."""
    matrices: bool = False
    """The file has rotation matrices, row by row; `taken` and `length` count the axis-angles that they become."""

    def values(self, block: Block) -> Values:
        """(n, length) of a block; rows that are no rotations are refused."""
        numbers = block.numbers(self.source.column, self.source.where)
        if self.matrices:
            numbers = _axis_angles(block, numbers, self.source.where)
        numbers = numbers[:, : self.taken]
        return np.pad(numbers, ((0, 0), (0, self.length - numbers.shape[1])))


class HumanDataBody:
    """The body parameters of a file. Raises DataError for ones that give no body.

    `described` and `remarks` say what they are.
    """

    def __init__(self, file: HumanDataFile, options: Options) -> None:
        assert file.body_name is not None
        self.file, self.kind = file, file.body_name
        self.remarks: list[str] = []
        self.neutral_betas = file.body.get("betas_neutral") is not None and not options.gendered
        """Betas of the neutral body are taken in place of those of the person's gender."""
        self.zero_betas = options.zero_betas and self.kind != "smplx"
        self.hands_absolute = options.variant.hands_absolute and not file.hands_relative
        self.vectors = list(self._vectors())
        self.genders = None if self.neutral_betas else file.genders()
        if self.kind == "smplh":
            self.remarks.append(
                f"{file.name}: SMPL-H is read as SMPL without its fingers; its betas belong to a model of their own, "
                "so that zero_betas may be nearer."
            )
        betas = "zero" if self.zero_betas else "of the neutral body" if self.neutral_betas else "as given"
        self.described = f"{self.kind}, betas {betas}"

    def put(self, block: Block) -> None:
        """Give the rows of a block their body."""
        block.fill("body_model", self.model)
        for vector in self.vectors:
            with np.errstate(over="ignore", invalid="ignore"):
                block.put(vector.name, vector.values(block).astype(np.float32))
        if self.zero_betas:
            block.fill("betas", np.zeros(BETAS, np.float32))
        if any("_hand_" in vector.name for vector in self.vectors):
            block.fill("hands_absolute", self.hands_absolute)
        self._put_genders(block)

    def _put_genders(self, block: Block) -> None:
        if self.genders is None:
            block.fill("gender", "neutral")
            return
        if self.genders.is_text:
            values = block.texts(self.genders, "gender")
            keys: list[Any] = [text.strip().lower() for text in values]
        else:
            # one number a row, or what is refused below
            rows = block.numbers(self.genders, "gender").tolist()
            keys = values = [row[0] if len(row) == 1 else str(row) for row in rows]
        genders = [_GENDERS.get(key) for key in keys]
        for number, (value, gender) in enumerate(zip(values, genders, strict=True)):
            if gender is None:
                word = printable(str(value))[:40]
                block.refuse(number, UNREADABLE, f"gender: {word!r} is none of neutral, male, female")
        block.put("gender", genders)

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
        """The body is the one that the file's parameters describe, with their shape."""
        return not (self.zero_betas or self.neutral_betas or self.kind == "smplh")

    def _vectors(self) -> Iterator[_Vector]:
        yield self._rotations(self._needed("global_orient"), (3,))
        # of more joints than the model has, the first; SMPL with 21 joints has hands that don't turn
        yield self._rotations(self._needed("body_pose"), (63, 69), _BODY_POSE[self.kind])
        yield self._coefficients(self._needed("betas_neutral" if self.neutral_betas else "betas"), "betas", BETAS)
        if transl := self._parameter("transl"):
            yield self._translation(transl)
        if self.kind == "smplx":
            for name in ("left_hand_pose", "right_hand_pose"):
                if hand := self._parameter(name):
                    yield from self._hand(hand)
            if jaw := self._parameter("jaw_pose"):
                yield self._rotations(jaw, (3,))
            if face := self._parameter("expression"):
                yield self._coefficients(face, "expression", _EXPRESSION)

    def _parameter(self, name: str) -> _Parameter | None:
        column = self.file.parameter(name)
        return None if column is None else _Parameter(name, f"{self.kind}[{name}]", column)

    def _needed(self, name: str) -> _Parameter:
        parameter = self._parameter(name)
        if parameter is None:
            raise DataError(
                f"{self.file.name}, {self.kind}: its dictionary lacks {name}, without which there is no body."
            )
        return parameter

    def _rotations(self, source: _Parameter, counts: Sequence[int], taken: int | None = None) -> _Vector:
        """Rotations as axis-angles, `counts` numbers a person, or as matrices, three times as many."""
        matrices = source.count in [IN_MATRIX * count for count in counts]
        if source.count not in counts and not matrices:
            expected = " or ".join(map(str, counts))
            six = source.count in [SIX_D * count for count in counts]
            raise self._error(
                source,
                f"{expected} numbers (axis-angles) or {IN_MATRIX} times as many (matrices)",
                "; they look like 6D rotations: turn them into matrices" if six else "",
            )
        if matrices:
            self._remark(source, "has rotation matrices, read as what they are.")
        return _Vector(source.name, source, taken or counts[0], counts[-1], matrices)

    def _hand(self, source: _Parameter) -> Iterator[_Vector]:
        """A hand's 15 rotations, or the first components of its PCA. What is neither leaves the hand unknown, and the
        body as it is."""
        if source.count in (_FINGERS, IN_MATRIX * _FINGERS):
            yield self._rotations(source, (_FINGERS,))
        elif source.count < _FINGERS:
            self._remark(
                source, f"has {source.count} numbers a hand, read as the first components of the body file's hand PCA."
            )
            name = source.name.replace("_pose", "_pca")
            yield _Vector(name, source, source.count, source.count)
        else:
            self._remark(
                source,
                f"has {source.count} numbers a hand, which are no rotations of 15 joints: they are NOT read, and the "
                f"hands count as unknown. Write {_FINGERS} numbers (axis-angles) to have them.",
            )

    def _coefficients(self, source: _Parameter, name: str, count: int) -> _Vector:
        """The first `count` coefficients of shape or face; what a file leaves out is zero."""
        if source.count > count and not (name == "betas" and self.zero_betas):
            self._remark(source, _cut(source, count))
        elif source.count < count:
            self._remark(source, f"has {source.count} numbers a person; the others are 0.")
        return _Vector(name, source, min(source.count, count), count)

    def _translation(self, source: _Parameter) -> _Vector:
        if source.count != 3:
            raise self._error(source, "3 numbers")
        with np.errstate(over="ignore", invalid="ignore"):
            far = np.linalg.norm(sampled(source.column).reshape(-1, 3), axis=1)
        far = far[np.isfinite(far)]
        if len(far) and np.median(far) > _FARTHEST_M:
            raise DataError(
                f"{self.file.name}, {source.where}: people are {np.median(far):.0f} m from the camera, if lengths "
                "are in metres. Convert it from millimetres to metres."
            )
        return _Vector("transl", source, 3, 3)

    def _remark(self, source: _Parameter, words: str) -> None:
        self.remarks.append(f"{self.file.name}: {source.where} {words}")

    def _error(self, source: _Parameter, expected: str, hint: str = "") -> DataError:
        return DataError(
            f"{self.file.name}, {source.where}: {expected} are expected for each person, not {source.count} (its "
            f"shape is {source.column.shape}){hint}."
        )


def _cut(source: _Parameter, count: int) -> str:
    """What is lost of coefficients of which the tables, bodies and networks know the first `count` only."""
    rest = np.abs(sampled(source.column).reshape(-1, source.count)[:, count:])
    lost = int((rest > 0).any(1).sum())
    loss = (
        f"Of {len(rest):,} people looked at, {lost:,} have others than 0 there, up to {np.nanmax(rest):.3g}: their "
        "bodies are not quite the file's."
        if lost
        else "They are 0 in all people looked at, so nothing is lost."
    )
    return (
        f"has {source.count} numbers a person; the first {count} are taken and {source.count - count} are CUT, because "
        f"the tables know {count}. {loss}"
    )


def _axis_angles(block: Block, numbers: Values, where: str) -> Values:
    """Rotation matrices (n, 9 J) as axis-angles (n, 3 J); rows with a matrix that is no rotation are refused."""
    vectors, proper = axis_angles(numbers.reshape(len(numbers), -1, 3, 3))
    for number in np.flatnonzero(~proper.all(1)):
        at = int(np.flatnonzero(~proper[number])[0])
        block.refuse(int(number), IMPOSSIBLE_POSE, f"{where}: matrix {at} is no rotation")
    return vectors.reshape(len(numbers), -1)
