"""Pickled dictionaries of arrays, of Python 2 or 3: read without trusting them, large arrays straight to files."""

from pathlib import Path
from typing import Any

from models.restricted_pickle import load_restricted
from schemas.errors import DataError
from schemas.regular_files import open_regular
from tasks.ingest.source.files import local_file
from tasks.ingest.source.folder import printable


def read_pickle(url: str, work: Path, what: str) -> dict[str, Any]:
    """The dictionary in a pickle, by its texts; other keys are left out. Arrays from a megabyte on are memory-maps of
    files in `work`, which is to stay as long as they do.

    Raises DataError that calls it `what` where it isn't there, is damaged, holds something else, or names anything but
    arrays.
    """
    work.mkdir(parents=True, exist_ok=True)
    path, name = local_file(url, work, what), printable(url.rpartition("/")[2])
    try:
        with open_regular(path) as file:
            content = load_restricted(file, name, work)
    except OSError as error:
        raise DataError(f"The {what} {url} can't be read: {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"{name} holds no arrays by name, but a {type(content).__name__}.")
    return {key: value for key, value in content.items() if isinstance(key, str)}
