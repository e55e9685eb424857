"""A Prefect server for tests of flows, the same one for all files that a process of pytest goes through.

Its start takes seconds of a core: for its libraries, and for the tables of an empty database. What earlier files did is
still in it, so a test asks for its own flow runs.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from infra.services import free_port

_START_SECONDS = 180


class PrefectServer:
    """Starts at the first use; `stop` ends it."""

    def __init__(self) -> None:
        from prefect.server.api.server import SubprocessASGIServer  # seconds, which other tests do without

        self._port = free_port()
        self._server = SubprocessASGIServer(self._port)  # Prefect has one of these a port, and starts it once
        self.stop = self._server.stop

    @contextmanager
    def used(self) -> Iterator[None]:
        """Flows report to it: Prefect's own harness for tests, but for the end of the server."""
        from prefect.testing import utilities

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(utilities, "_find_available_port", lambda: self._port)
            patch.setattr(self._server, "stop", lambda: None)
            with utilities.prefect_test_harness(server_startup_timeout=_START_SECONDS):
                yield
