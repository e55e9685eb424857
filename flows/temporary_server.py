"""A Prefect server for one command, where none is named: it starts while the command's own libraries are loading.

Prefect starts one by itself, but only at the first flow, which then waits for it; and one that Prefect started goes on
for ever when its process is killed. This one looks after its parent, and ends when that does.

    python -m flows.temporary_server FD PARENT     (what the parent runs: the listening socket's number, its own pid)
"""

import atexit
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable

from flows.prefect_address import look_past_socks, why_it_does_not_answer
from infra.services import past_proxies
from schemas.errors import ConfigError, EngineError

_VARIABLE = "PREFECT_API_URL"
_START_SECONDS = 120.0
_STOP_SECONDS = 5.0
_WATCH_SECONDS = 1.0


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
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        server = subprocess.Popen(
            [sys.executable, "-m", "flows.temporary_server", str(listening.fileno()), str(os.getpid())],
            pass_fds=[listening.fileno()],
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the flow, which has its end to report to the server
        )
    os.environ.update(past_proxies(os.environ))
    # registered before Prefect's own, and so called after those have sent what they still had
    atexit.register(_stop, server)
    os.environ[_VARIABLE] = f"http://127.0.0.1:{port}/api"
    refresh_global_settings_context()
    return lambda: _wait(server, port)


def _wait(server: subprocess.Popen[bytes], port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_START_SECONDS)
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
    code = server.poll()
    raise EngineError(
        f"The temporary Prefect server {problem if code is None else f'ended with code {code}'}. Start one with "
        f"`prefect server start` and set {_VARIABLE}: if it has the same trouble, it says why."
    )


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _serve(descriptor: int, parent: int) -> None:
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    import uvicorn
    from prefect.server.api.server import create_app

    # "ephemeral" is Prefect's word for: no pages, no background services
    app = create_app(ephemeral=True, final=True)
    config = uvicorn.Config(app, log_level="error", lifespan="on")
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=descriptor)])


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_WATCH_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)  # nobody is left to be served, and a graceful end may wait for connections


if __name__ == "__main__":
    _serve(int(sys.argv[1]), int(sys.argv[2]))
