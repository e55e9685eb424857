"""The roles of a leg's stages are read as they are written."""

import pytest

from tasks.rows.legs import leg_of, role_in_leg


@pytest.mark.parametrize("role", ["", "random pairs", "judge, after"])
@pytest.mark.parametrize("number", [1, 2, 12])
def test_there_and_back(role: str, number: int) -> None:
    assert leg_of(role_in_leg(role, number)) == (role, number)


def test_other_roles_are_of_the_first_leg() -> None:
    assert leg_of("round 2") == ("round 2", 1)
    assert leg_of("after leg 2 of it") == ("after leg 2 of it", 1)
