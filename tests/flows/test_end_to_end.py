"""A round as a schedule has it: deployment, worker, two nodes of Ray, a store on S3; all of it on the loopback.

Nightly; on Ray of one machine, with a store on its disk: `tests/flows/serve/test_commands.py`.
"""

import json
from pathlib import Path

import pytest
from prefect.client.schemas.objects import StateType

from infra import rounds
from infra.stages import records
from infra.store import Store
from infra.views import query
from tests.flows.deployments import SNAPSHOT
from tests.flows.person import Person
from tests.infra.buckets import OURS, s3_server
from tests.infra.two_nodes import two_nodes

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(900)]
STORE = f"s3://{OURS}/deep/store"


def test_a_round_by_its_deployment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_server(monkeypatch) as s3, two_nodes(**s3) as cluster:
        person = Person(tmp_path / "served", STORE, {**cluster.environment, "RAY_ADDRESS": cluster.address})
        try:
            person.serves()
            said = person.says("prefect", "deployment", "run", "dpo-round", "--watch", "-p", "profile=micro")
            assert "Flow run finished successfully in " in said
            assert len(cluster.processes("raylet")) == 2
            deployments, runs = person.deployments(), person.runs()
            assert person.files_with_the_login() == ["prefect-login"]
        except BaseException:
            person.print_logs()
            raise
        finally:
            person.stops()
        assert deployments == json.loads(SNAPSHOT.read_text(encoding="utf-8"))

        store = Store.open(STORE, create=False)
        decided = rounds.state(store, "micro").decision(1)
        assert decided is not None
        (run,) = runs
        assert run.state_type is StateType.COMPLETED
        assert run.state_name == {"promoted": "Promoted", "kept": "Kept"}[decided.event]
        assert run.name.startswith("dpo-round 1 of micro, policy ")

        written = sum(record.rows["pairs"] for record in records(store) if record.stage == "pair")
        assert written > 0
        counted = query(store, "SELECT round, count(*) AS pairs FROM pairs GROUP BY round").to_pylist()
        assert counted == [{"round": 1, "pairs": written}]
