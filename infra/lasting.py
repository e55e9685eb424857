"""Folders of a local disk whose names survive a loss of power: what was synced in a file is lost with its name."""

import errno
import os
from collections.abc import Iterable
from pathlib import Path

_CAN_NOT = (errno.EINVAL, errno.ENOTSUP)
"""What file systems answer that can't sync a folder: they have nothing to be synced there, or nothing that helps."""


def sync_folder(folder: Path) -> None:
    """Return once the names in the folder are on the disk. FileNotFoundError where the folder is gone."""
    opened = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno not in _CAN_NOT:
            raise
    finally:
        os.close(opened)


def make_folder(folder: Path) -> None:
    """Make the folder with its parents, as far as they aren't there, and sync the names of those that are new."""
    new = []
    place = folder
    while not place.is_dir():
        new.append(place)
        place = place.parent
    folder.mkdir(parents=True, exist_ok=True)
    for place in reversed(new):
        sync_folder(place.parent)


def sync_folders(root: Path, folders: Iterable[Path]) -> None:
    """Sync these folders and all between them and `root`: their maker may have died before that."""
    every = {place for folder in folders for place in (folder, *folder.parents) if place.is_relative_to(root)}
    for place in sorted(every, key=lambda place: len(place.parts), reverse=True):
        sync_folder(place)
