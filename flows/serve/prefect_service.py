"""The Prefect server of `make serve`: started with a log-in, and asked with it."""

import http.client
import json
import os
import secrets
import sys
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

from flows.serve.place import CLIENT_LOGIN_VARIABLE, LOGIN_VARIABLE, POOL, PREFECT, login, login_file
from infra.private import write_secret
from infra.services import LOOPBACK, ServiceError, Services

_NAME, _PASSWORD_BYTES = "adhmr", 24
_SECONDS = 5.0


def keep_login(services: Services) -> str:
    """See to it that the folder has name:password of its Prefect server; the answer is what was made up for it, if so.

    PREFECT_SERVER_API_AUTH_STRING says which, where nothing runs yet; else what is there stays. Raises ServiceError.
    """
    current = login(services)
    wanted = "" if services.alive() else os.environ.get(LOGIN_VARIABLE, "")
    if current is not None and wanted in ("", current):
        return ""
    new = wanted or f"{_NAME}:{secrets.token_urlsafe(_PASSWORD_BYTES)}"
    try:
        write_secret(login_file(services), new)
    except OSError as error:
        raise ServiceError(f"{login_file(services)} can't be written: {error}.") from error
    return "" if wanted else new


def login_variables(services: Services) -> dict[str, str]:
    """The folder's log-in, as Prefect's server and its clients find it in their environment."""
    secret = login(services)
    return {LOGIN_VARIABLE: secret, CLIENT_LOGIN_VARIABLE: secret} if secret else {}


def start_prefect(services: Services, environment: Mapping[str, str], port: int) -> None:
    """Start the server. Its log-in travels in the environment: everybody may read the command line of a process."""
    command = [sys.executable, "-m", "flows.serve.server", "--port", str(port)]
    services.start(PREFECT, command, environment, port)


def is_well(port: int) -> bool:
    """Whether the server answers."""
    return ask(port, {}, "GET", "/api/health") is not None


def lets_strangers_in(port: int) -> bool:
    """Whether it answers a client without its log-in."""
    return ask(port, {}, "GET", "/api/admin/version") is not None


def worker_is_online(port: int, environment: Mapping[str, str]) -> bool:
    """Whether the pool has a worker that was heard of lately."""
    workers = ask(port, environment, "POST", f"/api/work_pools/{POOL}/workers/filter")
    return any(worker.get("status") == "ONLINE" for worker in workers or [])


def tell_crashed(port: int, environment: Mapping[str, str]) -> None:
    """Tell the Prefect server that no run of the pool is at work: else those that were count as running for ever."""
    at_work = {"state": {"type": {"any_": ["RUNNING", "PENDING", "CANCELLING"]}}}
    of_pool = {"flow_runs": at_work, "work_pools": {"name": {"any_": [POOL]}}}
    runs = [run["id"] for run in ask(port, environment, "POST", "/api/flow_runs/filter", of_pool) or []]
    if not runs:
        return
    inner = {"flow_runs": {**at_work, "parent_flow_run_id": {"any_": runs}}}  # which belong to no pool
    runs += [run["id"] for run in ask(port, environment, "POST", "/api/flow_runs/filter", inner) or []]
    message = "Its process ended with the worker. The next run of the round goes on where this one was."
    state = {"type": "CRASHED", "name": "Crashed", "message": message}
    for run in runs:
        ask(port, environment, "POST", f"/api/flow_runs/{run}/set_state", {"state": state, "force": True})


def ask(
    port: int, environment: Mapping[str, str], method: str, path: str, body: Mapping[str, Any] | None = None
) -> Any:
    """What the Prefect server answers; None if it doesn't, or not well."""
    headers = {"Content-Type": "application/json"}
    secret = environment.get(CLIENT_LOGIN_VARIABLE)
    if secret:
        headers["Authorization"] = f"Basic {b64encode(secret.encode()).decode()}"
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=_SECONDS)
    try:
        connection.request(method, path, json.dumps(body or {}) if method == "POST" else None, headers)
        answer = connection.getresponse()
        content = answer.read()
        return json.loads(content) if answer.status in (http.HTTPStatus.OK, http.HTTPStatus.CREATED) else None
    except (OSError, http.client.HTTPException, json.JSONDecodeError):
        return None
    finally:
        connection.close()
