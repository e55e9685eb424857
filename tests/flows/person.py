"""Somebody at a terminal, who serves from a folder of their own; and what their server has."""

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from flows.serve.place import login, page_url
from infra.services import Services, free_port
from tests.flows.deployments import Described, of_server

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Person:
    """`environment` is all that they have, but for what names folder and store."""

    folder: Path
    store: str
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    works_in: Path = ROOT

    def __post_init__(self) -> None:
        own = {name: value for name, value in self.environment.items() if not name.startswith("PREFECT")}
        self.environment = {
            **own,
            "ADHMR_SERVE": str(self.folder),
            "ADHMR_STORE": self.store,
            "PYTHONPATH": str(ROOT),
        }

    @property
    def services(self) -> Services:
        return Services(self.folder)

    def serves(self) -> str:
        """What they read after starting everything on ports that were free."""
        return self.says("flows.serve.commands", "start", "--port", str(free_port()))

    def stops(self) -> None:
        """End everything, and see that nothing of it is left."""
        self.says("flows.serve.commands", "stop")
        assert self.services.alive() == {}
        left = [one for one in os.listdir("/proc") if one.isdigit() and self._started(one)]
        assert not left, f"processes {left} are left of what was served"

    def says(self, *words: str) -> str:
        """What they read after `python -m WORDS`, which has to go well."""
        done = subprocess.run(
            [sys.executable, "-m", *words],
            cwd=self.works_in,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=1200,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def deployments(self) -> Described:
        with temporary_settings(self.api), get_client(sync_client=True) as client:
            flows = {str(flow.id): flow.name for flow in client.read_flows()}
            return of_server(client.read_deployments(), flows)

    def runs(self) -> list[FlowRun]:
        """Flow runs that deployments made, oldest first; not those of a flow inside of a flow."""
        with temporary_settings(self.api), get_client(sync_client=True) as client:
            found = [run for run in client.read_flow_runs() if run.deployment_id is not None]
        return sorted(found, key=lambda run: str(run.expected_start_time))

    def files_with_the_login(self) -> list[str]:
        """Files below the folder, the server's database among them, in which the server's password stands."""
        password = (login(self.services) or ":").partition(":")[2].encode()
        assert password
        found = [path for path in self.folder.rglob("*") if path.is_file() and password in path.read_bytes()]
        return [str(path.relative_to(self.folder)) for path in found]

    def print_logs(self) -> None:
        """For whoever reads why a test failed."""
        for log in sorted(self.folder.glob("*.log")):
            print(f"--- {log.name}\n{log.read_text(errors='replace')[-4000:]}")

    @property
    def api(self) -> dict[Any, Any]:
        """Settings by which this process finds their server."""
        return {PREFECT_API_URL: f"{page_url(self.services)}/api", PREFECT_API_AUTH_STRING: login(self.services)}

    def _started(self, process: str) -> bool:
        try:
            environment = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
        except OSError:
            return False
        return f"ADHMR_SERVE={self.folder}".encode() in environment
