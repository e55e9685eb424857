"""Who may ask a Prefect server at all: programs, and pages that the server sent out itself.

A page of a stranger, open in a browser on the machine that serves, can send requests to 127.0.0.1. Browsers
tell on it: by the header Origin or, where the page's own name was made to lead here (DNS rebinding), by Host. Prefect
looks at neither, so this checks both, for requests and for websockets. Who it is that asks is Prefect's to find out:
 by the log-in, without which it says nothing but whether it is well.
"""

from collections.abc import Iterable

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from infra.services import LOOPBACK

_PLAIN_PORT, _POLICY_VIOLATION = 80, 1008


def own_hosts(port: int) -> tuple[str, ...]:
    """What a client on this machine calls a server on the loopback: HOST:PORT, as in the header Host."""
    names = (LOOPBACK, "localhost")
    return tuple(f"{name}:{port}" for name in names) + (names if port == _PLAIN_PORT else ())


def origins_of(hosts: Iterable[str]) -> tuple[str, ...]:
    """The origins of pages that a server of these hosts sends out."""
    return tuple(f"http://{host}" for host in hosts)


class Guard:
    """An ASGI application that lets through what is meant for one of `hosts` and comes from no foreign page.

    `origins`: pages of others that may ask as well, such as http://pages.example:8080.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str], origins: Iterable[str] = ()) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)
        self._origins = frozenset(origin.lower() for origin in (*origins_of(self._hosts), *origins))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope) if scope["type"] in ("http", "websocket") else ""
        if not refusal:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await WebSocketClose(_POLICY_VIOLATION, refusal)(scope, receive, send)
        else:
            await PlainTextResponse(refusal, 403)(scope, receive, send)

    def _refusal(self, scope: Scope) -> str:
        """Why a request may not pass; empty if it may."""
        hosts, origins = (
            [value.decode("latin-1").lower() for name, value in scope["headers"] if name == wanted]
            for wanted in (b"host", b"origin")
        )
        if len(hosts) != 1 or hosts[0] not in self._hosts:
            return "This server answers to no such host."
        if not self._origins.issuperset(origins):
            return "This server answers no pages but its own."
        return ""
