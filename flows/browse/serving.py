"""Serves the pages of one store on the loopback until the command is ended."""

import secrets
import threading
import time
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import uvicorn

from flows.browse.app import make_app
from flows.browse.desk import Desk
from flows.browse.people import crowd
from infra.private import private_folder
from infra.services import LOOPBACK, free_port
from infra.store import Store
from schemas.errors import EngineError

DEFAULT_PORT: Final = 8420
_END_SECONDS: Final = 3
_QUIET_SECONDS: Final = 3
"""How long nobody has asked for a page when the list of people is made ahead: who looks at pairs has all cores."""


class _Told(uvicorn.Server):
    """A server that tells when it can be asked."""

    ready: Callable[[], None]

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        await super().startup(sockets)  # type: ignore[arg-type]
        if self.started:
            self.ready()


def serve(store: Store, port: int, body: str, root_solver: str, say: Callable[[str], None], *, open_page: bool) -> None:
    """Serve until a signal. `port` 0: the usual one. ServiceError where the port is taken."""
    chosen = free_port(port or DEFAULT_PORT)
    token = secrets.token_urlsafe(24)
    link = f"http://{LOOPBACK}:{chosen}/?token={token}"
    with private_folder("adhmr-browse") as folder:
        app, desk = make_app(store, folder, token, chosen, body, root_solver)
        server = _Told(
            uvicorn.Config(
                app,
                host=LOOPBACK,
                port=chosen,
                log_level="warning",
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=_END_SECONDS,
            )
        )

        def ready() -> None:
            say(link)
            threading.Thread(target=_look_ahead, args=(desk,), name="look ahead", daemon=True).start()
            if open_page:
                webbrowser.open(link)

        server.ready = ready
        try:
            server.run()
        finally:
            desk.close()


def _look_ahead(desk: Desk) -> None:
    """Have the lists of the newest round, before somebody asks for them."""
    with suppress(EngineError):  # whoever asks is told
        newest = desk.scopes()[0]
        desk.listing.need("pairs", [newest.pairs])
        while (rest := desk.asked_at + _QUIET_SECONDS - time.monotonic()) > 0:
            time.sleep(rest)
        with crowd(desk, newest):
            pass
