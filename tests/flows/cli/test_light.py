"""Commands that only read load no library that computes, trains or orchestrates: that is what they would wait for."""

import os
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from infra.stages import records
from infra.store import Store
from schemas.config.engine import EngineConfig
from tasks.report.facts import RoundFacts, StageRun
from tasks.report.stage import _facts_path, _to_json
from tests.earlier.make_store import ARCHIVE, CONFIGURATION

ROOT = Path(__file__).resolve().parents[3]
HEAVY = ("torch", "ray", "prefect", "scipy", "matplotlib", "PIL", "roma", "numba", "pandas")

MOST_MIB = 250
"""Memory that such a command may take, in a small store; of the processor's time, which others on the machine change,
1.5 s, which no test holds."""

SCRIPT = f"""
import re
import sys
from pathlib import Path
from flows.cli.main import work
sys.argv = ["adhmr", *sys.argv[1:]]
try:
    work()
except SystemExit as end:
    print("ended", end.code, file=sys.stderr)
# not what getrusage says: that is the memory of who started it, if that has more
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
print("MiB", int(peak[1]) >> 10, file=sys.stderr)
print("loaded", *sorted(set({HEAVY!r}) & set(sys.modules)), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a round of each kind behind it, the first with a report, and their configuration."""
    place = tmp_path_factory.mktemp("light")
    with ZipFile(ARCHIVE) as archive:
        archive.extractall(place)
    store, config = Store.open(place / "store"), EngineConfig.model_validate_json((place / CONFIGURATION).read_bytes())
    ran = tuple(StageRun(one.stage, "", one.stage_key, "run") for one in records(store, "compare") if one.round == 1)
    models = dict.fromkeys(("policy_before", "policy_after", "reference", "scorer"), "0" * 64)
    facts = RoundFacts(kind="dpo", campaign=config.campaign, number=1, runs=ran, **models)
    store.atomic_write(_facts_path(config.campaign, 1), _to_json(facts, config))
    store.atomic_write(f"reports/{facts.report_name}", b"a page")
    return place


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
@pytest.mark.parametrize(
    "words",
    [
        ("--help",),
        ("config", "--config", CONFIGURATION),
        ("plan", "--store", "store", "--config", CONFIGURATION),
        ("plan", "--store", "store", "--config", CONFIGURATION, "--clean"),
        ("report", "--round", "1", "--store", "store", "--config", CONFIGURATION),
        ("status", "--store", "store"),
        ("rounds", "--store", "store"),
        ("query", "--store", "store", "SELECT count(*) FROM pairs"),
    ],
    ids=" ".join,
)
def test_a_look_loads_none_of_them(folder: Path, words: tuple[str, ...]) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "ADHMR_"))}
    environment |= {"PYTHONPATH": str(ROOT), "PREFECT_HOME": str(folder / "prefect")}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *words], env=environment, cwd=folder, capture_output=True, text=True, check=False
    )
    ended, memory, loaded = done.stderr.splitlines()[-3:]
    assert (ended, loaded) == ("ended 0", "loaded"), done.stderr
    assert int(memory.removeprefix("MiB ")) <= MOST_MIB
    assert done.stdout
