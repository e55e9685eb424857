"""Flows of a user's own, each of which writes a line of JSON about its process to the file that TOLD names."""

import json
import os
import signal
import sys
import time

import ray
from prefect import flow

VERSION = 1
SEEN: list[str] = []
"""What runs of this process were; one, if none has anything of another."""


def tell(kind: str) -> None:
    """Add a line of this process."""
    SEEN.append(kind)
    spec = sys.modules["__main__"].__spec__
    line = {
        "kind": kind,
        "pid": os.getpid(),
        "seen": SEEN,
        "program": spec.name if spec else "",
        "folder": os.getcwd(),
        "on_ray": ray.is_initialized(),
        "version": VERSION,
    }
    with open(os.environ["TOLD"], "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


@flow
def tells() -> None:
    """End well."""
    tell("tells")


@flow
def dies() -> None:
    """End as by want of memory."""
    tell("dies")
    os.kill(os.getpid(), signal.SIGKILL)


@flow
def sleeps() -> None:
    """Wait to be cancelled."""
    tell("sleeps")
    time.sleep(600)
