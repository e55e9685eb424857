"""`make mutants`: draw mutants of the modules that hold the science, and run each against its room's tests.

python -m tests.mutants [--seed 0] [--each 4] [--at-once 2] [words]     (words: parts of the paths of modules)

A mutant dies when a test of its room fails. One that lives is a line that no test holds: write the test, or list it in
`equivalent` with the reason why it can't matter. Exit code 1 if more than a tenth live, or one written by hand does.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from tests.mutants.draw import Mutant, draw
from tests.mutants.equivalent import reason
from tests.mutants.rooms import ROOMS
from tests.mutants.survivors import SURVIVORS

ROOT = Path(__file__).resolve().parents[2]
_COPIED = (
    "schemas",
    "models",
    "infra",
    "tasks",
    "flows",
    "tests",
    "pyproject.toml",
    "prefect.yaml",
    "prefect.toml",
    "adhmr_engine.py",
    "docs",
    "README.md",
)
_SECONDS = 300.0
_LIVING_SHARE = 0.1


@dataclass(frozen=True)
class Trial:
    """A mutant and the tests that have to notice it."""

    mutant: Mutant
    tests: tuple[str, ...]
    by_hand: bool


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant: killed, lives, or timed out, which is a death too; or why it can't matter."""

    trial: Trial
    verdict: str
    seconds: float

    @property
    def lives(self) -> bool:
        return self.verdict == "LIVES"


def main(arguments: Sequence[str]) -> int:
    """Draw, run, tell; 0 if the tests hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="which mutants are drawn")
    parser.add_argument("--each", type=int, default=4, help="mutants of a module")
    parser.add_argument("--at-once", type=int, default=2, help="mutants at a time")
    parser.add_argument("words", nargs="*", help="parts of the modules' paths; all if not given")
    asked = parser.parse_args(arguments)
    trials = _trials(asked.seed, asked.each, asked.words)
    if not trials:
        print("No module's path has any of these words.", file=sys.stderr)
        return 2
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        places: SimpleQueue[Path] = SimpleQueue()
        for number in range(asked.at_once):
            places.put(_copy(Path(folder) / str(number)))
        with ThreadPoolExecutor(asked.at_once) as pool:
            outcomes = []
            for outcome in pool.map(lambda trial: _run(trial, places), trials):
                print(f"{outcome.verdict:<9} {outcome.seconds:5.0f} s  {outcome.trial.mutant.name}", flush=True)
                outcomes.append(outcome)
    return _tell(outcomes, asked.seed, time.monotonic() - began)


def _trials(seed: int, each: int, words: Sequence[str]) -> list[Trial]:
    chosen = [module for module in ROOMS if not words or any(word in module for word in words)]
    by_hand = [one for one in SURVIVORS if not words or any(word in one.module for word in words)]
    return [
        *(Trial(one.mutant(ROOT), one.tests, True) for one in by_hand),
        *(Trial(mutant, ROOMS[module], False) for module in chosen for mutant in draw(ROOT, module, each, seed)),
    ]


def _copy(place: Path) -> Path:
    """The tree at `place`, so that nothing of ours is ever touched."""
    place.mkdir(parents=True)
    for name in _COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, place / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, place / name)
    return place


def _run(trial: Trial, places: "SimpleQueue[Path]") -> Outcome:
    mutant = trial.mutant
    if why := reason(mutant.module, mutant.text, mutant.before, mutant.after):
        return Outcome(trial, f"can't matter ({why})", 0.0)
    place, began = places.get(), time.monotonic()
    file = place / mutant.module
    original = file.read_text(encoding="utf-8")
    try:
        file.write_text(mutant.source, encoding="utf-8")
        verdict = _verdict(place, trial.tests)
    finally:
        file.write_text(original, encoding="utf-8")
        places.put(place)
    return Outcome(trial, verdict, time.monotonic() - began)


def _verdict(place: Path, tests: Sequence[str]) -> str:
    lost = [test for test in tests if not (place / test).exists()]
    if lost:
        raise RuntimeError(f"{', '.join(lost)}: there are no such tests; tests/mutants/rooms.py names them.")
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider", *tests]
    environment = {**os.environ, "PYTHONPATH": str(place), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    command += ["-m", "not nightly and not faults and not paper"]
    try:
        done = subprocess.run(
            command, cwd=place, env=environment, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return "timed out"
    if done.returncode == 0:
        return "LIVES"
    if done.returncode in (1, 2):  # a test failed, or the module could not even be imported
        return "killed"
    raise RuntimeError(f"pytest ended with {done.returncode} in {place}: {done.stdout[-2000:]}{done.stderr[-2000:]}")


def _tell(outcomes: Sequence[Outcome], seed: int, seconds: float) -> int:
    able = [outcome for outcome in outcomes if not outcome.verdict.startswith("can't")]
    living = [outcome for outcome in able if outcome.lives]
    modules = {outcome.trial.mutant.module for outcome in outcomes}
    print(
        f"\nseed {seed}: {len(able) - len(living)} of {len(able)} mutants of {len(modules)} modules died, "
        f"{len(outcomes) - len(able)} can't matter, in {seconds / 60:.1f} minutes"
    )
    for outcome in living:
        print(f"LIVES: {outcome.trial.mutant.name}")
    by_hand = any(outcome.trial.by_hand for outcome in living)
    return 1 if by_hand or len(living) > _LIVING_SHARE * len(able) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
