"""A small proxy in front of an S3 test server that spoils some of the requests, in the ways that S3 and networks do."""

import http.client
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SLOW_SECONDS = 0.5
BUSY = b'<?xml version="1.0"?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>'
BROKEN = b'<?xml version="1.0"?><Error><Code>InternalError</Code><Message>We had an error.</Message></Error>'
KINDS = ("500", "503", "slow", "lost", "cut", "late 500")
"""500 and 503 in place of an answer; an answer that is slow, that never comes though the work was done, that ends in
the middle; and a 500 though the work was done."""

Choice = Callable[[str, str], str | None]
"""What becomes of a request, by method and path: one of KINDS, or None."""


def one_in(count: int, seed: int = 0) -> Choice:
    """Spoil one in `count` requests, at random, with all kinds in turn."""
    draw, spoiled, lock = random.Random(seed), iter(range(10**9)), threading.Lock()

    def choose(method: str, path: str) -> str | None:
        with lock:
            return KINDS[next(spoiled) % len(KINDS)] if draw.random() < 1 / count else None

    return choose


class FlakyS3:
    """The proxy, on a free port of the loopback, for the length of a with-block; `spoiled` counts what it did,
    and `requests` and `sent_bytes` what came by."""

    def __init__(self, host: str, port: int, choose: Choice) -> None:
        self.target, self.choose = (host, port), choose
        self.requests, self.sent_bytes, self.spoiled = 0, 0, Counter[str]()
        self._lock = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

            def __getattr__(self, name: str) -> Any:
                if name.startswith("do_"):
                    return lambda: proxy._pass_on(self)
                raise AttributeError(name)

            def log_message(self, *_: object) -> None:
                """Nobody reads it."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "FlakyS3":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _pass_on(self, request: BaseHTTPRequestHandler) -> None:
        kind = self.choose(request.command, request.path)
        with self._lock:
            self.requests += 1
            if kind:
                self.spoiled[kind] += 1
        body = _body_of(request)
        if kind in ("500", "503"):
            _answer(request, int(kind), [], BUSY if kind == "503" else BROKEN)
            return
        if kind == "slow":
            time.sleep(SLOW_SECONDS)
        status, headers, data = self._ask(request, body)
        with self._lock:
            self.sent_bytes += len(data)
        if kind == "lost":
            request.close_connection = True
            return
        if kind == "late 500":
            _answer(request, 500, [], BROKEN)
            return
        _answer(request, status, headers, data, whole=kind != "cut")

    def _ask(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(*self.target, timeout=60)
        try:
            connection.putrequest(request.command, request.path, skip_host=True, skip_accept_encoding=True)
            for name, value in request.headers.items():
                if name.lower() not in ("transfer-encoding", "content-length", "expect", "connection"):
                    connection.putheader(name, value)
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()


def _body_of(request: BaseHTTPRequestHandler) -> bytes:
    if "chunked" in request.headers.get("Transfer-Encoding", ""):
        parts = []
        while size := int(request.rfile.readline().split(b";")[0], 16):
            parts.append(request.rfile.read(size))
            request.rfile.readline()
        while request.rfile.readline().strip():
            continue
        return b"".join(parts)
    return request.rfile.read(int(request.headers.get("Content-Length", 0)))


def _answer(
    request: BaseHTTPRequestHandler, status: int, headers: list[tuple[str, str]], data: bytes, whole: bool = True
) -> None:
    request.send_response_only(status)
    length = str(len(data))
    for name, value in headers:
        if name.lower() == "content-length":
            length = value  # of HEAD, whose body is empty, it tells the object's size
        elif name.lower() not in ("transfer-encoding", "connection"):
            request.send_header(name, value)
    request.send_header("Content-Length", length)
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(data if whole else data[: len(data) // 2])
    if not whole:
        request.close_connection = True
