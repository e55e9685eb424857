"""What the guard in front of a Prefect server lets through, case by case; real servers are asked in test_serve.py."""

import asyncio
import os
from typing import Any

import pytest

from flows.serve import server as prefect_server
from flows.serve.guard import Guard, own_hosts

OURS = "127.0.0.1:4200"


def answer(kind: str, headers: list[tuple[str, str]], port: int = 4200, origins: tuple[str, ...] = ()) -> Any:
    """What is sent back to a request with these headers; "through" where the application got it."""
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        sent.append("through")

    async def receive() -> Any:
        return {"type": f"{kind}.connect"}

    async def send(message: Any) -> None:
        sent.append(message.get("status", message["type"]))

    scope = {"type": kind, "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers]}
    asyncio.run(Guard(app, own_hosts(port), origins)(scope, receive, send))
    return sent[0]


@pytest.mark.parametrize(
    "headers",
    [
        [("host", OURS)],
        [("host", "LOCALHOST:4200"), ("origin", "http://localhost:4200")],
        [("host", OURS), ("origin", "http://localhost:4200")],
        [("host", OURS), ("origin", "http://pages.example")],
    ],
)
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_its_own_pages_and_programs_pass(kind: str, headers: list[tuple[str, str]]) -> None:
    assert answer(kind, headers, origins=("http://pages.example",)) == "through"


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("host", "")],
        [("host", "evil.example:4200")],
        [("host", "127.0.0.1")],
        [("host", OURS), ("host", "evil.example")],
        [("host", f"{OURS}.evil.example")],
        [("host", "127.0.0.1:4200@evil.example")],
        [("host", OURS), ("origin", "null")],
        [("host", OURS), ("origin", "https://127.0.0.1:4200")],
        [("host", OURS), ("origin", "http://127.0.0.1")],
        [("host", OURS), ("origin", "http://127.0.0.1:4200"), ("origin", "https://evil.example")],
        [("host", OURS), ("origin", "")],
        [("host", "\xff\xfe")],
    ],
)
@pytest.mark.parametrize(("kind", "refused"), [("http", 403), ("websocket", "websocket.close")])
def test_all_else_does_not(kind: str, refused: int | str, headers: list[tuple[str, str]]) -> None:
    assert answer(kind, headers) == refused


def test_browsers_leave_the_usual_port_out() -> None:
    assert answer("http", [("host", "127.0.0.1"), ("origin", "http://127.0.0.1")], port=80) == "through"


def test_the_server_has_a_log_in_or_does_not_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[Any] = []
    monkeypatch.setattr(prefect_server, "_run", lambda *given: ran.append(given))
    monkeypatch.setattr(os, "environ", {})
    for secret in ("", "nameless"):
        os.environ["PREFECT_SERVER_API_AUTH_STRING"] = secret
        with pytest.raises(SystemExit) as ended:
            prefect_server.serve(4200)
        assert ended.value.code == 2
        assert "PREFECT_SERVER_API_AUTH_STRING has to be name:password" in capsys.readouterr().err
    os.environ["PREFECT_SERVER_API_AUTH_STRING"] = "name:word"
    prefect_server.serve(4200, "0.0.0.0", ["prefect:4200"])
    assert ran == [("0.0.0.0", 4200, ("127.0.0.1:4200", "localhost:4200", "prefect:4200"))]
    pages = "http://127.0.0.1:4200,http://localhost:4200,http://prefect:4200"
    assert os.environ["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"] == pages


def test_what_is_neither_passes() -> None:
    assert answer("lifespan", []) == "through"
