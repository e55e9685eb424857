"""Human3.6M's 17 joints of synthetic people, which are labelled with the 29: those of equal names, else the nearest."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from tasks.synthesize.samples.truth import TruePerson

NEAREST: Final[tuple[int, ...]] = (0, 2, 5, 8, 1, 4, 7, 6, 12, 15, 24, 16, 18, 20, 17, 19, 21)
"""For each of the 17, in the order of the regressor (right leg first), the joint among the 29."""


def seventeen(person: TruePerson) -> NDArray[np.float64]:
    """(17, 3) metres, in the camera frame."""
    return person.label.joints[list(NEAREST)].astype(np.float64)
