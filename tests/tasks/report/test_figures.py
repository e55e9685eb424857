"""The figures: they are drawn from awkward arrays too, alike every time, and leave matplotlib as it was."""

import base64
import io
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from models.statistics import Interval
from tasks.report import figures
from tasks.report.curves.trends import Point, TrendLine

rng = np.random.default_rng(0)
_CHANGE = Interval(-5.0, -6.0, -4.0)
_STEPS = np.arange(5)
_LEG = ("loss", _STEPS, _STEPS * 1.0)
_POINT = Point(90.0, 88.0, 92.0, 9)
_CONTROL = TrendLine("random pairs", [None, _POINT._replace(low=None, high=None)])
_DRAWN: dict[str, Callable[[], str]] = {
    "changes": lambda: figures.changes(
        [("zero-noise", _CHANGE, {"random pairs": _CHANGE}), ("best of 10", _CHANGE, {})]
    ),
    "dollars": lambda: figures.changes([("$\\frac{", _CHANGE, {})]),
    "unmeasured": lambda: figures.changes([("expected", Interval(float("nan"), float("nan"), float("nan")), {})]),
    "errors": lambda: figures.error_by_score(np.arange(60.0).reshape(6, 10), np.arange(60.0).reshape(6, 10) + 1),
    "ties": lambda: figures.error_by_score(np.ones((3, 4)), np.ones((3, 4))),
    "one hypothesis": lambda: figures.error_by_score(np.ones((3, 1)), np.ones((3, 1))),
    "no errors": lambda: figures.error_by_score(np.ones((3, 4)), np.zeros((3, 4))),
    "margins": lambda: figures.margin_histogram(np.linspace(0, 1, 50)),
    "one margin": lambda: figures.margin_histogram(np.array([0.5])),
    "curve": lambda: figures.training_curve([("winner", _STEPS, np.array([1, np.nan, 3, 2, 1.0]))], "none", 0.5),
    "no curve": lambda: figures.training_curve([], "none"),
    "legs": lambda: figures.training_curve([_LEG, ("loss", _STEPS + 50, _STEPS * 2.0)], "none", breaks=[50]),
    "trend": lambda: figures.trend([0, 1], [TrendLine("policy", [_POINT, _POINT]), _CONTROL], "mm"),
    "no trend": lambda: figures.trend([0], [TrendLine("policy", [None])], "none"),
}


@pytest.mark.parametrize("name", _DRAWN)
def test_a_figure_is_svg_and_the_same_every_time(name: str) -> None:
    before = dict(mpl.rcParams)
    svg = _DRAWN[name]()
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert svg == _DRAWN[name]()
    assert dict(mpl.rcParams) == before


def test_a_readers_own_matplotlib_settings_change_nothing() -> None:
    svg = _DRAWN["margins"]()
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red"}):
        assert _DRAWN["margins"]() == svg


def test_a_figure_shows_its_data() -> None:
    assert figures.margin_histogram(np.linspace(0, 1, 50)) != figures.margin_histogram(np.linspace(0, 2, 50))
    scores = rng.standard_normal((20, 8))
    assert figures.error_by_score(scores, np.exp(-scores)) != figures.error_by_score(scores, np.exp(scores))


def test_a_picture_comes_back_as_it_was_but_for_a_little() -> None:
    picture = np.add.outer(np.arange(40), np.arange(3 * 24).reshape(24, 3)).astype(np.uint8)
    head, _, body = figures.jpeg_uri(picture).partition(",")
    assert head == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(body))) as shown:
        assert np.abs(np.asarray(shown).astype(int) - picture).max() < 8


@pytest.mark.parametrize("picture", [np.zeros((4, 4, 3), np.float32), np.zeros((4, 4), np.uint8)])
def test_what_is_no_picture_is_refused(picture: np.ndarray) -> None:
    with pytest.raises(ValueError, match="uint8"):
        figures.jpeg_uri(picture)
