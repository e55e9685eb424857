"""A part of people, by their pictures: who is in it depends on the picture's name alone, not on who else there is."""

import hashlib
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

_PLACES: Final = 2**64


class Part(NamedTuple):
    """Pictures have places between 0 and 1, evenly spread; a part has all people of those from `low` to below `high`.

    Two parts that don't overlap share no picture, so no person; whoever is ingested later changes nobody's part.
    """

    low: float
    high: float

    def of(self, instance_ids: Iterable[str]) -> list[str]:
        """Those of the people who are in it, in their order."""
        return [name for name in instance_ids if self.low <= _place(name) < self.high]

    def overlaps(self, other: "Part") -> bool:
        """Whether a person may be in both."""
        return self.low < other.high and other.low < self.high

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"


SCORERS_HALF: Final = Part(0.0, 0.5)
"""Of the people that train HMR-Scorer, those who are left to it where a judge is trained beside it."""
JUDGES_HALF: Final = Part(0.5, 1.0)
"""The others. Of a split that is `wild` as well, the people whom the judge decides by have places below 0.5: it was not
trained on them."""


def counting(part: Part | None) -> dict[str, Any]:
    """What of it counts towards the key of a stage: all people, as ever, say nothing."""
    return {} if part is None else {"part": part}


def _place(instance_id: str) -> float:
    """Where the picture of a person lies between 0 and 1."""
    image = instance_id.rpartition("#")[0]
    return int.from_bytes(hashlib.sha256(image.encode()).digest()[:8], "big") / _PLACES
