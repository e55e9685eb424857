"""Which process does a file of tests, what comes last, and where the time is said to have gone."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import durations, order

ROOT = Path(__file__).resolve().parents[1]
SLOW = "import pytest\npytestmark = pytest.mark.slow\n"
"""The head of a file of slow tests."""


@dataclass
class Phase:
    nodeid: str
    duration: float
    worker_id: str = "gw0"


def test_rooms_that_share_stay_together_and_other_files_do_not() -> None:
    assert {room for room in order.TOGETHER if not (ROOT / room).is_dir()} == set()
    one, two = (order.share(f"tests/faults/{name}.py::test_it[{name}]") for name in ("test_twice", "test_kills"))
    assert one == two
    assert order.share("tests/infra/test_s3.py::test_it[a::b]") == "tests/infra/test_s3.py"


def test_the_longest_files_are_named_with_all_their_phases() -> None:
    phases: list[Any] = [Phase("a.py::one", 1.0), Phase("b.py::one", 4.0, "gw1"), Phase("a.py::two", 2.5)]
    assert list(durations.lines(phases, 1)) == ["    4.0s b.py", "gw0: 4s in tests; gw1: 4s in tests"]
    assert [line.split()[-1] for line in durations.lines(phases, 0)][:2] == ["b.py", "a.py"]


@pytest.mark.slow
def test_quick_files_come_last_and_a_run_ends_with_its_longest_files(tmp_path: Path) -> None:
    """By the project's own conftest, and with two processes."""
    tests = tmp_path / "tests"
    (tests / "faults").mkdir(parents=True)
    for file in (ROOT / "tests").glob("[!t]*.py"):
        (tests / file.name).write_bytes(file.read_bytes())
    held = {"test_a.py": "", "test_b.py": SLOW, "faults/test_c.py": SLOW, "faults/test_d.py": SLOW}
    for name, head in held.items():
        said = f"import os\ndef test_it(): print('{name} in process', os.getpid())\n"
        (tests / name).write_text(head + said)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = slow\n")

    def run(*words: str) -> list[str]:
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rP", "--durations=2", *words, "tests"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.splitlines()

    by_one = run()
    done = [line.split()[0] for line in by_one if "in process" in line]
    assert done == ["faults/test_c.py", "faults/test_d.py", "test_b.py", "test_a.py"]
    by_two = run("-n", "2", "--dist", "loadfile", "--no-loadscope-reorder")
    process = {line.split()[0]: line.split()[-1] for line in by_two if "in process" in line}
    assert process.keys() == held.keys()
    assert process["faults/test_c.py"] == process["faults/test_d.py"]
    for lines in (by_one, by_two):
        (title,) = (place for place, line in enumerate(lines) if " longest files " in line)
        assert [line.split()[-1].startswith("tests/") for line in lines[title + 1 : title + 3]] == [True, True]
    assert any(line.startswith("gw0: ") and "gw1: " in line for line in by_two)
