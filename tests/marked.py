"""Processes that are told by a variable of their environment, whoever started them and whose children they became."""

import contextlib

import psutil

MARK = "ADHMR_TEST_MARK"


def marked(mark: str) -> list[psutil.Process]:
    """The living processes whose MARK has this value."""
    found = []
    for one in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if one.environ().get(MARK) == mark and one.status() != psutil.STATUS_ZOMBIE:
                found.append(one)
    return found
