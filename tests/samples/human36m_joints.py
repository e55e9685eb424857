"""Human3.6M's 17 joints of synthetic people, which are labelled with the 29: those of equal names, else the nearest."""

import numpy as np
from numpy.typing import NDArray

from models.joint_sets import HUMAN36M_OF_29
from tests.samples.truth import TruePerson


def seventeen(person: TruePerson) -> NDArray[np.float64]:
    """(17, 3) metres, in the camera frame, in the order of the regressor (right leg first)."""
    return person.label.joints[list(HUMAN36M_OF_29)].astype(np.float64)
