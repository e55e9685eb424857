"""What people and schedules rely on of the deployments, as plain data: of prefect.yaml, or of a Prefect server.

`python -m tests.flows.deployments` writes the snapshot again, after a change that is meant.
"""

import json
from pathlib import Path
from typing import Any

import yaml
from prefect.client.schemas.responses import DeploymentResponse
from prefect.flows import load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema

ROOT = Path(__file__).resolve().parents[2]
SNAPSHOT = Path(__file__).with_name("deployments.json")
Described = dict[str, dict[str, Any]]


def in_yaml() -> list[dict[str, Any]]:
    """The deployments as prefect.yaml has them."""
    found: list[dict[str, Any]] = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    return found


def of_yaml() -> Described:
    """By name, each with the schema that Prefect makes of its flow."""
    return {
        one["name"]: {
            "flow": load_flow_from_entrypoint(one["entrypoint"], use_placeholder_flow=False).name,
            "entrypoint": one["entrypoint"],
            "work_pool": one["work_pool"]["name"],
            "tags": sorted(one["tags"]),
            "concurrency": [one["concurrency_limit"]["limit"], one["concurrency_limit"]["collision_strategy"]],
            "schedules": [
                {name: plan.get(name, {}) for name in ("slug", "cron", "timezone", "active", "parameters")}
                for plan in one.get("schedules", [])
            ],
            "parameters": _plain(parameter_schema(load_flow_from_entrypoint(one["entrypoint"])).model_dump()),
        }
        for one in in_yaml()
    }


def of_server(deployments: list[DeploymentResponse], flows: dict[str, str]) -> Described:
    """By name, as a server has them; `flows` are the names of its flows by id."""
    return {
        one.name: {
            "flow": flows[str(one.flow_id)],
            "entrypoint": one.entrypoint,
            "work_pool": one.work_pool_name,
            "tags": sorted(one.tags),
            "concurrency": [
                one.global_concurrency_limit.limit if one.global_concurrency_limit else None,
                one.concurrency_options.collision_strategy.value if one.concurrency_options else None,
            ],
            "schedules": [
                {
                    "slug": plan.slug,
                    "cron": getattr(plan.schedule, "cron", None),
                    "timezone": plan.schedule.timezone,
                    "active": plan.active,
                    "parameters": plan.parameters,
                }
                for plan in one.schedules
            ],
            "parameters": _plain(one.parameter_openapi_schema),
        }
        for one in deployments
    }


def _plain(schema: Any) -> Any:
    """A schema as JSON has it, without what is empty."""
    said = {name: value for name, value in json.loads(json.dumps(schema)).items() if value}
    return {**said, "required": sorted(said.get("required", []))}


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps(of_yaml(), indent=1, sort_keys=True) + "\n", encoding="utf-8")
