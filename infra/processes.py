"""Processes: when one began, in terms that no setting of the clock changes, and its end by force."""

from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

import psutil

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_AFTER_THE_NAME = 19
"""Of the fields of /proc/<pid>/stat that come after the name: clock ticks from the start of the machine."""


@cache
def boot() -> str:
    """What tells this start of the machine from all others; empty where the system has no name for it."""
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def birth(pid: int) -> str | None:
    """When the process of this number began, only to be compared; None if there is no such process.

    On Linux: the start of the machine, and clock ticks since. The time of day, which other systems tell, is computed
    from the clock there as it is now, so that the same process began at another time after the clock was set.
    """
    if not psutil.LINUX:
        try:
            return str(psutil.Process(pid).create_time())
        except psutil.NoSuchProcess:
            return None
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return f"{boot()} {fields[_AFTER_THE_NAME]}"
    except (FileNotFoundError, ProcessLookupError):
        return None


def end_all(processes: Sequence[psutil.Process], seconds: float = 5.0) -> None:
    """End processes by force, and wait for up to so many seconds until they are gone."""
    for one in processes:
        with suppress(psutil.NoSuchProcess):
            one.kill()  # psutil looks first whether the number still means this process
    psutil.wait_procs(processes, timeout=seconds)
