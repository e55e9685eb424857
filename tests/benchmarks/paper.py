"""Figures at the published sizes, as ratios of one run: `make bench-paper`, or `python -m tests.benchmarks.paper`.

One thread; seconds are those of the processor, so that others on the machine don't count, but for what two training
workers are worth: that part (`--only workers`) needs two free cores. Each way is timed by turns
with a plain one (`tests.benchmarks.plain`) and with the product of two matrices, which is the ceiling. Weights are
random, and all data are invented. Times of the published code were taken on another day, two threads, on a machine like
that of docs/benchmarks.md; they stand beside and enter no ratio. It takes ten to twenty minutes and 3 GB of disk.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from schemas.profiles import paper
from tests.benchmarks.figures import Measured
from tests.benchmarks.page import as_json, cells, last_ceilings, markdown, write_section
from tests.benchmarks.paper_bodies import body_figures
from tests.benchmarks.paper_drawing import drawing
from tests.benchmarks.paper_networks import Networks, network_figures
from tests.benchmarks.paper_sizes import smaller
from tests.benchmarks.paper_tables import table_figures
from tests.benchmarks.paper_workers import worker_figures
from tests.benchmarks.surroundings import surroundings

PARTS = ("networks", "drawing", "bodies", "tables", "workers")


def figures(parts: list[str], folder: Path, repeats: int, small: bool = False) -> Iterator[Measured]:
    """The groups of these parts; `small` ones only try the ways, and say nothing of speed."""
    if "networks" in parts:
        sizes = (2, 3, 4) if small else (2, 100, 10)
        yield from network_figures(Networks(smaller(paper()) if small else paper(), *sizes), repeats)
    if "drawing" in parts:
        yield drawing(Networks(smaller(paper()) if small else paper(), 0, 0, 4 if small else 10), folder, repeats)
    if "bodies" in parts:
        yield from body_figures(repeats, *((20, 10) if small else ()))
    if "tables" in parts:
        yield from table_figures(folder, repeats, *((50, (3, 200)) if small else ()))
    if "workers" in parts:
        yield from worker_figures(smaller(paper()) if small else paper(), repeats)


def main() -> None:
    """Measure, print, write the section of docs/benchmarks.md, and JSON if asked."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.paper", description="Figures at paper sizes.")
    parser.add_argument("--only", choices=PARTS, action="append", help="a part; may be repeated (default: all)")
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="turns that count, after one that does not")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the same numbers to FILE")
    parser.add_argument("--no-page", action="store_true", help="leave docs/benchmarks.md as it is")
    arguments = parser.parse_args()
    parts = arguments.only or list(PARTS)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    where, console, measured = surroundings(), Console(), []
    with tempfile.TemporaryDirectory() as folder:
        for group in figures(parts, Path(folder), arguments.repeats):
            measured.append(group)
            console.print(_table(group))
    console.print(", ".join(f"{name} {value}" for name, value in where.items()), highlight=False)
    if arguments.json:
        arguments.json.write_text(as_json(measured, where), encoding="utf-8")
    if parts == list(PARTS) and not arguments.no_page:
        write_section("bench-paper", markdown(measured, where))


def _table(group: Measured) -> Table:
    first = group.figures[0]
    table = Table(title=f"{first.group}, per {first.unit}", title_justify="left")
    for name in ("way", "ms", "plain / it", "of the ceiling", "published", "goal"):
        table.add_column(name, justify="left" if name in ("way", "goal") else "right")
    for figure in group.figures:
        table.add_row(*cells(figure))
    if group.ceilings:
        rates = [f"{name} {rate / 1e9:,.0f}" for name, rate in last_ceilings([group]).items()]
        table.caption = f"ceiling, 10⁹ operations a second: {', '.join(rates)}"
    return table


if __name__ == "__main__":
    main()
