"""A round as a schedule has it, of somebody who serves: the deployment's run, its state, and the rows in the store."""

import json

from prefect.client.schemas.objects import StateType

from infra import rounds
from infra.stages import records
from infra.store import Store
from infra.views import query
from tests.flows.deployments import SNAPSHOT
from tests.flows.person import Person


def check_a_round_by_its_deployment(person: Person) -> None:
    """Run the first one of `micro`, and look at all that it leaves. What was served tells its logs where that fails."""
    try:
        said = person.says("prefect", "deployment", "run", "dpo-round", "--watch", "-p", "profile=micro")
        assert "Flow run finished successfully in " in said
        assert person.files_with_the_login() == ["prefect-login"]
        assert person.deployments() == json.loads(SNAPSHOT.read_text(encoding="utf-8"))
        store = Store.open(person.store, create=False)
        decided = rounds.state(store, "micro").decision(1)
        assert decided is not None
        (run,) = person.runs()
        assert run.state_type is StateType.COMPLETED
        assert run.state_name == {"promoted": "Promoted", "kept": "Kept"}[decided.event]
        assert run.name.startswith("dpo-round 1 of micro, policy ")
        written = sum(record.rows["pairs"] for record in records(store) if record.stage == "pair")
        assert written > 0
        counted = query(store, "SELECT round, count(*) AS pairs FROM pairs GROUP BY round").to_pylist()
        assert counted == [{"round": 1, "pairs": written}]
    except BaseException:
        person.print_logs()
        raise
