"""Arrow without pandas, for commands that hold no object of pandas.

With the first value that it takes from Python, pyarrow imports pandas, where that is installed, to know its objects
when it meets some: a quarter of the time of a command that only reads, and 30 MB. Who says `to_pandas()` afterwards
still gets what it wants; a column of pandas is a sequence like any other then.
"""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType
from typing import Final

_NAME: Final = "pandas"


class _Missing(MetaPathFinder):
    """Finds no pandas."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        if fullname == _NAME:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)


def without_pandas() -> None:
    """Let pyarrow ask for pandas now, and not find it. Where pandas is loaded already, nothing changes."""
    if _NAME in sys.modules:
        return
    missing = _Missing()
    sys.meta_path.insert(0, missing)
    try:
        import pyarrow

        pyarrow.scalar(True)
    finally:
        sys.meta_path.remove(missing)
