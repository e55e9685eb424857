"""The measures: what each is called, what it means, and which numbers of people it is made of.

A measure is a mean over people, or the root of the ratio of two means; a row here is all that the stage `measures`, the
report, the browser and `adhmr compare` know of it. `tasks.measures.columns` has the numbers of people.
"""

from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.measures.limbs import PARTS
from models.measures.samples import BEST_OF
from tasks.rows.metrics import DIVERSITY

Floats = NDArray[np.float64]
Better = Literal["lower", "higher", "neither"]

LEVELS: Final = (50, 90)
"""Central intervals whose coverage is measured, in %."""
SIGHTS: Final = {
    "seen": "in the picture that no other part of the body hides",
    "hidden": "in the picture that another part of the same body hides from the camera",
    "outside": "outside of the picture",
}
"""Joints by what a picture shows of them, as the label has it."""


class Measure(NamedTuple):
    """A row of the table."""

    name: str
    title: str
    unit: str
    """mm, px, % or 1."""
    better: Better
    text: str
    """What it is, in a sentence."""
    columns: tuple[str, ...] = ()
    """Its numbers of people, by name; its own name if not given. Of two the root of the ratio of their means counts."""
    is_relative: bool = True
    """Whether it changes in %; what is a share or a ratio, or often 0, changes by a difference."""

    @property
    def of(self) -> tuple[str, ...]:
        """The names of its numbers of people."""
        return self.columns or (self.name,)

    @property
    def change_unit(self) -> str:
        """The unit of a change."""
        return "%" if self.is_relative else "percentage points" if self.unit == "%" else self.unit

    def value(self, means: Floats) -> Floats:
        """(R,) of the means (columns, R) of its numbers."""
        return means[0] if len(means) == 1 else np.sqrt(means[0] / means[1])

    def change(self, before: Floats, after: Floats) -> Floats:
        """(R,) in `change_unit`, of the means (columns, R) before and after."""
        old, new = self.value(before), self.value(after)
        return (new / old - 1) * 100 if self.is_relative else new - old


def _both(name: str, title: str, unit: str, what: str, is_relative: bool = True) -> list[Measure]:
    """A measure of the zero-noise sample, and as the mean of the random ones."""
    kinds = (("zero_noise", "zero-noise"), ("expected", "expected"))
    return [
        Measure(f"{kind}_{name}", f"{words} {title}", unit, "lower", what, is_relative=is_relative)
        for kind, words in kinds
    ]


def _share(name: str, title: str, better: Better, what: str, *columns: str) -> Measure:
    return Measure(name, title, "1", better, what, columns, is_relative=False)


NEW: Final[tuple[Measure, ...]] = (
    *(
        Measure(
            f"best_of_{size}_{error}",
            f"best of {size} {error.upper()}",
            "mm",
            "lower",
            f"least error among {size} random samples: the mean over all choices of {size} of those drawn",
        )
        for error in ("mpvpe", "mpjpe")
        for size in BEST_OF
    ),
    Measure(
        "energy_score",
        "energy score",
        "mm",
        "lower",
        "mean distance of the samples from the label, less half their distance from each other, over the 24 joints",
    ),
    _share(
        "depth_order",
        "limbs in the right order of depth",
        "higher",
        "share of limbs and samples whose nearer end is the label's, of limbs whose ends differ by 12 cm in depth",
    ),
    _share(
        "depth_mode",
        "samples with all limbs in the right order of depth",
        "higher",
        "share of the samples of which all these limbs are right",
    ),
    _share(
        "spread_over_error",
        "spread over error",
        "neither",
        "root mean square spread of the samples over that of their mean's error; 1 is calibrated, below it is too sure",
        "spread_squared",
        "error_squared",
    ),
    *(
        _share(
            f"coverage_{level}",
            f"coverage of the central {level} %",
            "neither",
            f"share of coordinates of joints whose label lies in the central {level} % of the samples; "
            f"{level / 100:g} is calibrated",
        )
        for level in LEVELS
    ),
    *(row for part in PARTS for row in _both(f"{part}_mpjpe", f"MPJPE, {part}", "mm", f"MPJPE of the {part} alone")),
    *(
        row
        for sight, words in SIGHTS.items()
        for row in _both(f"{sight}_mpjpe", f"MPJPE, {sight} joints", "mm", f"MPJPE of the joints {words}")
    ),
    *_both("reprojection", "reprojection", "px", "mean distance of the 24 joints from the label's in the crop"),
    *_both(
        "beyond_limits",
        "bodies beyond joint limits",
        "%",
        "bodies with a joint that is turned further than joints go",
        is_relative=False,
    ),
    *_both(
        "penetration",
        "self-penetration",
        "mm",
        "how deep the two limbs, as slim capsules, lie in each other that do so most; 0 where none do",
        is_relative=False,
    ),
)
"""Those of the stage `measures`; `compare` has written those below since before there were others."""

_FIGURES: Final = (
    ("zero_noise", "zero-noise", "error of the sample that starts from zero noise"),
    ("expected", "expected", "mean error of the random samples"),
    ("best_of_m", "best of M", "least error of all random samples"),
    ("selected", "selected", "error of the random sample that the scorer prefers"),
)
COMPARED: Final[tuple[Measure, ...]] = (
    *(
        Measure(f"{figure}_{error}", f"{words} {spelled}", "mm", "lower", text)
        for figure, words, text in _FIGURES
        for error, spelled in (("mpvpe", "MPVPE"), ("mpjpe", "MPJPE"), ("pa_mpjpe", "PA-MPJPE"))
    ),
    Measure(DIVERSITY, "diversity", "mm", "neither", "how far the random samples lie apart"),
)
MEASURES: Final = {measure.name: measure for measure in (*COMPARED, *NEW)}
"""All of them by name, in the order of tables."""
