"""Figures as tables in Markdown, and the sections of docs/benchmarks.md that commands write, between two marks each."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from tests.benchmarks.figures import Figure, Measured
from tests.benchmarks.surroundings import Surroundings

PAGE = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"


def markdown(measured: Sequence[Measured], where: Surroundings) -> str:
    """A line of where it ran, then a table with a row for each way."""
    lines = [
        ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in where.items()) + ".",
        "",
        "| what | way | ms | plain / it | of the ceiling | published, ms | goal |",
        "| --- | --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for group in measured:
        for place, figure in enumerate(group.figures):
            name = "" if place else f"{figure.group} (per {figure.unit})"
            lines.append(f"| {name} | {' | '.join(cells(figure))} |")
    ceilings = [f"{precision} {rate / 1e9:,.0f}" for precision, rate in last_ceilings(measured).items()]
    if ceilings:
        lines += ["", f"Ceiling, billions of operations a second: {', '.join(ceilings)}."]
    return "\n".join(lines)


def cells(figure: Figure) -> tuple[str, ...]:
    """A figure's way, time, ratio, share, the published time and its goals."""
    goals = "; ".join(f"{goal}: {'reached' if figure.meets(goal) else 'not reached'}" for goal in figure.goals)
    return (
        figure.way,
        f"{figure.ms:.3g}" if figure.ms < 1000 else f"{figure.ms:,.0f}",
        f"{figure.faster:.2f} ×",
        "" if figure.share is None else f"{figure.share:.0%}",
        "" if figure.published_ms is None else f"{figure.published_ms:,.4g}",
        goals,
    )


def last_ceilings(measured: Sequence[Measured]) -> Mapping[str, float]:
    """The ceilings by precision; of several groups those of the last that has them."""
    found: dict[str, float] = {}
    for group in measured:
        found |= dict(group.ceilings)
    return found


def as_json(measured: Sequence[Measured], where: Surroundings, **more: object) -> str:
    """All of it, for programs; `more` by name."""
    told = {"machine": where, **more, "figures": list(_plain(measured))}
    return json.dumps(told, indent=2, ensure_ascii=False) + "\n"


def _plain(measured: Sequence[Measured]) -> Iterator[Mapping[str, object]]:
    for group in measured:
        for figure in group.figures:
            goals = [{"goal": str(goal), "reached": figure.meets(goal)} for goal in figure.goals]
            yield {**asdict(figure), "goals": goals, "ceilings": group.ceilings}


def write_section(name: str, text: str, page: Path = PAGE, command: str | None = None) -> None:
    """Put `text` between the marks of the section `name`, which name the command, in place of what is there.

    ValueError where they lack.
    """
    begin, end = f"<!-- {name}: written by `{command or f'make {name}'}` -->", f"<!-- {name}: end -->"
    before, found, rest = page.read_text("utf-8").partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"{page} lacks the lines {begin} and {end}, between which the table goes")
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", encoding="utf-8")
