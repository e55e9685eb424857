"""SIGKILL of Ray's workers, and of whole nodes, in generate, score and DPO: the stage goes on, in the same run."""

import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from infra.store import Store
from tests.faults.nursery import Nursery
from tests.faults.on_ray import DEATHS
from tests.faults.tables import different, visible
from tests.infra.two_nodes import two_nodes
from tests.tasks.conftest import MicroStore

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
PORTS = ("--min-worker-port=0", "--max-worker-port=0")
ROOT = Path(__file__).resolve().parents[2]
DRIVER = """
import sys
from tests.faults.on_ray import work
work(*sys.argv[1:])
"""
SOON = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
}
"""Ray looks for dead nodes more often than it does by itself."""


@pytest.fixture(scope="module")
def undisturbed(nursery: Nursery, shared_micro_store: MicroStore, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The three stages without Ray, in a store of their own."""
    folder = tmp_path_factory.mktemp("undisturbed") / "store"
    shutil.copytree(shared_micro_store.store.root, folder)
    outcome = nursery.do("tests.faults.on_ray:work", str(folder), *shared_micro_store[1:], True)
    assert outcome.returncode == 0, outcome
    return Store.open(folder)


def deaths(folder: Path) -> set[str]:
    """The points at which a process died."""
    return {path.name.removeprefix("died.") for path in folder.glob("died.*")}


def test_a_worker_dies_in_each_stage(
    nursery: Nursery, micro_store: MicroStore, undisturbed: Store, tmp_path: Path
) -> None:
    outcome = nursery.do(
        "tests.faults.on_ray:work",
        *(micro_store.store.url, *micro_store[1:]),
        fault=",".join(DEATHS),
        ADHMR_FAULT_ONCE=str(tmp_path / "died"),
        RAY_ADDRESS="",
    )
    assert outcome.returncode == 0, outcome
    assert deaths(tmp_path) == set(DEATHS)
    assert different(visible(micro_store.store), visible(undisturbed)) == []


@pytest.mark.faults
def test_a_node_dies_in_each_stage(micro_store: MicroStore, undisturbed: Store, tmp_path: Path) -> None:
    """The driver is at a head that does no work; of two nodes that do, one dies, and a new one comes."""
    dying = {
        "ADHMR_FAULT_AT": ",".join(DEATHS),
        "ADHMR_FAULT_ONCE": str(tmp_path / "died"),
        "ADHMR_FAULT_TAKES": "parent",
    }
    over = threading.Event()
    with two_nodes(cpus=(0, 1), **dying, **SOON) as cluster:
        another = (f"--address={cluster.address}", "--num-cpus=1", *PORTS)
        cluster.start_node(*another)

        def replace() -> None:
            replaced = 0
            while not over.wait(1.0):
                if len(deaths(tmp_path)) > replaced:
                    cluster.start_node(*another)
                    replaced += 1

        replacing = threading.Thread(target=replace)
        replacing.start()
        theirs = {name: value for name, value in cluster.environment.items() if name not in dying}
        try:
            # a process that was forked would not take part: Ray looks for tokens in the environment it was imported in
            driver = subprocess.run(
                [sys.executable, "-c", DRIVER, micro_store.store.url, *micro_store[1:]],
                cwd=ROOT,
                env={**theirs, "RAY_ADDRESS": cluster.address},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=600,
                check=False,
            )
        finally:
            over.set()
            replacing.join()
    assert driver.returncode == 0, driver.stdout
    assert deaths(tmp_path) == set(DEATHS)
    assert different(visible(micro_store.store), visible(undisturbed)) == []
    assert cluster.processes() == []
