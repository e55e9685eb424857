"""A study in words and tables: for a terminal of 80 columns, as Markdown, and as a document for programs."""

from collections.abc import Iterator
from typing import Any

from schemas.config.study import StudyConfig
from tasks.report.numbers import format_duration, format_number, format_span
from tasks.rows.metrics import DIVERSITY, Metric
from tasks.stages.study import DRIFT, REACHED, at_equal
from tasks.study.found import COLUMNS, StudyFound, misses

FIGURE_FILES = ("changes", "trade-off")
WIDTH = 80
_MISSED = "†"
_EQUAL = {
    "diversity": "Samples are compared at equal diversity: the starting noise of each cell is turned, at most twice, "
    "so that they spread as much as was asked for ({diversity:g} of the base's, within {tolerance:g}). What that came "
    "to has a column; where it missed, it is marked (†), and the figures beside it say something of spread as well. "
    "Zero noise can't be turned: a cell that pays for it with spread is seen in the column of diversity, and the rule "
    "has a limit for it.",
    "compute": "Cells are compared at equal compute: each trains as many steps as cost what the first cell costs, in "
    "passes of the denoiser (one that is learned from counts three).",
    "steps": "Every cell trains the steps that the configuration says, whatever they cost.",
}


def table(found: StudyFound) -> Iterator[str]:
    """Lines of at most 80 characters: cells, the changes that count, and their intervals over the seeds."""
    sampled = at_equal("best_of_m_mpvpe") if at_equal("best_of_m_mpvpe") in found.figures else "best_of_m_mpvpe"
    titles = (
        "",
        "cell",
        "zero noise, %",
        f"best of M{'*' if sampled != 'best_of_m_mpvpe' else ''}, %",
        "spread",
        "drift",
    )
    rows: list[tuple[str, ...]] = [titles]
    for cell in found.cells:
        place = "" if cell.place is None else str(cell.place)
        changes = [_change(cell.figures.get(name)) for name in ("zero_noise_mpvpe", sampled)]
        changes[1] += _MISSED if cell.missed else ""
        ends = (_value(cell.figures.get(name)) for name in (DIVERSITY, DRIFT))
        rows.append((place, f"{cell.name}{' (c)' if cell.control else ''}", *changes, *ends))
    others = sum(max(len(row[column]) for row in rows) + 2 for column in range(len(titles)) if column != 1)
    rows = [(row[0], _cut(row[1], WIDTH - others), *row[2:]) for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(titles))]
    for number, row in enumerate(rows):
        yield "  ".join(
            cell.ljust(width) if column < 2 or not number else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
    yield "(c): a control" + ("; *: at equal diversity" if sampled != "best_of_m_mpvpe" else "")
    if any(cell.missed for cell in found.cells):
        yield f"{_MISSED}: in a seed or more its samples don't spread as was asked, within {found.study.tolerance:g}"


def verdict(found: StudyFound) -> str:
    """Who wins, by which rule, and whether the next is told apart."""
    rule, winner = found.study.rule, found.winner
    said = (
        f"Rule: of the cells that are no controls, keep at least {rule.least_diversity:g} of the base's diversity and "
        f"drift by at most {rule.most_drift:g} %, in the mean, the one with the lowest mean of {COLUMNS[rule.figure]}."
    )
    if winner is None:
        return f"No cell wins: none keeps to the limits. {said}"
    text = f"Winner: {winner.name}, {_change(winner.figures[rule.figure])} %. {said}"
    second = found.next
    if second is None or second.behind is None:
        return text
    apart = second.behind
    if apart.low is None:
        return f"{text} With one seed nothing is told of how far apart it is from {second.name}."
    is_clear = apart.low > 0
    return (
        f"{text} The next, {second.name}, is behind by {format_number(apart.value, '%')} points "
        f"{format_span(apart.low, apart.high, '%')} over the seeds: "
        + ("they are told apart." if is_clear else "they are not told apart.")
    )


def markdown(found: StudyFound) -> str:
    """The page."""
    study, figures = found.study, found.figures
    seeds = ", ".join(map(str, study.seeds))
    lines = [
        f"# Study: {study.name}",
        "",
        *([study.about, ""] if study.about else []),
        f"Measured on {found.target}; seeds {seeds}. Changes against the base policy in %: the mean over the seeds, "
        "and its 95 % t-interval. Nobody of `sources.test` was looked at.",
        "",
        _equal(study),
        "",
        f"**{verdict(found)}**",
        "",
        *_row("place", "cell", *(COLUMNS[name] for name in figures), "passes", "training"),
        *_row(*["---"] * (4 + len(figures))),
    ]
    for cell in found.cells:
        lines += _row(
            "" if cell.place is None else str(cell.place),
            f"*{cell.name}*" if cell.control else cell.name,
            *(
                _change(cell.figures.get(name)) + (_MISSED if name == REACHED and cell.missed else "")
                for name in figures
            ),
            "" if cell.passes is None else f"{cell.passes:,}",
            "" if cell.seconds is None else format_duration(cell.seconds),
        )
    lines += [
        "",
        "Italic: controls, which can't win. `passes`: of the denoiser, forward, in one training; one that is ",
    ]
    lines[-1] += "learned from counts three. `training`: the mean time of one, beside others."
    lines += ["", *(f"![{name}]({name}.svg)\n" for name in FIGURE_FILES), "## Each seed", ""]
    lines += ["Intervals here are over the people of the seed (paired bootstrap).", ""]
    lines += [*_row("seed", "cell", *(COLUMNS[name] for name in figures if name != DRIFT))]
    lines += [*_row(*["---"] * (2 + len([name for name in figures if name != DRIFT])))]
    for one in found.seeds:
        missed = misses(study, one.figures.get(REACHED))
        changes = (
            _change(one.figures.get(name)) + (_MISSED if name == REACHED and missed else "")
            for name in figures
            if name != DRIFT
        )
        lines += _row(str(one.seed), one.cell, *changes)
    lines += ["", "## Where it is", "", f"- stage of the study: `{found.key}`"]
    lines += [f"- comparison of seed {seed}: `{key}`" for seed, key in zip(study.seeds, found.compared, strict=True)]
    return "\n".join([*lines, ""])


def document(found: StudyFound) -> dict[str, Any]:
    """The same for programs."""

    def figures(of: Any) -> dict[str, Any]:
        return {
            name: {"value": row.value, "low": row.low, "high": row.high, "n": row.n} for name, row in of.figures.items()
        }

    return {
        "study": found.study.model_dump(mode="json"),
        "target": str(found.target),
        "winner": found.winner.name if found.winner else None,
        "verdict": verdict(found),
        "cells": [
            {
                "name": cell.name,
                "control": cell.control,
                "place": cell.place,
                "changes": figures(cell),
                "behind_winner": None
                if cell.behind is None
                else {"value": cell.behind.value, "low": cell.behind.low, "high": cell.behind.high},
                "passes": cell.passes,
                "training_seconds": cell.seconds,
                "missed_diversity_in_seeds": list(cell.missed),
            }
            for cell in found.cells
        ],
        "seeds": [{"seed": one.seed, "cell": one.cell, "changes": figures(one)} for one in found.seeds],
        "stage_key": found.key,
        "compared": list(found.compared),
    }


def _cut(text: str, width: int) -> str:
    """A name as far as there is room; the page has all of it."""
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _equal(study: StudyConfig) -> str:
    return _EQUAL[study.equal].format(diversity=study.diversity, tolerance=study.tolerance)


def _row(*cells: str) -> list[str]:
    return [f"| {' | '.join(cells)} |"]


def _value(row: Metric | None) -> str:
    if row is None:
        return ""
    return f"{'+' if row.value > 0 else ''}{format_number(row.value, '%')}"


def _change(row: Metric | None) -> str:
    """A change with its interval, without the unit."""
    return "" if row is None else f"{_value(row)} {format_span(row.low, row.high, '%')}".strip()
