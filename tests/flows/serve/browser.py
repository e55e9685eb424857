"""Chromium without a window, driven over its debugging protocol: enough to fill in a form and read a page."""

import base64
import itertools
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import connect
from websockets.sync.connection import Connection

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
_SECONDS = 60.0


class Page:
    """A page of the browser."""

    def __init__(self, connection: Connection, url: str) -> None:
        self._connection = connection
        self._numbers = itertools.count(1)
        self._session: dict[str, str] = {}
        target = self._call("Target.createTarget", url=url)["targetId"]
        self._session = {"sessionId": self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}

    def go(self, url: str) -> None:
        """Open another address."""
        self._call("Page.navigate", url=url)

    def value(self, script: str) -> Any:
        """What a line of JavaScript gives."""
        return self._call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def text(self) -> str:
        """All that can be read on it."""
        return str(self.value("document.body ? document.body.innerText : ''"))

    def picture(self, width: int, height: int) -> bytes:
        """PNG of the page's upper part, in a window of so many pixels."""
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        return base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"])

    def until(self, holds: Callable[[], bool]) -> None:
        """Wait for something; AssertionError, with what the page says, where it doesn't come."""
        deadline = time.monotonic() + _SECONDS
        while not holds():
            assert time.monotonic() < deadline, self.text()
            time.sleep(0.1)

    def type_into(self, selector: str, text: str) -> None:
        """Type a text and the return key into the first field that the selector finds, in place of what it holds."""
        field = f"document.querySelector({json.dumps(selector)})"
        self.until(lambda: bool(self.value(f"!!{field}")))
        self.value(f"{field}.select()")
        self._call("Input.insertText", text=text)
        for kind in ("keyDown", "keyUp"):
            self._call(
                "Input.dispatchKeyEvent",
                type=kind,
                key="Enter",
                code="Enter",
                windowsVirtualKeyCode=13,
                **({"text": "\r"} if kind == "keyDown" else {}),
            )

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._connection.send(json.dumps({"id": number, "method": method, "params": parameters, **self._session}))
        while True:
            answer = json.loads(self._connection.recv(timeout=_SECONDS))
            if answer.get("id") == number:
                assert "error" not in answer, answer
                found: dict[str, Any] = answer["result"]
                return found


@contextmanager
def opened_page(folder: Path, url: str) -> Iterator[Page]:
    """A page in a browser of its own, whose profile goes into the folder."""
    assert CHROMIUM is not None
    plain = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    process = subprocess.Popen(
        [CHROMIUM, "--headless=new", "--remote-debugging-port=0", f"--user-data-dir={folder}", "--disable-gpu",
         "--hide-scrollbars", *(["--no-sandbox"] if os.geteuid() == 0 else []), "about:blank"],
        env=plain,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        told, deadline = folder / "DevToolsActivePort", time.monotonic() + _SECONDS
        while not (told.exists() and len(told.read_text().splitlines()) == 2):
            assert time.monotonic() < deadline, "the browser did not start"
            time.sleep(0.05)
        port, path = told.read_text().splitlines()
        with connect(f"ws://127.0.0.1:{port}{path}", max_size=None, proxy=None) as connection:
            yield Page(connection, url)
    finally:
        process.terminate()
        process.wait()
