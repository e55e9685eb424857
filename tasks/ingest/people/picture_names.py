"""Which picture of a folder is meant by what a detector calls it: its path, its name alone, or a number in its name."""

import posixpath
import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from tasks.ingest.source.folder import RefusedError
from tasks.ingest.source.spellings import folded

_LAST_NUMBER = re.compile(r"(\d+)\D*$")


class PictureNames:
    """The pictures of a folder, by their keys."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._keys = frozenset(keys)
        self._called: defaultdict[str, set[str]] = defaultdict(set)
        """By name and by name without ending, as all spellings have it."""
        self._numbered: defaultdict[int, set[str]] = defaultdict(set)
        for key in self._keys:
            path = folded(key)
            for called in (path, _stem(path)):
                self._called[posixpath.basename(folded(called))].add(key)
            number = _LAST_NUMBER.search(_stem(posixpath.basename(path)))
            if number is not None:
                self._numbered[int(number[1][-18:])].add(key)

    def meant(self, called: Any) -> str:
        """The key of the one picture that is called so: a path or a name, with its ending or without; or the last
        number in its name, if `called` is a number and no name. Raises RefusedError where that is none or several."""
        text = str(called)[:1000]
        if text in self._keys:
            return text
        path = folded(text)
        named = self._called.get(posixpath.basename(path), ())
        exact = {key for key in named if path in (folded(key), folded(_stem(folded(key))))}
        found = exact or {key for key in named if _ends_alike(path, folded(key))}
        if not found and text.isascii() and text.isdigit():
            found = self._numbered.get(int(text[-18:]), set())
        if not found:
            hint = ", nor one whose name ends in that number" if text.isdigit() else ""
            raise RefusedError("picture missing", f"there is no picture {text!r}{hint}")
        if len(found) > 1:
            alike = " and ".join(repr(key) for key in sorted(found)[:3])
            raise RefusedError("picture ambiguous", f"{text!r} may be {alike}")
        return next(iter(found))


def _ends_alike(one: str, other: str) -> bool:
    """Whether the folders of one path are the last ones of the other's."""
    first, second = (posixpath.dirname(path).strip("/") for path in (one, other))
    return f"/{first}".endswith(f"/{second}" if second else "") or f"/{second}".endswith(f"/{first}" if first else "")


def _stem(path: str) -> str:
    return posixpath.splitext(path)[0]
