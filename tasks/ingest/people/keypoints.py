"""Key-points by their names: which column of one convention is which of another.

The lists are mmhuman3d's (Apache-2.0). Conversion copies the points whose names are equal, and knows nothing of the
others. Equal names are no equal places: of the policy's 29 joints, 15, 22, 23 and 24 are the jaw, the thumbs and the
head by name, where the body model has the head, the hands and the top of the head.
"""

import functools
import json
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

HUMAN_DATA: Final = "human_data"
"""The 190 columns of HumanData; the first 144 are SMPL-X's."""
JOINTS_29: Final = "hybrik_29"
"""The policy's joints, `models.skeleton`, by name."""
HUMAN36M: Final = "h36m_mmpose"
"""Human3.6M's 17 in the order of the regressor (right leg first); the list `h36m` has the left leg first."""
OTHER_PLACE: Final[tuple[int, ...]] = (15, 22, 23, 24)
"""Those of the 29 that have another place by name than by body model."""
BY_NAMES, BY_BODY, BY_MODEL = "names", "body", "model"
"""The values of `joints_by` in `tasks.ingest.people.annotations`: key-points of equal names, the 29 of a body, and
key-points of equal names that the body beside them gave."""


@functools.cache
def conventions() -> dict[str, list[str]]:
    """The key-points of each convention, by its name."""
    lists: dict[str, dict[str, list[str]]] = json.loads((Path(__file__).parent / "keypoints.json").read_text())
    return lists["conventions"]


def names_of(convention: str) -> tuple[str, ...]:
    """The key-points of a convention, in its order. KeyError for one that isn't known."""
    return tuple(conventions()[convention])


@functools.cache
def places(source: str, wanted: str) -> tuple[int, ...]:
    """The column of `source` (the first, where a name repeats) for each point of `wanted`; -1: it has none."""
    names = names_of(source)
    return tuple(names.index(name) if name in names else -1 for name in names_of(wanted))


def converted(points: NDArray[Any], source: str, wanted: str) -> NDArray[np.float64]:
    """Points (..., K, D) of one convention in another (..., J, D); NaN for those that no name gives."""
    chosen = np.array(places(source, wanted))
    points = np.asarray(points, np.float64)[..., chosen, :]
    points[..., chosen < 0, :] = np.nan
    return points
