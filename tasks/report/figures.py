"""The page's figures, from plain arrays to SVG text.

Drawn with matplotlib's object interface on its SVG backend: no display, no state shared between figures, and the same
arrays give the same text (letters become outlines, identifiers come from a fixed salt, no date is written).
"""

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from scipy import stats

from models.statistics import Interval
from tasks.report.curves.trends import TrendLine
from tasks.report.windows import windows

INK, MUTED, GRID = "#26323d", "#6b7885", "#e3e8ec"
ACCENT, SECOND = "#1f7a8c", "#c8772e"
COLOURS = {"winner": ACCENT, "loser": SECOND, "before": "#93a1ad", "after": ACCENT}
_OTHERS = ("#1f7a8c", "#c8772e", "#5b6abf", "#7d8b3a", "#a14f7c")
_CONTROL_MARKS = ("s", "^", "D", "v", "P")
_WIDTH, _HEIGHT = 5.2, 3.1
_QUALITY = 88

_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "adhmr-engine",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.parse_math": False,  # a "$" in the name of a measure is no formula
    "axes.edgecolor": "#b9c3cb",
    "axes.labelcolor": MUTED,
    "axes.unicode_minus": True,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
}


def changes(rows: Sequence[tuple[str, Interval, Mapping[str, Interval]]]) -> str:
    """Changes in % with their intervals, one line per measure: the round's own, and each control's beneath it.

    rows: (name of the measure, change, changes of the controls by name), top to bottom. At least one.
    """
    controls = list(dict.fromkeys(name for _, _, others in rows for name in others))
    pitch = 0.3 + 0.1 * len(controls)
    with _figure(_WIDTH, 0.9 + pitch * len(rows)) as (figure, axes):
        spread = 0.72 / (len(controls) + 1)
        for index, (_, change, others) in enumerate(rows):
            _interval(axes, change, index - spread * len(controls) / 2, ACCENT, "o", "this round" if not index else "")
            for place, name in enumerate(controls, 1):
                if name in others:
                    first = all(name not in earlier for _, _, earlier in rows[:index])
                    y = index + spread * (place - len(controls) / 2)
                    mark = _CONTROL_MARKS[(place - 1) % len(_CONTROL_MARKS)]
                    _interval(axes, others[name], y, "#97a3ad", mark, name if first else "")
        axes.axvline(0, color=INK, linewidth=0.9)
        axes.set_yticks(range(len(rows)), [name for name, _, _ in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", color=GRID, linewidth=0.8)
        axes.set_xlabel("change in %, with 95 % interval (grey: controls)")
        figure.legend(loc="outside upper left", ncols=min(3, 1 + len(controls)), handletextpad=0.3, columnspacing=1)
        return _svg(figure)


def error_by_score(scores: NDArray[np.floating], errors: NDArray[np.floating], most_bins: int = 10) -> str:
    """Error against score within each instance, averaged over instances.

    scores, errors: (N, M), finite. Each instance's hypotheses are ranked by score and cut into at most `most_bins`
    equal groups; shown is how far the errors of a group lie from their instance's mean error, in %: mean with 95 %
    interval over instances, and the middle half of the instances. Instances of mean error zero are left out.
    """
    usable = errors.mean(1) > 0
    scores, errors = scores[usable], errors[usable]
    count, samples = scores.shape
    relative = (errors / errors.mean(1, keepdims=True) - 1) * 100
    bins = max(1, min(most_bins, samples))
    # Ordinal ranks: every bin gets hypotheses of every instance, also where scores tie.
    ranks = stats.rankdata(scores, method="ordinal", axis=1) - 1 if count else np.zeros((0, samples))
    group = (ranks * bins // samples).astype(int)
    with _figure(_WIDTH, _HEIGHT) as (figure, axes):
        if count:
            columns = np.stack(
                [(relative * (group == k)).sum(1) / np.maximum((group == k).sum(1), 1) for k in range(bins)], 1
            )
            centre = (np.arange(bins) + 0.5) / bins * 100
            mean, half = columns.mean(0), 1.96 * columns.std(0) / np.sqrt(count)
            low, high = np.percentile(columns, [25, 75], axis=0)
            axes.fill_between(centre, low, high, color=ACCENT, alpha=0.13, linewidth=0, label="middle half")
            axes.errorbar(
                centre, mean, half, color=ACCENT, marker="o", markersize=4, linewidth=1.6, label="mean, 95 % interval"
            )
            axes.legend(loc="best")
        axes.axhline(0, color=INK, linewidth=0.8)
        axes.set_xlim(0, 100)
        _label(axes, "score, as percentile within the instance (right: best)", "error against instance's mean, %")
        return _svg(figure)


def margin_histogram(margins: NDArray[np.floating], most_bins: int = 40) -> str:
    """How many pairs have which margin (winner's score minus loser's). margins: (P,), finite, P ≥ 1."""
    with _figure(_WIDTH, _HEIGHT) as (figure, axes):
        low, high = float(margins.min()), float(margins.max())
        if high - low < 1e-12 * max(1.0, abs(high)):
            low, high = low - 0.5, high + 0.5
        bins = int(np.clip(np.sqrt(margins.size) * 1.5, 5, most_bins))
        axes.hist(margins, bins=bins, range=(low, high), color=ACCENT, alpha=0.75, edgecolor="white", linewidth=0.6)
        mean = float(margins.mean())
        axes.axvline(mean, color=SECOND, linewidth=1.4, label=f"mean {mean:.3g}")
        _label(axes, "margin: winner's score − loser's score", "pairs")
        axes.set_axisbelow(True)
        axes.legend(loc="best")
        return _svg(figure)


def training_curve(
    series: Sequence[tuple[str, NDArray[np.number], NDArray[np.floating]]],
    unit: str,
    reference: float | None = None,
    breaks: Sequence[float] = (),
) -> str:
    """Running medians over optimiser steps, with the middle half of each window.

    series: (name, steps (S,), values (S,)); windows without a finite value leave gaps. Lines of one name (the legs of a
    round) have one colour; `breaks` are steps at which a leg begins.
    """
    others = cycle(_OTHERS)
    names = dict.fromkeys(name for name, _, _ in series)
    colours = {name: COLOURS[name] if name in COLOURS else next(others) for name in names}
    with _figure(_WIDTH, _HEIGHT) as (figure, axes):
        named: set[str] = set()
        for name, steps, values in series:
            curve = windows(steps, values)
            if curve.points > 1:
                axes.fill_between(curve.steps, curve.low, curve.high, color=colours[name], alpha=0.15, linewidth=0)
            look: dict[str, Any] = {
                "color": colours[name],
                "marker": "o" if curve.points == 1 else "",
                "markersize": 2.6,
            }
            axes.plot(curve.steps, curve.median, linewidth=1.6, label="_" if name in named else name, **look)
            named.add(name)
        for place in breaks:
            axes.axvline(place, color=GRID, linewidth=1.2)
        if reference is not None:
            axes.axhline(reference, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
        _label(axes, "optimiser step", "" if unit == "none" else unit)
        axes.margins(x=0.02)
        if series:
            axes.legend(loc="best")
        return _svg(figure)


def trend(rounds: Sequence[int], lines: Sequence[TrendLine], unit: str) -> str:
    """A measure over rounds with its 95 % intervals: the policy's line, and each control's, dashed."""
    with _figure(_WIDTH, _HEIGHT - 0.5) as (figure, axes):
        for number, line in enumerate(lines):
            known = [(at, point) for at, point in zip(rounds, line.points, strict=True) if point is not None]
            colour = _OTHERS[number % len(_OTHERS)]
            look: dict[str, Any] = {"linewidth": 1.8} if not number else {"linewidth": 1.1, "linestyle": (0, (4, 3))}
            places, values = [at for at, _ in known], [point.value for _, point in known]
            axes.plot(places, values, color=colour, marker="o", markersize=4, label=line.name, **look)
            for at, point in known:
                if point.low is not None and point.high is not None:
                    axes.plot([at, at], [point.low, point.high], color=colour, linewidth=1.6, solid_capstyle="butt")
        axes.set_xticks(list(rounds), [f"round {at}" if at else "start" for at in rounds])
        _label(axes, "", "" if unit in ("none", "1") else unit)
        if len(lines) > 1:
            axes.legend(loc="best")
        return _svg(figure)


def svg_uri(svg: str) -> str:
    """SVG text as a data URI, for the `src` of an image: needs no file and no network."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def jpeg_uri(picture: NDArray[np.uint8], quality: int = _QUALITY) -> str:
    """An RGB picture (H, W, 3) uint8 as a JPEG data URI."""
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise ValueError(f"a picture must be (H, W, 3) uint8, not {picture.shape} {picture.dtype}")
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


@contextmanager
def _figure(width: float, height: float) -> Iterator[tuple[Figure, Axes]]:
    with mpl.rc_context():
        mpl.rcdefaults()  # a reader's own matplotlibrc must not change the page
        mpl.rcParams.update(_STYLE)
        figure = Figure(figsize=(width, height), layout="constrained", facecolor="none")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot(facecolor="none")
        axes.spines[["top", "right"]].set_visible(False)
        yield figure, axes


def _label(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(axis="y", color=GRID, linewidth=0.8)


def _interval(axes: Axes, change: Interval, y: float, colour: str, mark: str, label: str) -> None:
    axes.plot([change.low, change.high], [y, y], color=colour, linewidth=2, solid_capstyle="butt")
    axes.plot([change.value], [y], color=colour, marker=mark, markersize=5.5, linestyle="", label=label or "_")


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return buffer.getvalue()
