"""`make faults`: bring about every fault of `rows`, two files of tests at a time, and print one line for each.

python -m tests.faults [words]      (only the faults whose line holds one of the words)
"""

import os
import sys
import time
from collections import defaultdict
from collections.abc import Sequence

import pytest

from tests.faults.rows import CHOSEN, ROWS, Row

AT_ONCE = ("-n", "2", "--dist", "loadscope", "--no-loadscope-reorder")
"""By `loadfile` the room's files would all be one process's (`tests.order`), and the other would have nothing to do."""


class Ledger:
    """A plugin of pytest that notes of every test how it ended and how long it took, with what it needed, and how many
    states of a store it has tried (`test_power_loss`)."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.ended: dict[str, str] = {}
        self.counted: dict[str, dict[str, int]] = defaultdict(dict)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] += report.duration
        self.counted[report.nodeid] |= {str(name): n for name, n in report.user_properties if isinstance(n, int)}
        if report.failed or report.when == "call" or report.skipped:
            self.ended[report.nodeid] = "failed" if report.failed else "skipped" if report.skipped else "held"

    def line(self, row: Row) -> tuple[str, bool]:
        """What came of a fault, in one line, and whether it held."""
        mine = [test for test in self.ended if test.startswith(row.tests)]
        absent = [test for test in row.tests if not any(found.startswith(test) for found in mine)]
        failed = [test for test in mine if self.ended[test] == "failed"]
        skipped = sum(self.ended[test] == "skipped" for test in mine)
        verdict = "NOT HELD" if failed else "NOT RUN" if absent else "held"
        notes = f", {skipped} not possible here" if skipped else ""
        missing = f"; no such test: {', '.join(absent)}" if absent else ""
        seconds = sum(self.seconds[test] for test in mine)
        tried, lost = (sum(self.counted[test].get(name, 0) for test in mine) for name in ("states", "lost"))
        states = f", {tried} states, {lost} silent losses" if tried else ""
        counts = f"{len(mine) - len(failed) - skipped} of {len(mine)}{notes}{states}"
        return f"{verdict:<8} {seconds:6.0f} s  {row.fault} | {row.done} | {counts}{missing}", verdict == "held"


def main(words: Sequence[str]) -> int:
    """Run and tell; 0 if every fault was survived."""
    rows = [row for row in ROWS if not words or any(word in f"{row.fault} {row.done}" for word in words)]
    if not rows:
        print(f"No fault has any of these words: {', '.join(words)}.", file=sys.stderr)
        return 2
    ledger, began = Ledger(), time.monotonic()
    names = list(dict.fromkeys(test for row in rows for test in row.tests))
    files = list(dict.fromkeys(name.split("::")[0] for name in names))
    os.environ[CHOSEN] = "\n".join(names)
    plain = ("-q", "--no-header", "--show-capture=no", "--timeout=1200", "-p", "tests.faults.chosen")
    pytest.main([*plain, *AT_ONCE, *files], plugins=[ledger])
    lines = [ledger.line(row) for row in rows]
    print()
    for text, _ in lines:
        print(text)
    held = sum(good for _, good in lines)
    print(f"{held} of {len(lines)} faults survived, in {(time.monotonic() - began) / 60:.1f} minutes")
    return 0 if held == len(lines) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
