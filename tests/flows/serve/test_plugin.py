"""The contract with Prefect's plugin system, and what it is for: `prefect deployment run dpo-round`."""

import json
import logging
import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect.client.orchestration import SyncPrefectClient
from prefect.plugins import HookContext

from flows.serve import plugin as prefect_plugin
from infra.private import write_secret
from infra.processes import birth
from tests.prefect_server import PrefectServer

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
@given(st.text())
def test_full_name(name: str) -> None:
    full = prefect_plugin.full_name(name)
    assert full == prefect_plugin.full_name(full)
    assert full == (name if "/" in name or not name else f"{name}/{name}")


def test_prefect_finds_the_plugin() -> None:
    (found,) = (entry for entry in entry_points(group="prefect.plugins") if entry.name == "adhmr-engine")
    assert found.load() is prefect_plugin


def test_bare_names_reach_the_server_as_full_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def request(self: object, method: str, path: str, path_params: dict[str, str]) -> Any:
        asked.append(tuple(path_params.values()))
        raise ConnectionError

    lookup = SyncPrefectClient.read_deployment_by_name
    monkeypatch.setattr(SyncPrefectClient, "read_deployment_by_name", getattr(lookup, "__wrapped__", lookup))
    monkeypatch.setattr(SyncPrefectClient, "request", request)
    client = SyncPrefectClient("http://127.0.0.1:1/api")
    with pytest.raises(ValueError, match="Invalid deployment name"):
        client.read_deployment_by_name("dpo-round")
    context = HookContext("3", None, logging.getLogger)
    prefect_plugin.setup_environment(ctx=context)
    prefect_plugin.setup_environment(ctx=context)
    for name in ("dpo-round", "clean-round/nightly"):
        with pytest.raises(ConnectionError):
            client.read_deployment_by_name(name)
    assert asked == [("dpo-round", "dpo-round"), ("clean-round", "nightly")]


@pytest.mark.slow
def test_the_working_directory_switches_it_on() -> None:
    script = (
        "from prefect.client.orchestration import PrefectClient, SyncPrefectClient;"
        "print([getattr(c.read_deployment_by_name, 'takes_bare_names', False)"
        " for c in (PrefectClient, SyncPrefectClient)])"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT")}
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout == "[True, True]\n"


@pytest.mark.slow
def test_prefect_deployment_run_takes_a_bare_name(prefect_server: PrefectServer) -> None:
    from prefect import flow, get_client
    from prefect.client.schemas.filters import FlowFilter, FlowFilterName
    from prefect.settings import PREFECT_API_URL

    name = f"round-{uuid4().hex[:6]}"

    @flow(name=name)
    def some_round() -> None: ...

    with prefect_server.used(), get_client(sync_client=True) as client:
        flow_id = client.create_flow_from_name(name)
        deployment = client.create_deployment(flow_id, name)
        url = str(client.api_url)
        run = subprocess.run(
            [sys.executable, "-m", "prefect", "deployment", "run", name],
            cwd=ROOT,
            env={**os.environ, PREFECT_API_URL.name: url},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert run.returncode == 0, run.stdout + run.stderr
        (flow_run,) = client.read_flow_runs(flow_filter=FlowFilter(name=FlowFilterName(any_=[name])))
    assert flow_run.deployment_id == deployment


@pytest.mark.slow
def test_the_server_of_make_serve_is_meant_where_none_is_named(tmp_path: Path) -> None:
    """As Prefect itself sees it, in a process of its own in this folder."""
    served = {"name": "prefect", "pid": os.getpid(), "born": birth(os.getpid()), "port": 4321, "log": "", "note": ""}
    (tmp_path / "services.json").write_text(json.dumps({"mark": "m", "services": [served]}))
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT")}
    plain |= {"ADHMR_SERVE": str(tmp_path), "PREFECT_HOME": str(tmp_path / "home")}

    def api(**environment: str) -> str:
        script = (
            "from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL; import prefect;"
            "print(PREFECT_API_URL.value(), PREFECT_API_AUTH_STRING.value())"
        )
        return subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            env={**plain, **environment},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    assert api() == "http://127.0.0.1:4321/api None\n"
    write_secret(tmp_path / "prefect-login", "name:word")
    assert api() == "http://127.0.0.1:4321/api name:word\n"
    assert api(PREFECT_API_URL="http://localhost:4321/api") == "http://127.0.0.1:4321/api name:word\n"
    assert api(PREFECT_API_URL="http://127.0.0.1:4999/api") == "http://127.0.0.1:4999/api None\n"
    served["born"] = "before"
    (tmp_path / "services.json").write_text(json.dumps({"mark": "m", "services": [served]}))
    assert api() == "None None\n"
