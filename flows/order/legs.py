"""The parts of people that rounds and their legs learn from.

Each leg of a round draws from the policy that the leg before has made, for people of its own.

A round of J legs costs what a round of one does. Each leg draws, scores and pairs for one J-th of the people and trains
one J-th of the steps; every leg's stages have keys of their own, so that a round that was stopped goes on in its leg.
"""

from collections.abc import Iterator
from typing import NamedTuple

from tasks.rows.legs import role_in_leg
from tasks.rows.mix import Mix
from tasks.rows.part import Part


class Leg(NamedTuple):
    """One of the legs of a round."""

    number: int
    people: Mix
    """Whom it learns from; nobody is in two legs."""

    def role(self, role: str = "") -> str:
        """The role of a stage of it: as in a round without legs in the first, and named after the leg in the others."""
        return role_in_leg(role, self.number)


def legs(people: Mix, count: int) -> Iterator[Leg]:
    """`people` in `count` parts of about the same size."""
    for number in range(count):
        yield Leg(number + 1, part_of(people, number, count))


def of_round(people: Mix, parts: int, number: int) -> Mix:
    """Those whom round `number`, counted from 1, learns from: one of so many parts, in turn."""
    return part_of(people, (number - 1) % parts, parts)


def part_of(people: Mix, place: int, count: int) -> Mix:
    """The part at `place`, counted from 0, of `count` parts of about the same size; nobody is in two."""
    if count == 1:
        return people
    low, high = people.part or Part(0.0, 1.0)
    ends = [low + (high - low) * number / count for number in range(count)] + [high]
    return people._replace(part=Part(ends[place], ends[place + 1]))
