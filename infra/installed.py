"""What is installed here, as far as it can change a result."""

import importlib.metadata
import platform
from functools import cache
from typing import Final

_LIBRARIES: Final = ("torch", "numpy", "ray", "pyarrow", "deltalake", "pydantic")


@cache
def versions() -> dict[str, str]:
    """Versions of python and of the libraries that can change a result."""
    installed = {"python": platform.python_version(), "machine": platform.machine()}
    for name in _LIBRARIES:
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            installed[name] = "absent"
    return installed
