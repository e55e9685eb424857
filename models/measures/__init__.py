"""What many hypotheses of a person are worth together, and where on a body errors lie: arrays in, a number a person."""

from typing import Final

MM_PER_M: Final = 1000.0
