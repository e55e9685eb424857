"""A pickle that is an attack, to be refused everywhere."""

import os
from collections.abc import Callable
from pathlib import Path


class Hostile:
    """Loading its pickle without care runs a program, which leaves the file `target` behind."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.target}",)
