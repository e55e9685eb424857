"""What every page works with: the store, its lists, the children, the templates."""

import math
import threading
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final, cast
from urllib.parse import urlencode

from fastapi import Depends, Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse

from flows.browse.access import IMPORTS
from flows.browse.child import Child
from flows.browse.reviewed.said import Verdicts
from flows.browse.reviewed.worklists import WorkLists
from flows.browse.scopes import Scope, scopes
from flows.process.visible import visible
from infra.listing import Listing
from infra.snapshots import newest
from schemas.errors import DataError
from tasks.review.verdicts import SAID

HERE: Final = Path(__file__).parent
PAGES: Final = {
    "/": "rounds",
    "/people": "people",
    "/pairs": "pairs",
    "/judge": "judge",
    "/failures": "failures",
    "/sql": "SQL",
}
"""Those that the navigation has, by their addresses."""
_SHORT: Final = 12
_DRAW_SECONDS: Final = 600.0
"""How long the painter may take: all that a large policy has drawn of a person takes minutes of its one core."""


class Desk:
    """One store, open for pages."""

    def __init__(self, listing: Listing, body: str, root_solver: str) -> None:
        """Over the store of these lists; `body` and `root_solver` as of the configuration."""
        self.store = store = listing.store
        self.listing = listing
        self.verdicts = Verdicts(store, self.listing)
        self.work = WorkLists(store, self.listing)
        self.painter = Child("flows.browse.painter", [store.url, body, root_solver], _DRAW_SECONDS)
        self.asker = Child("flows.browse.asker", [store.url])
        self._templates = _environment()
        self._lock = threading.Lock()
        self.asked_at = time.monotonic()
        self._scopes: tuple[tuple[object, ...], list[Scope]] | None = None

    def close(self) -> None:
        """End the children and the lists."""
        self.painter.close()
        self.asker.close()
        self.listing.close()

    def scopes(self) -> list[Scope]:
        """All rounds and drawings now, the newest first."""
        with self._lock:
            # what a round asks people and has of them are files, written once, beside any commit
            files = self.store.list_files(SAID)
            state = (newest(self.store, "stages").version, newest(self.store, "rounds").version, files)
            if self._scopes is None or self._scopes[0] != state:
                self._scopes = state, scopes(self.store)
            return self._scopes[1]

    def scope(self, name: str) -> Scope:
        """The one of this name; the newest for an empty name. DataError for an unknown one."""
        found = next((scope for scope in self.scopes() if name in ("", scope.name)), None)
        if found is None:
            raise DataError(f"There is no round or drawing {name} in this store.")
        return found

    def page(self, request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
        """A page; htmx takes the part of it that it wants."""
        self.asked_at = time.monotonic()
        about = {"path": request.url.path, "pages": PAGES, "store_url": self.store.url, "imports": IMPORTS}
        return HTMLResponse(self._templates.get_template(template).render({**about, **values}), status)


def desk_of(request: Request) -> Desk:
    """The desk of the application that a request came to."""
    return cast(Desk, request.app.state.desk)


AtDesk = Annotated[Desk, Depends(desk_of)]


def number(text: str, what: str) -> float | None:
    """A number that was typed into a form; None for an empty field. DataError for anything else."""
    if not text.strip():
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise DataError(f"{what} is to be a number, not {text!r}.")
    return value


def address(path: str, **values: Any) -> str:
    """A path of this server with these values; empty ones are left out."""
    kept = {name: value for name, value in values.items() if value not in (None, "")}
    return path + (f"?{urlencode(kept)}" if kept else "")


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., Any]] = {
        "shown": _shown,
        "short": lambda key: str(key or "")[:_SHORT],
        "when": _when,
        "plain": visible,
        "twice": _twice,
        "lines": _lines,
    }
    environment.filters.update(filters)
    environment.globals |= {"address": address}
    return environment


def _shown(value: Any, digits: int = 3) -> str:
    """A number as a reader wants it; a dash where there is none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.{max(0, digits - 1 - math.floor(math.log10(abs(value))))}f}" if value else "0"
    return visible(str(value))


def _when(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"


def meant(typed: str, values: Iterable[str]) -> str:
    """The one of `values` that a choice stands for, whose control characters are shown in the page; else what it is."""
    return next((value for value in values if typed in (value, visible(value))), typed)


def _lines(text: str) -> str:
    return visible(text, keep="\n\r\t")


def _twice(values: Iterable[str]) -> list[tuple[str, str]]:
    """Options of a choice whose values are their own words."""
    return [(value, value) for value in values]
