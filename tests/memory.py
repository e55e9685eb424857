"""Where tests keep their files: in memory, if there is plenty.

Every commit of a store asks the disk several dozen times to have written; tests do thousands of commits, and would wait
for their disk for minutes. What a failing disk does to a store is told by tests that play the disk themselves.
"""

import shutil
from pathlib import Path

import psutil

IN_MEMORY = Path("/dev/shm")
ROOM_BYTES = 8 * 1024**3
"""Several times what the files of all tests ever take at once."""


def root(folder: Path = IN_MEMORY) -> Path | None:
    """A file system in memory with room, in which pytest can have its folders; none where there is not."""
    on = [one.fstype for one in psutil.disk_partitions(all=True) if one.mountpoint == str(folder)]
    if on != ["tmpfs"]:
        return None
    room = min(shutil.disk_usage(folder).free, psutil.virtual_memory().available)
    return folder if room >= ROOM_BYTES else None
