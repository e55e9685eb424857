"""Three rounds by a schedule, with nobody looking: three commits of each kind, memory flat, duplicates cancelled."""

import time
from collections import defaultdict
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.settings import temporary_settings

from flows.serve.place import PREFECT
from infra import rounds
from infra.commits import commits_of
from infra.stages import records
from infra.store import Store
from infra.tables import read
from tests.flows.person import Person

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(1800)]
ROUNDS, INTERVAL, PATIENCE = 3, timedelta(seconds=45), 1500.0
MIB = 1024**2
SERVER_GROWTH, DRIVER_GROWTH = 1.25, 1.15
"""How much of its memory after the first round a server or a driver may have after the last."""


@pytest.fixture
def person(tmp_path: Path) -> Iterator[Person]:
    found = Person(tmp_path / "served", str(tmp_path / "store"))
    found.environment.pop("RAY_ADDRESS", None)
    try:
        yield found
    finally:
        found.print_logs()
        found.stops()


def wake(person: Person) -> None:
    """A schedule as a person's in prefect.yaml, of a shorter interval than a round takes."""
    short = DeploymentScheduleCreate(
        schedule=IntervalSchedule(interval=INTERVAL), active=True, parameters={"profile": "micro"}, slug="soak"
    )
    with temporary_settings(person.api), get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name("dpo-round/dpo-round")
        client.create_deployment_schedules(deployment.id, [short])


def memory(process: psutil.Process) -> float:
    """MiB that are a process's own; 0 if it is gone."""
    try:
        return process.memory_full_info().uss / MIB
    except psutil.Error:
        return 0.0


def drivers(person: Person) -> list[tuple[str, psutil.Process]]:
    """The processes of flow runs, each with its run: the driver, and what supervises it. Ray's are the cluster's."""
    found = []
    for one in psutil.process_iter():
        try:
            environment = one.environ()
            if environment.get("ADHMR_SERVE") == str(person.folder):
                found.append((environment["PREFECT__FLOW_RUN_ID"], one))
        except (psutil.Error, KeyError):
            continue
    return found


def completed(person: Person) -> list[FlowRun]:
    """Runs that ended well, oldest first."""
    return [run for run in person.runs() if run.state_type is StateType.COMPLETED]


def test_three_rounds_by_schedule(person: Person) -> None:
    person.serves()
    wake(person)
    store = Store.open(person.store)
    server = person.services.alive()[PREFECT].process()
    assert server is not None
    of_server: dict[int, float] = {}
    of_drivers: dict[str, float] = defaultdict(float)
    end = time.monotonic() + PATIENCE
    while len(of_server) < ROUNDS or len(completed(person)) < ROUNDS:
        assert time.monotonic() < end, f"{len(of_server)} rounds in {PATIENCE:.0f} s"
        for run, process in drivers(person):
            of_drivers[run] = max(of_drivers[run], memory(process))
        state = rounds.state(store, "micro")
        if state.round and not state.is_open:
            of_server.setdefault(state.round, memory(server))
        time.sleep(1.0)
    runs, done = person.runs(), completed(person)[:ROUNDS]
    assert {run.state_name for run in runs} <= {
        "Promoted",
        "Kept",
        "Cancelled",
        "Running",
        "Pending",
        "Scheduled",
        "Late",
    }
    peaks = [of_drivers[str(run.id)] for run in done]
    print("Prefect server after each round, MiB:", *(f"{value:.0f}" for value in of_server.values()))
    print("driver of each round, peak, MiB:", *(f"{value:.0f}" for value in peaks))
    print("runs:", *(run.state_name for run in runs))
    assert max(peaks) <= DRIVER_GROWTH * peaks[0]
    assert of_server[ROUNDS] <= SERVER_GROWTH * of_server[1]

    made = defaultdict(list)
    for record in records(store):
        if record.round is not None and record.round <= ROUNDS:
            made[record.stage].append(record.round)
            committed = [commit.table for commit in commits_of(store, [record.stage_key]) if commit.table != "stages"]
            assert sorted(committed) == sorted(table for table, count in record.rows.items() if count), record.stage
    for stage in ("generate", "score", "compare", "report"):
        assert [made[stage].count(number) for number in range(1, ROUNDS + 1)] == [1] * ROUNDS, stage
    for table in ("hypotheses", "scores", "pairs", "metrics"):
        by_round = read(store, table, columns=["round"]).column("round").to_pylist()
        assert all(by_round.count(number) > 0 for number in range(1, ROUNDS + 1)), table
    events = [event.event for event in rounds.state(store, "micro").events if event.round <= ROUNDS and event.round]
    assert [events.count(kind) for kind in ("opened", "closed")] == [ROUNDS, ROUNDS]
