"""The deployments against their snapshot, and what a person at Prefect's form may expect of each."""

import importlib
import json
import pkgutil
from typing import Any

import pytest
from prefect import Flow
from prefect.client.schemas.schedules import CronSchedule

import flows
from tests.flows.deployments import SNAPSHOT, in_yaml, of_yaml

DEPLOYMENTS = in_yaml()
each = pytest.mark.parametrize("given", DEPLOYMENTS, ids=[one["name"] for one in DEPLOYMENTS])


def test_snapshot() -> None:
    """Names, entrypoints, schemas and schedules are what schedules and scripts of others rely on.

    After a change that is meant: `python -m tests.flows.deployments`.
    """
    assert of_yaml() == json.loads(SNAPSHOT.read_text(encoding="utf-8"))


def test_every_flow_has_a_deployment_of_its_name() -> None:
    modules = [importlib.import_module(f"flows.{one.name}") for one in pkgutil.iter_modules(flows.__path__)]
    names = {found.name for module in modules for found in vars(module).values() if isinstance(found, Flow)}
    assert {one["name"] for one in DEPLOYMENTS} == names
    assert all(found["flow"] == name for name, found in of_yaml().items())


@each
def test_a_person_is_told_what_it_is_and_what_to_fill_in(given: dict[str, Any]) -> None:
    assert len(given["description"]) > 40
    parameters = of_yaml()[given["name"]]["parameters"]["properties"]
    for name, field in parameters.items():
        assert field.get("description"), f"{name} has no description"
    assert parameters["profile"]["enum"] == ["tiny", "micro", "paper"]


@each
def test_schedules_sleep_until_somebody_wakes_them(given: dict[str, Any]) -> None:
    required = set(of_yaml()[given["name"]]["parameters"]["required"])
    for plan in given.get("schedules", []):
        assert plan["active"] is False
        assert plan["slug"]
        CronSchedule(cron=plan["cron"], timezone=plan["timezone"])
        assert required <= set(plan.get("parameters", {})), "a scheduled run would lack parameters"


def test_rounds_are_not_heaped_up_and_requests_are_not_lost() -> None:
    strategies = {one["name"]: one["concurrency_limit"] for one in DEPLOYMENTS}
    for name, limit in strategies.items():
        assert limit["limit"] == 1
        assert limit["collision_strategy"] == ("CANCEL_NEW" if name.endswith("-round") else "ENQUEUE")
