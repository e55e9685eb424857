"""Where an export goes: a file or folder, on a disk or behind a URL, that is there as a whole or not at all."""

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from schemas.errors import DataError
from tasks.ingest.source.files import is_local, open_url


def whole_file(url: str, *, replace: bool = True) -> AbstractContextManager[Path]:
    """A local path to write to; what is there at the end becomes the file `url`, in one step.

    A file that was there is replaced, or refused with DataError. After an error, nothing has changed. Raises DataError
    where it can't be written.
    """
    return _whole(url, is_folder=False, replace=replace)


def whole_folder(url: str) -> AbstractContextManager[Path]:
    """A local folder to write to; what is in it at the end becomes the folder `url`.

    On a disk in one step; behind a URL file by file, in the order of their names. Raises DataError for a folder that
    has files already (those of another export would stay among the new ones) and where it can't be written.
    """
    return _whole(url, is_folder=True)


def check_new_folder(url: str) -> None:
    """Raise DataError for a folder that has files already, or is a file."""
    fs, target = open_url(url)
    with _said(url):
        if fs.exists(target) and (not fs.isdir(target) or fs.ls(target, detail=False)):
            raise DataError(
                f"There is something at {url} already. Name a new folder for the export, or empty this one."
            )


@contextmanager
def _whole(url: str, is_folder: bool, replace: bool = True) -> Iterator[Path]:
    fs, target = open_url(url)
    with _said(url), tempfile.TemporaryDirectory(prefix="adhmr-export-") as elsewhere:
        if is_folder:
            check_new_folder(url)
        elif not replace and fs.exists(target):
            raise _taken(url)
        new = Path(elsewhere) / "new"
        if is_local(fs):
            new = Path(target).with_name(f".{Path(target).name}.{uuid.uuid4().hex[:12]}")
            new.parent.mkdir(parents=True, exist_ok=True)
        if is_folder:
            new.mkdir()
        try:
            yield new
            if not is_local(fs):
                for file in sorted(path for path in (new, *new.rglob("*")) if path.is_file()):
                    fs.put_file(str(file), (Path(target) / file.relative_to(new)).as_posix())
            elif replace:
                os.replace(new, target)  # of folders, an empty one is replaced, and one filled meanwhile is not
            else:
                _link(new, target, url)
        finally:
            shutil.rmtree(new, ignore_errors=True)
            new.unlink(missing_ok=True)


def _link(file: Path, target: str, url: str) -> None:
    """Give a file its second name. DataError where that came to be meanwhile, which a rename would replace."""
    try:
        os.link(file, target)
    except FileExistsError as error:
        raise _taken(url) from error


def _taken(url: str) -> DataError:
    return DataError(f"{url} is there already, and nothing is overwritten: name another file.")


@contextmanager
def _said(url: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"The export to {url} could not be written: {error}") from error
