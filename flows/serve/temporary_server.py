"""A Prefect server for one command, where none is named: it starts while the command's own libraries are loading.

Prefect starts one by itself, but only at the first flow, which then waits for it; and one that Prefect started goes on
for ever when its process is killed. This one looks after its parent, and ends when that does; and its parent after it,
which holds the socket that it listens on: where the server is killed, another one goes on with its database, and what
was asked meanwhile waits for it. Where none can, nothing is asked any more, and the command ends instead of trying for
minutes what can't succeed.

    python -m flows.serve.temporary_server FD PARENT     (the parent's line: the listening socket, its own pid)
"""

import atexit
import http.client
import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import NoReturn

from flows.process.errors import WHERE_IT_STANDS, LostServerError
from flows.serve.address import look_past_socks, why_it_does_not_answer
from flows.serve.place import API_VARIABLE, CLIENT_LOGIN_VARIABLE, LOGIN_VARIABLE
from infra.services import LOOPBACK, past_proxies
from schemas.errors import ConfigError, EngineError

log = logging.getLogger(__name__)

_START_SECONDS = 120.0
_STOP_SECONDS = 5.0
_WATCH_SECONDS = 1.0
_STARTS = 3


def begin_server() -> Callable[[], None]:
    """Start a server for the rest of this process, unless settings name one; the answer waits until it is ready.

    Raises ConfigError if the server that is named doesn't answer. What is called later raises EngineError if the
    temporary one can't start.
    """
    from prefect.context import refresh_global_settings_context
    from prefect.settings import PREFECT_API_URL

    named = PREFECT_API_URL.value()
    look_past_socks(named)
    if named:
        if trouble := why_it_does_not_answer(named):
            raise ConfigError(trouble)
        return lambda: None
    print("starting Prefect ...", file=sys.stderr, flush=True)
    server = _Server()
    os.environ.update(past_proxies(os.environ))
    # registered before Prefect's own, and so called after those have sent what they still had
    atexit.register(server.stop)
    os.environ |= {API_VARIABLE: f"http://{LOOPBACK}:{server.port}/api", CLIENT_LOGIN_VARIABLE: server.login}
    refresh_global_settings_context()
    return server.wait


class _Server:
    """The server as its parent has it: a socket, the log-in, and the process that serves now."""

    def __init__(self) -> None:
        self.login = f"adhmr:{secrets.token_urlsafe()}"
        self._listening = socket.create_server((LOOPBACK, 0))
        self.port = self._listening.getsockname()[1]
        self._lock = threading.Lock()
        self._stopped = False
        self._process = self._start()
        threading.Thread(target=self._look_after, name="temporary-server", daemon=True).start()

    def wait(self) -> None:
        """Wait until it answers."""
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=_START_SECONDS)
        try:
            # the socket listens already: this waits for the answer, and fails when the server ends
            connection.request("GET", "/api/health")
            if connection.getresponse().status == http.HTTPStatus.OK:
                return
            problem = "is not well"
        except (OSError, http.client.HTTPException) as error:
            problem = f"does not answer ({error})"
        finally:
            connection.close()
        code = self._process.poll()
        raise EngineError(
            f"The temporary Prefect server {problem if code is None else f'ended with code {code}'}. Start one with "
            f"`prefect server start` and set {API_VARIABLE}: if it has the same trouble, it says why."
        )

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._listening.close()

    def _start(self) -> subprocess.Popen[bytes]:
        # the new process has SIGINT blocked as well, until it can end without a traceback (`_serve`)
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return subprocess.Popen(
                [sys.executable, "-m", "flows.serve.temporary_server", str(self._listening.fileno()), str(os.getpid())],
                env={**os.environ, LOGIN_VARIABLE: self.login},
                pass_fds=[self._listening.fileno()],
                stdout=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the flow, which has its end to report to the server
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _look_after(self) -> None:
        """Start a server that was killed again, some times; one that ended by itself would only do so again."""
        for left in reversed(range(_STARTS)):
            code = self._process.wait()
            with self._lock:
                if self._stopped:
                    return
                if code >= 0 or not left:
                    break
                log.warning("The temporary Prefect server was ended by signal %d: it is started again.", -code)
                self._process = self._start()
        self._ask_no_more(f"ended with code {code}")

    def _ask_no_more(self, why: str) -> None:
        """Let every request fail at once, those that wait for an answer too. Prefect would try each for a minute."""
        import httpx
        from prefect.settings import get_current_settings

        def refuse(transport: object, request: object) -> NoReturn:
            raise LostServerError(f"The temporary Prefect server {why}, and none takes its place. {WHERE_IT_STANDS}")

        async def refuse_later(transport: object, request: object) -> NoReturn:
            refuse(transport, request)

        get_current_settings().logging.to_api.enabled = False
        httpx.HTTPTransport.handle_request = refuse  # type: ignore[method-assign,assignment]
        httpx.AsyncHTTPTransport.handle_async_request = refuse_later  # type: ignore[method-assign,assignment]
        self._listening.close()


def _serve(descriptor: int, parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    import uvicorn
    from prefect.server.api.server import create_app

    from flows.process.quiet import quiet_start
    from flows.serve.guard import Guard, own_hosts

    quiet_start()
    listening = socket.socket(fileno=descriptor)
    # "ephemeral" is Prefect's word for: no pages, no background services
    app = Guard(create_app(ephemeral=True, final=True), own_hosts(listening.getsockname()[1]))
    config = uvicorn.Config(app, log_level="error", lifespan="on")
    uvicorn.Server(config).run(sockets=[listening])


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_WATCH_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)  # its only client is gone, and a graceful end may wait for connections


if __name__ == "__main__":
    _serve(int(sys.argv[1]), int(sys.argv[2]))
