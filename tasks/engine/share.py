"""Shares of a batch: what a training worker, or one of its micro-batches, does of a step.

A step's batch is drawn whole, whoever works on it; each share takes its places of it. So a step is the same batch with
one worker and with many.
"""

from typing import NamedTuple

import numpy as np

from schemas.errors import ConfigError


class Share(NamedTuple):
    """Part `number` of `of` equal parts."""

    number: int = 0
    of: int = 1

    def places(self, total: int) -> np.ndarray:
        """Its places among `total`. ConfigError where they can't be shared equally: means of parts would not be that of
        the whole."""
        each, rest = divmod(total, self.of)
        if rest:
            raise ConfigError(
                f"A step has {total} of a kind (crops, pairs), which can't be shared equally by {self.of} "
                "(ray.trainers times optimiser.micro_batches): change these, or the sizes of the batch."
            )
        return np.arange(self.number * each, (self.number + 1) * each)


WHOLE = Share()
