"""Pages in a Chromium that Playwright drives, with an eye on what goes wrong on them."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

sync_api = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
TIMEOUT_MS = 60_000
BESIDE = """() => {
    const width = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth <= width) return [];
    return [...document.querySelectorAll("main *")].filter((one) => one.getBoundingClientRect().right > width + 1)
        .map((one) => one.outerHTML.slice(0, 80));
}"""
"""What makes a page wider than the window."""


@contextmanager
def started_browser() -> Iterator[Any]:
    """The installed Chromium, which draws 3D without a graphics card."""
    with sync_api.sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield started
        started.close()


class Watched:
    """A page, and what went wrong on it."""

    def __init__(self, browser: Any, link: str, width: int, scheme: str = "light") -> None:
        self.base = link.split("/?")[0]
        self.page = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme).new_page()
        self.page.set_default_timeout(TIMEOUT_MS)
        self.trouble: list[str] = []
        self.page.on("console", lambda said: self.trouble.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.trouble.append(str(error)))
        self.page.on("request", lambda asked: self._outside(asked.url))
        self.page.goto(link)

    def _outside(self, url: str) -> None:
        if url != self.base and not url.startswith((self.base + "/", "data:", "blob:")):
            self.trouble.append(f"asked for {url}")

    def serious(self) -> list[str]:
        """What axe-core finds serious on the page as it is."""
        found = axe.Axe().run(self.page).response["violations"]
        return [
            f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in found if one["impact"] in ("serious", "critical")
        ]
