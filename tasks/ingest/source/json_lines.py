"""Json lines: an object a line. A line that is none costs that line alone."""

import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any, Final

from schemas.errors import DataError
from schemas.regular_files import open_regular
from tasks.ingest.source.folder import RefusedError, printable
from tasks.ingest.source.text_files import as_utf8

ENDINGS: Final = (".jsonl", ".ndjson")
_LONGEST: Final = 1 << 20
"""Bytes of a line; a body with rotation matrices has some ten thousand."""
_LOOKED_AT: Final = 20


def lines(file: Path, url: str) -> Iterator[tuple[int, Mapping[str, Any] | RefusedError]]:
    """What the lines of a file hold, with their numbers from 0; empty ones don't count.

    Raises DataError, which calls the file `url`, where it is no text, has lines without end, or is a list of json.
    """
    try:
        with closing(as_utf8(open_regular(file), url)) as text:
            for number, line in enumerate(iter(lambda: text.readline(_LONGEST), b"")):
                if number == 0 and line.lstrip().startswith(b"["):
                    raise DataError(f"{url} is a list of json: write json lines, an object a line.")
                if len(line) == _LONGEST and not line.endswith(b"\n"):
                    raise DataError(f"{url} is damaged: its line {number + 1} has more than {_LONGEST} bytes.")
                if line.strip():
                    yield number, _row(line)
    except UnicodeDecodeError as error:
        raise DataError(f"{url} is no readable text: {error}. Save it as UTF-8.") from error
    except OSError as error:
        raise DataError(f"{url} can't be read: {error}") from error


def first_keys(file: Path, url: str) -> tuple[str, ...]:
    """The keys of the first lines, each once; raises as `lines`."""
    keys: dict[str, None] = {}
    for _, row in islice(lines(file, url), _LOOKED_AT):
        keys.update({} if isinstance(row, RefusedError) else dict.fromkeys(row))
    return tuple(keys)


def _row(line: bytes) -> Mapping[str, Any] | RefusedError:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        return RefusedError("row not readable", f"a line that is no json: {printable(str(error))[:200]}")
    return row if isinstance(row, dict) else RefusedError("row not readable", "a line that is no object of json")
