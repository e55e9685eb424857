"""Body parameters of a HumanData file: SMPL, SMPL-H or SMPL-X, as a dictionary of arrays."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from models.skeleton import BETAS
from schemas.errors import DataError
from tasks.ingest.column import Column
from tasks.ingest.folder import printable
from tasks.ingest.formats.humandata_block import NOT_READABLE, Block, sampled
from tasks.ingest.formats.humandata_file import HumanDataFile
from tasks.ingest.formats.humandata_variants import Options

_BODY_POSE: Final = {"smplx": 63, "smplh": 63, "smpl": 69}
_FINGERS: Final = 45
_GENDERS: Final = {"": "neutral", "n": "neutral", "m": "male", "f": "female"}
_GENDER_WORDS: Final = {"none": "neutral", "neutral": "neutral", "male": "male", "female": "female"} | _GENDERS
_GENDERS_BY_NUMBER: Final = {-1.0: "neutral", 0.0: "male", 1.0: "female"}
_FARTHEST_M: Final = 500.0


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
        block.put("body_model", ["smplx" if self.kind == "smplx" else "smpl"] * count)
        for vector in self.vectors:
            values = block.numbers(vector.column, vector.where)[:, : vector.taken]
            with np.errstate(over="ignore", invalid="ignore"):
                padded = np.pad(values, ((0, 0), (0, vector.length - values.shape[1]))).astype(np.float32)
            block.put(vector.name, padded)
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

    def _vectors(self) -> list[_Vector]:
        pose = _BODY_POSE[self.kind]
        betas = "betas_neutral" if self.neutral_betas else "betas"
        found = [
            self._vector("global_orient", (3,)),
            # of more joints than the model has, the first; SMPL with 21 joints has hands that don't turn
            self._vector("body_pose", (63, 69), taken=pose, length=69),
            self._vector("betas", (BETAS,), theirs=betas, longer=True),
            self._vector("transl", (3,), needed=False),
        ]
        if self.kind == "smplx":
            found += [
                self._vector("left_hand_pose", (_FINGERS,), needed=False),
                self._vector("right_hand_pose", (_FINGERS,), needed=False),
                self._vector("jaw_pose", (3,), needed=False),
                self._vector("expression", (10,), needed=False, longer=True),
            ]
        return [vector for vector in found if vector is not None]

    def _vector(
        self,
        name: str,
        counts: tuple[int, ...],
        *,
        theirs: str | None = None,
        taken: int | None = None,
        length: int | None = None,
        longer: bool = False,
        needed: bool = True,
    ) -> _Vector | None:
        theirs = theirs or name
        where = f"{self.kind}[{theirs}]"
        column = self.file.parameter(theirs, counts, longer)
        if column is not None:
            return _Vector(name, where, column, taken or counts[0], length or counts[0])
        if needed:
            raise DataError(
                f"{self.file.name}, {self.kind}: its dictionary lacks {theirs}, without which there is no body."
            )
        return None

    def _check_translations(self) -> None:
        column = next((vector.column for vector in self.vectors if vector.name == "transl"), None)
        if column is None:
            self.remarks.append(f"{self.file.name}: no transl, so that nothing says how far away people are.")
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
