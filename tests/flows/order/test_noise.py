"""The noise that makes samples as diverse as was asked for."""

import pytest

from flows.order.noise import HOTTEST, Spread, turned


@pytest.mark.parametrize(
    ("tried", "coming"),
    [
        ([Spread(1.0, 0.995)], None),
        ([Spread(1.0, 1.005)], None),
        ([Spread(1.0, 0.8)], 1.25),
        ([Spread(1.0, 1.25)], 0.8),
        ([Spread(1.0, 0.0)], None),
        ([Spread(1.0, 0.01)], HOTTEST),
        ([Spread(1.0, 9.0)], 1 / HOTTEST),
        # along the line through both: a quarter more noise gave a tenth more spread
        ([Spread(1.0, 0.8), Spread(1.25, 0.9)], 1.5),
        ([Spread(1.0, 0.8), Spread(1.25, 1.004)], None),
        # more noise, less spread: no line to follow
        ([Spread(1.0, 0.8), Spread(1.25, 0.5)], 2.5),
    ],
)
def test_the_next_temperature(tried: list[Spread], coming: float | None) -> None:
    assert turned(tried, 0.01) == (None if coming is None else pytest.approx(coming))
