"""What a round costs beside its work: `python -m tests.benchmarks.overhead`; `--served` under what `make serve` keeps.

Overhead is the time of a `micro` round by the clock, less the time in which a shard or training steps were worked on,
be it by one process or by several. Round 1 makes what the others stand on; those are measured, each in a new process.
Nothing else should run meanwhile.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, NamedTuple

from rich.console import Console
from rich.table import Table

from infra.stages import StageRecord, records
from infra.store import Store
from tests.flows.person import ROOT, Person

WATCHED: Final = Path(__file__).parent / "watched"
GOALS_S: Final = {"a new process": 20.0, "under make serve": 8.0}


class Span(NamedTuple):
    """From when to when, seconds since the epoch."""

    began: float
    ended: float

    @property
    def seconds(self) -> float:
        return max(0.0, self.ended - self.began)

    def within(self, other: "Span") -> "Span":
        """The part of it that lies in the other one."""
        return Span(max(self.began, other.began), min(self.ended, other.ended))


@dataclass(frozen=True)
class Part:
    """A stretch of a round: seconds by the clock, and those in which shards or steps were worked on."""

    name: str
    seconds: float
    work: float


def covered(spans: Sequence[Span]) -> float:
    """Seconds in which at least one of the spans goes on."""
    total, until = 0.0, 0.0
    for span in sorted(spans):
        total += Span(max(span.began, until), span.ended).seconds
        until = max(until, span.ended)
    return total


def parts(whole: Span, stages: Sequence[StageRecord], work: Sequence[Span]) -> Iterator[Part]:
    """The whole, cut at the times at which stages began and ended; stages side by side are one part."""
    at, name = whole.began, "before the first stage"
    for record in sorted(stages, key=lambda record: record.finished_at):
        assert record.started_at is not None
        assert record.finished_at is not None
        span = Span(max(record.started_at.timestamp(), at), record.finished_at.timestamp())
        yield _part(name, Span(at, span.began), work)
        yield _part(record.stage, span, work)
        at, name = max(at, span.ended), "between stages"
    yield _part("after the last stage", Span(at, whole.ended), work)


def _part(name: str, span: Span, work: Sequence[Span]) -> Part:
    return Part(name, span.seconds, covered([one.within(span) for one in work if one.within(span).seconds]))


def main() -> None:
    """Measure, print, and write JSON if asked."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.overhead", description="What a round costs.")
    parser.add_argument("--served", action="store_true", help="rounds of the deployment, under what make serve keeps")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="rounds that are measured")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the same numbers to FILE")
    arguments = parser.parse_args()
    way, console = "under make serve" if arguments.served else "a new process", Console()
    found = []
    with tempfile.TemporaryDirectory(prefix="overhead-") as folder, ExitStack() as ends:
        world = _World(Path(folder), ends, arguments.served)
        world.round()
        for number in range(2, arguments.rounds + 2):
            told, cpu_s = world.round()
            spent, work = sum(part.seconds for part in told), sum(part.work for part in told)
            found.append({"round": number, "seconds": spent, "work": work, "overhead": spent - work, "cpu_s": cpu_s})
            found[-1]["parts"] = [asdict(part) for part in told]
            console.print(_table(f"round {number}, {way}", told, cpu_s))
    middle = sorted(one["overhead"] for one in found)[len(found) // 2]
    goal = GOALS_S[way]
    console.print(f"overhead of a micro round, {way}: {middle:.1f} s; goal ≤ {goal:g} s", highlight=False)
    if arguments.json:
        arguments.json.write_text(json.dumps({"way": way, "overhead_s": middle, "rounds": found}, indent=2) + "\n")


class _World:
    """A folder with a store, and rounds in it."""

    def __init__(self, folder: Path, ends: ExitStack, served: bool) -> None:
        self._spans, self._url = folder / "spans", str(folder / "store")
        self._spans.mkdir()
        own = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT")}
        self._environment = {**own, "ADHMR_WATCHED": str(self._spans), "ADHMR_STORE": self._url}
        self._environment["PYTHONPATH"] = f"{WATCHED}:{ROOT}"
        self._command = [sys.executable, "-m", "adhmr_engine", "run", "--profile", "micro"]
        if served:
            person = Person(folder / "served", self._url)
            person.environment |= self._environment
            person.serves()
            ends.callback(person.stops)
            self._environment = person.environment
            words = ["deployment", "run", "dpo-round", "--watch", "-p", "profile=micro"]
            self._command = [sys.executable, "-m", "prefect", *words]

    def round(self) -> tuple[list[Part], float]:
        """What one more round took, and the seconds of processor time of it and all that it started and waited for."""
        for file in self._spans.iterdir():
            file.unlink()
        before, began = _cpu_s(), time.time()
        subprocess.run(self._command, env=self._environment, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
        whole = Span(began, time.time())
        store = Store.open(self._url, create=False)
        new = [one for one in records(store) if one.finished_at and one.finished_at.timestamp() > began]
        return list(parts(whole, new, list(self._work()))), _cpu_s() - before

    def _work(self) -> Iterator[Span]:
        for file in self._spans.iterdir():
            for line in file.read_text("utf-8").splitlines():
                began, ended, _ = line.split()
                yield Span(float(began), float(ended))


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _table(title: str, told: Sequence[Part], cpu_s: float) -> Table:
    table = Table(title=title, title_justify="left", caption=f"{cpu_s:.1f} s of processor time", show_footer=True)
    sums = [sum(getattr(part, name) for part in told) for name in ("seconds", "work")]
    table.add_column("part", footer="together")
    for name, total in zip(("seconds", "shards and steps", "overhead"), (*sums, sums[0] - sums[1]), strict=True):
        table.add_column(name, justify="right", footer=f"{total:.1f}")
    for part in told:
        if part.seconds >= 0.05:
            table.add_row(part.name, *(f"{value:.1f}" for value in (part.seconds, part.work, part.seconds - part.work)))
    return table


if __name__ == "__main__":
    main()
