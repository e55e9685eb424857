"""A round as a schedule has it: deployment, worker, two nodes of Ray, a store on S3; all of it on the loopback.

Nightly; on Ray of one machine, with a store on its disk: `tests/flows/serve/test_commands.py`.
"""

from pathlib import Path

import pytest

from tests.flows.deployed_round import check_a_round_by_its_deployment
from tests.flows.person import Person
from tests.infra.buckets import OURS, s3_server
from tests.infra.two_nodes import two_nodes

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(900)]


def test_a_round_by_its_deployment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_server(monkeypatch) as s3, two_nodes(**s3) as cluster:
        environment = {**cluster.environment, "RAY_ADDRESS": cluster.address}
        person = Person(tmp_path / "served", f"s3://{OURS}/deep/store", environment)
        try:
            person.serves()
            check_a_round_by_its_deployment(person)
            assert len(cluster.processes("raylet")) == 2
        finally:
            person.stops()
