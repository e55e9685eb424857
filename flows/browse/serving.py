"""Serves the pages of one store on the loopback until the command is ended."""

import secrets
import threading
import time
import webbrowser
from collections.abc import Callable
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any, Final, Self

import uvicorn

from flows.browse.scopes import scopes
from infra.listing import MEMORY_MB, Listing
from infra.private import private_folder
from infra.services import LOOPBACK, free_port
from infra.store import Store
from schemas.errors import EngineError

if TYPE_CHECKING:
    from flows.browse.desk import Desk

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


def serve(
    store: Store,
    port: int,
    body: str,
    root_solver: str,
    say: Callable[[str], None],
    *,
    open_page: bool,
    memory_mb: int = MEMORY_MB,
) -> None:
    """Serve until a signal. `port` 0: the usual one; `memory_mb` is for lists. ServiceError where the port is taken."""
    chosen = free_port(port or DEFAULT_PORT)
    token = secrets.token_urlsafe(24)
    link = f"http://{LOOPBACK}:{chosen}/?token={token}"
    with (
        private_folder("adhmr-browse") as folder,
        closing(Listing(store, folder, memory_mb)) as listing,
        _Ahead() as ahead,
    ):
        ahead.do(_take_pairs, listing)  # while the application is being imported
        from flows.browse.app import make_app

        app, desk = make_app(listing, token, chosen, body, root_solver)
        server = _Told(
            uvicorn.Config(
                app,
                host=LOOPBACK,
                port=chosen,
                lifespan="off",  # there is none, and its end by a signal would be told with a traceback
                log_level="warning",
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=_END_SECONDS,
            )
        )

        def ready() -> None:
            say(link)
            ahead.do(_take_people, desk, ahead.over)
            if open_page:
                webbrowser.open(link)

        server.ready = ready
        with closing(desk), ahead:  # what is being made ahead ends before the lists do
            server.run()


class _Ahead:
    """Threads that make ready what is likely to be asked for; `over` is set when they are to end."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self._threads: list[threading.Thread] = []

    def do(self, work: Callable[..., None], *given: Any) -> None:
        """Begin with some work."""
        self._threads.append(threading.Thread(target=work, args=given, name=work.__name__, daemon=True))
        self._threads[-1].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *about: object) -> None:
        self.over.set()
        for thread in self._threads:  # DuckDB complains of what a thread holds at the end of the process
            thread.join(_END_SECONDS)


def _take_pairs(listing: Listing) -> None:
    """Have the pairs of the newest round, before somebody asks for them."""
    with suppress(EngineError):  # whoever asks is told
        listing.need("pairs", next((one.pairs for one in scopes(listing.store) if one.pairs), ()))


def _take_people(desk: "Desk", over: threading.Event) -> None:
    """Have its people, too, once nobody has asked for anything for a while."""
    from flows.browse.people import crowd

    with suppress(EngineError):
        newest = desk.scopes()[0]
        while (rest := desk.asked_at + _QUIET_SECONDS - time.monotonic()) > 0:
            if over.wait(rest):
                return
        with crowd(desk, newest):
            pass
