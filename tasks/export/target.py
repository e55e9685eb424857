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


def whole_file(url: str) -> AbstractContextManager[Path]:
    """A local path to write to; what is there at the end becomes the file `url`, in one step.

    A file that was there is replaced. After an error, nothing has changed. Raises DataError where it can't be written.
    """
    return _whole(url, is_folder=False)


def whole_folder(url: str) -> AbstractContextManager[Path]:
    """A local folder to write to; what is in it at the end becomes the folder `url`.

    On a disk in one step; behind a URL file by file, in the order of their names. Raises DataError for a folder that
    has files already (those of another export would stay among the new ones) and where it can't be written.
    """
    return _whole(url, is_folder=True)


@contextmanager
def _whole(url: str, is_folder: bool) -> Iterator[Path]:
    fs, target = open_url(url)
    try:
        if is_folder and fs.exists(target) and (not fs.isdir(target) or fs.ls(target, detail=False)):
            raise DataError(
                f"There is something at {url} already. Name a new folder for the export, or empty this one."
            )
        with tempfile.TemporaryDirectory(prefix="adhmr-export-") as elsewhere:
            new = Path(elsewhere) / "new"
            if is_local(fs):
                new = Path(target).with_name(f".{Path(target).name}.{uuid.uuid4().hex[:12]}")
                new.parent.mkdir(parents=True, exist_ok=True)
            if is_folder:
                new.mkdir()
            try:
                yield new
                if is_local(fs):
                    os.replace(new, target)  # of folders, an empty one is replaced, and one filled meanwhile is not
                else:
                    for file in sorted(path for path in (new, *new.rglob("*")) if path.is_file()):
                        fs.put_file(str(file), (Path(target) / file.relative_to(new)).as_posix())
            finally:
                shutil.rmtree(new, ignore_errors=True)
                new.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"The export to {url} could not be written: {error}") from error
