"""The engine's own world at the size of the default, given as a user's files in published forms: the same round."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra.store import Store
from tasks.report.stage import read_facts
from tests.flows.own_world import alike, as_campaign, in_published_forms
from tests.profiles import load_profile

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(3600)]
ROOT = Path(__file__).resolve().parents[2]


def runs(folder: Path, *words: str) -> None:
    """A round, as it is typed in `folder`."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("ADHMR", "PREFECT", "RAY"))}
    environment = {**own, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-m", "flows.cli.main", "run", *words], cwd=folder, env=environment, check=True)


def test_a_round_on_files_is_the_round_on_what_they_are_of(tmp_path: Path) -> None:
    runs(tmp_path, "--store", "made")
    made = Store.open(tmp_path / "made", create=False)
    first = read_facts(made, "default", 1)
    as_campaign(
        made, first, in_published_forms(made, first, load_profile("tiny"), tmp_path / "files"), tmp_path / "mine.yaml"
    )
    runs(tmp_path, "--store", "given", "--config", "mine.yaml")
    given = Store.open(tmp_path / "given", create=False)
    facts = read_facts(given, "files", 1)
    assert not {run.name for run in facts.runs} & {"synthesize", "train_base", "train_scorer"}
    headline, pairs = alike((made, first), (given, facts))
    print(f"headlines {headline:.3f} points apart, {100 * pairs:.2f} % of the pairs the same")
    assert headline < 0.5
    assert pairs >= 0.99
