"""The deployments against their snapshot, and what a person at Prefect's form may expect of each."""

import importlib
import json
import pkgutil
from typing import Any

import pytest
from prefect import Flow
from prefect.client.schemas.schedules import CronSchedule
from prefect.flows import load_flow_from_entrypoint
from prefect.utilities.schema_tools.validation import validate

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
    # the controls of `make evidence`, which runs them by itself, are nobody's to schedule
    assert {one["name"] for one in DEPLOYMENTS} == names - {"controls"}
    assert all(found["flow"] == name for name, found in of_yaml().items())


@each
def test_a_person_is_told_what_it_is_and_what_to_fill_in(given: dict[str, Any]) -> None:
    assert len(given["description"]) > 40
    parameters = of_yaml()[given["name"]]["parameters"]["properties"]
    for name, field in parameters.items():
        assert field.get("description"), f"{name} has no description"
    assert parameters["profile"]["enum"] == ["", "tiny", "micro", "paper"]


@each
def test_a_form_has_a_field_for_whatever_may_be_left_out(given: dict[str, Any]) -> None:
    """Where the default is null Prefect's form has none: it says 'Property is type "None"'. Left as the form begins, or
    null by a script, such a parameter counts as left out; the server takes both."""
    schema = of_yaml()[given["name"]]["parameters"]
    optional = {name: field["default"] for name, field in schema["properties"].items() if "anyOf" in field}
    of_campaign = set() if "step" in given["tags"] else {"campaign"}
    assert set(optional) >= {"store", "changes"} | of_campaign
    assert all(default in ("", {}, []) for default in optional.values())
    needed = {name: _filled_in(schema["properties"][name]) for name in schema["required"]}
    flow = load_flow_from_entrypoint(given["entrypoint"], use_placeholder_flow=False)
    for begun in (optional, dict.fromkeys(optional)):
        validate({**needed, **begun}, schema, raise_on_error=True)
        taken = flow.validate_parameters({**needed, **begun})
        assert all(not taken[name] and taken[name] != "" for name in optional), taken


def _filled_in(field: dict[str, Any]) -> Any:
    """Something that a required field takes."""
    return ["text"] if field["type"] == "array" else field.get("enum", ["text"])[0]


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
