"""Where an export goes: a file or folder, on a disk or behind a URL, that is there as a whole or not at all."""

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from schemas.errors import DataError
from tasks.ingest.source.files import open_url


@contextmanager
def whole_file(url: str, *, replace: bool = True) -> Iterator[Path]:
    """A local path to write to; what is there at the end becomes the file `url`, in one step.

    A file that was there is replaced, or refused with DataError. After an error, nothing has changed. Raises DataError
    where it can't be written.
    """
    fs, target = open_url(url)
    with _said(url):
        if not replace and fs.exists(target):
            raise _taken(url)
        if _is_local(fs):
            Path(target).parent.mkdir(parents=True, exist_ok=True)
            temporary = Path(target).with_name(f".{Path(target).name}.{uuid.uuid4().hex[:12]}")
            try:
                yield temporary
                if replace:
                    os.replace(temporary, target)
                else:
                    _link(temporary, target, url)
            finally:
                temporary.unlink(missing_ok=True)
        else:
            with tempfile.TemporaryDirectory(prefix="adhmr-export-") as folder:
                temporary = Path(folder) / "file"
                yield temporary
                fs.put_file(str(temporary), target)


@contextmanager
def whole_folder(url: str) -> Iterator[Path]:
    """A local folder to write to; what is in it at the end becomes the folder `url`.

    On a disk in one step; behind a URL file by file, in the order of their names. Raises DataError for a folder that
    has files already (those of another export would stay among the new ones) and where it can't be written.
    """
    check_new_folder(url)
    fs, target = open_url(url)
    with _said(url):
        if _is_local(fs):
            final = Path(target)
            final.parent.mkdir(parents=True, exist_ok=True)
            temporary = final.with_name(f".{final.name}.{uuid.uuid4().hex[:12]}")
            temporary.mkdir()
            try:
                yield temporary
                # an empty folder is replaced; one that was filled meanwhile is not
                os.replace(temporary, final)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
        else:
            with tempfile.TemporaryDirectory(prefix="adhmr-export-") as folder:
                yield Path(folder)
                for file in sorted(path for path in Path(folder).rglob("*") if path.is_file()):
                    fs.put_file(str(file), f"{target.rstrip('/')}/{file.relative_to(folder).as_posix()}")


def _link(file: Path, target: str, url: str) -> None:
    """Give a file its second name. DataError where that came to be meanwhile, which a rename would replace."""
    try:
        os.link(file, target)
    except FileExistsError as error:
        raise _taken(url) from error


def _taken(url: str) -> DataError:
    return DataError(f"{url} is there already, and nothing is overwritten: name another file.")


def check_new_folder(url: str) -> None:
    """Raise DataError for a folder that has files already, or is a file."""
    fs, target = open_url(url)
    with _said(url):
        if fs.exists(target) and (not fs.isdir(target) or fs.ls(target, detail=False)):
            raise DataError(
                f"There is something at {url} already. Name a new folder for the export, or empty this one."
            )


@contextmanager
def _said(url: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"The export to {url} could not be written: {error}") from error


def _is_local(fs: Any) -> bool:
    return "file" in ((fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol))
