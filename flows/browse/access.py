"""Who may see the pages: whoever knows the token that the command prints, on this machine, from no page of others.

The link with the token gives a cookie; without either a request learns nothing. `flows.serve.guard` refuses foreign
hosts and origins before that. Every answer says what a page may load: files of this server, and nothing else.
"""

import secrets
from base64 import b64encode
from hashlib import sha256
from typing import Final
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

IMPORTS: Final = '{"imports": {"three": "/static/vendor/three.module.min.js"}}'
"""What the name in three.js's own files means: an import map, the only script that stands in a page."""
_IMPORTS_DIGEST: Final = b64encode(sha256(IMPORTS.encode()).digest()).decode()
POLICY: Final = (
    f"default-src 'none'; script-src 'self' 'sha256-{_IMPORTS_DIGEST}'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
REPORT_POLICY: Final = (
    "sandbox allow-scripts allow-popups; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
"""Of a report, one file with its own scripts and styles: it may ask this server nothing."""
_HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_OPEN: Final = "/static/"
_REFUSED: Final = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>adhmr browse: log in</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="stylesheet" href="/static/browse.css">
</head><body><main class="narrow"><h1>Log in</h1>
<p>Open the link that <code>adhmr browse</code> printed, or give the token at its end.</p>
<form method="get" action="/"><label>Token <input type="password" name="token" autocomplete="off" required></label>
<button>Log in</button></form></main></body></html>"""


class LogIn:
    """An ASGI application that lets through who has the token, and adds the headers to every answer."""

    def __init__(self, app: ASGIApp, token: str, port: int) -> None:
        self._app, self._token = app, token
        self._cookie = f"adhmr-browse-{port}"  # cookies know no ports: two servers would take each other's
        self._session = secrets.token_urlsafe(32)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # there are no websockets here: the connection is refused by saying nothing

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._answer(scope)(scope, receive, with_headers)

    def _answer(self, scope: Scope) -> ASGIApp:
        if scope["path"].startswith(_OPEN) or self._is_known(scope):
            given = dict(parse_qsl(scope["query_string"].decode("latin-1")))
            return self._app if "token" not in given else RedirectResponse(_without_token(scope), 303)
        given = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        if scope["method"] == "GET" and secrets.compare_digest(given.get("token", "").encode(), self._token.encode()):
            entered = RedirectResponse(_without_token(scope), 303)
            entered.set_cookie(self._cookie, self._session, httponly=True, samesite="strict", path="/")
            return entered
        return HTMLResponse(_REFUSED, 401)

    def _is_known(self, scope: Scope) -> bool:
        # read as leniently as browsers do: other servers on this machine leave cookies of any form
        given = HTTPConnection(scope).cookies.get(self._cookie, "")
        return secrets.compare_digest(given.encode(), self._session.encode())


def _without_token(scope: Scope) -> str:
    """The address that was asked for, on this server, less the token."""
    kept = [(name, value) for name, value in parse_qsl(scope["query_string"].decode("latin-1")) if name != "token"]
    path = "/" + scope["path"].lstrip("/\\")  # `//elsewhere` would be another host
    return path + (f"?{urlencode(kept)}" if kept else "")
