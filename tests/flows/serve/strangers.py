"""What a stranger's page or another user of the machine would send to a Prefect server, and what its owner sends."""

import json
import socket
from typing import Any

import httpx
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

EVIL = "https://evil.example"
ASKED = "/api/flow_runs/filter"
SOCKETS = ("/api/events/in", "/api/events/out", "/api/logs/out", "/api/work_pools/adhmr/workers/connect")


def check_that_strangers_are_refused(port: int, login: str) -> None:
    """Everything without the log-in, from a foreign page or under a foreign name is refused; the rest is answered."""
    name, _, password = login.partition(":")
    page = f"http://127.0.0.1:{port}"
    with httpx.Client(base_url=page, timeout=30) as stranger, httpx.Client(base_url=page, auth=(name, password)) as own:
        for origin in (EVIL, "null", f"http://127.0.0.1:{port + 1}", f"http://127.0.0.1:{port}.evil.example"):
            wanted = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
            preflight = stranger.options(ASKED, headers={"Origin": origin, **wanted})
            assert preflight.status_code == 403, origin
            assert not any(header.startswith("access-control") for header in preflight.headers), origin
            assert own.post(ASKED, json={}, headers={"Origin": origin}).status_code == 403, origin
            assert own.post(ASKED, content="{}", headers={"Origin": origin, "Content-Type": "text/plain"}).is_error
        for host in ("evil.example", f"evil.example:{port}", f"127.0.0.1:{port + 1}", "127.0.0.1.evil.example"):
            assert own.post(ASKED, json={}, headers={"Host": host}).status_code == 403, host
        assert stranger.post(ASKED, json={}).status_code == 401
        assert stranger.get("/api/admin/settings").status_code == 401
        assert stranger.post(ASKED, json={}, auth=(name, "guessed")).status_code == 401
        assert own.post(ASKED, json={}).status_code == 200
        for host in ("127.0.0.1", "localhost"):
            headers = {"Host": f"{host}:{port}", "Origin": f"http://{host}:{port}"}
            assert own.post(ASKED, json={}, headers=headers).status_code == 200
    for path in SOCKETS:
        url = f"ws://127.0.0.1:{port}{path}"
        assert enters(url, login)
        assert not enters(url, None)
        assert not enters(url, f"{name}:guessed")
        assert not enters(url, login, prefect=False)
        assert not enters(url, login, origin=EVIL)
        assert not enters(url, login, host=f"evil.example:{port}")


def enters(url: str, login: str | None, *, prefect: bool = True, origin: str = "", host: str = "") -> bool:
    """Whether a websocket with this log-in is let in."""
    given: dict[str, Any] = {"subprotocols": [Subprotocol("prefect")]} if prefect else {}
    if host:
        given["sock"] = _to(url)
        url = f"ws://{host}/{url.split('/', 3)[3]}"
    try:
        with connect(url, origin=Origin(origin) if origin else None, open_timeout=30, **given) as opened:
            opened.send(json.dumps({"type": "auth", "token": login}))
            return bool(json.loads(opened.recv(timeout=30))["type"] == "auth_success")
    except (ConnectionClosed, InvalidStatus):
        return False


def _to(url: str) -> Any:
    host, _, port = url.split("/")[2].partition(":")
    return socket.create_connection((host, int(port)), timeout=30)
