"""The figures of a study, as SVG and PNG: what each cell changed, and what it paid for that in diversity.

The same numbers give the same bytes: letters become outlines, identifiers come from a fixed salt, no date is written.
"""

import io
from collections.abc import Sequence
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tasks.report.figures import ACCENT, GRID, INK, MUTED, SECOND
from tasks.rows.metrics import DIVERSITY, Metric
from tasks.stages.study import at_equal
from tasks.study.found import CellFound, StudyFound
from tasks.study.page import FIGURE_FILES

_STYLE: Final[dict[Any, Any]] = {
    "svg.hashsalt": "adhmr-engine",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.parse_math": False,
    "axes.edgecolor": "#b9c3cb",
    "axes.labelcolor": MUTED,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
}
_GREY: Final = "#97a3ad"
_BARE: Final = {"Date": None, "Creator": None, "Format": None, "Type": None}


def draw(found: StudyFound) -> dict[str, bytes]:
    """File name -> bytes."""
    made: dict[str, bytes] = {}
    with mpl.rc_context():
        mpl.rcdefaults()  # a reader's own matplotlibrc must not change them
        mpl.rcParams.update(_STYLE)
        for name, figure in zip(FIGURE_FILES, (_changes(found), _trade_off(found)), strict=True):
            svg, png = io.BytesIO(), io.BytesIO()
            figure.savefig(svg, format="svg", metadata=_BARE)
            figure.savefig(png, format="png", dpi=144, metadata={"Software": None})
            made |= {f"{name}.svg": svg.getvalue(), f"{name}.png": png.getvalue()}
    return made


def _changes(found: StudyFound) -> Figure:
    """Zero noise and best of M of every cell, with intervals over the seeds."""
    sampled = at_equal("best_of_m_mpvpe") if at_equal("best_of_m_mpvpe") in found.figures else "best_of_m_mpvpe"
    shown = [("zero_noise_mpvpe", "zero noise", ACCENT, "o"), (sampled, "best of M", SECOND, "s")]
    if sampled != "best_of_m_mpvpe":
        shown[1] = (sampled, "best of M, at equal diversity", SECOND, "s")
    figure, axes = _figure(6.4, 1.0 + 0.36 * len(found.cells))
    for index, cell in enumerate(found.cells):
        for shift, (name, label, colour, mark) in zip((-0.15, 0.15), shown, strict=True):
            if name in cell.figures:
                _interval(axes, cell.figures[name], index + shift, colour, mark, "_" if index else label)
    axes.axvline(0, color=INK, linewidth=0.9)
    axes.set_yticks(range(len(found.cells)), _names(found.cells))
    axes.set_ylim(len(found.cells) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    count = len(found.study.seeds)
    over = f"95 % intervals, {count} seeds" if count > 1 else "one seed"
    axes.set_xlabel(f"change of MPVPE, % ({over})")
    figure.legend(loc="outside upper left", ncols=2, handletextpad=0.3)
    return figure


def _trade_off(found: StudyFound) -> Figure:
    """Zero noise against diversity, as trained; the rule's limit as a line."""
    figure, axes = _figure(6.4, 4.2)
    axes.axhline(100 * (found.study.rule.least_diversity - 1), color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.axvline(0, color=GRID, linewidth=0.9)
    for cell in found.cells:
        x, y = cell.figures.get("zero_noise_mpvpe"), cell.figures.get(DIVERSITY)
        if x is None or y is None:
            continue
        colour = _GREY if cell.control else ACCENT
        axes.plot([x.value], [y.value], color=colour, marker="o", markersize=5.5, linestyle="")
        axes.annotate(cell.name, (x.value, y.value), (5, 3), textcoords="offset points", fontsize=8.5, color=INK)
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.margins(0.12)
    axes.set_xlabel("change of zero-noise MPVPE against the base, %")
    axes.set_ylabel("change of diversity, % (dashed: the rule's limit)")
    return figure


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _interval(axes: Axes, row: Metric, y: float, colour: str, mark: str, label: str) -> None:
    if row.low is not None and row.high is not None:
        axes.plot([row.low, row.high], [y, y], color=colour, linewidth=2, solid_capstyle="butt")
    axes.plot([row.value], [y], color=colour, marker=mark, markersize=5.5, linestyle="", label=label)


def _names(cells: Sequence[CellFound]) -> list[str]:
    return [
        f"{'' if cell.place is None else f'{cell.place}. '}{cell.name}{' (control)' if cell.control else ''}"
        for cell in cells
    ]
