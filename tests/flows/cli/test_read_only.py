"""A store that may only be read: everything that only looks works, what would write says so in one line."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra import rounds
from infra.store import Store
from tests.infra import helpers

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store.open(tmp_path / "store")
    helpers.run(made)
    rounds.begin(made, "c", "ba5e" * 16)
    rounds.open_round(made, "c", 1, "dpo round")
    rounds.promote(made, "c", 1, "f125" * 16, "all gates hold")
    rounds.close_round(made, "c", 1)
    subprocess.run(["chmod", "-R", "a-w,a+rX", made.root], check=True)
    yield made
    subprocess.run(["chmod", "-R", "u+w", made.root], check=True)


def call(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """As a user whom rights stop; the superuser, who runs tests in many containers, goes without what lets her pass."""
    home.mkdir(exist_ok=True)
    environment = {**os.environ, "HOME": str(home), "PREFECT_HOME": str(home), "PYTHONPATH": str(ROOT)}
    begun = [sys.executable, "-m", "flows.cli.main", *words]
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("the superuser may write everywhere, and setpriv is not there to stop her")
        begun = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", *begun]
    return subprocess.run(begun, env=environment, cwd=home, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("words", [("query", "SELECT count(*) FROM scores"), ("rounds",), ("status",), ("plan",)])
def test_looking_needs_no_right_to_write(store: Store, tmp_path: Path, words: tuple[str, ...]) -> None:
    done = call(tmp_path / "home", *words, "--store", store.url)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert not store.exists("views.sql")


@pytest.mark.parametrize(
    "words", [("rollback", "--to", "ba5e"), ("close", "--why", "x"), ("run", "--profile", "micro")]
)
def test_writing_says_that_it_may_not(store: Store, tmp_path: Path, words: tuple[str, ...]) -> None:
    done = call(tmp_path / "home", *words, "--store", store.url)
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert f"The store at {store.url} can't be used: it is not writable for this user" in line


def test_the_doctor_tells(store: Store, tmp_path: Path) -> None:
    done = call(tmp_path / "home", "doctor", "--store", store.url, "--profile", "micro")
    assert "Traceback" not in done.stderr
    (line,) = (line for line in done.stdout.splitlines() if " store: " in line)
    assert "not writable for this user" in line
    assert "Commands that only read" in line
