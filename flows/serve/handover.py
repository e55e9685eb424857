"""What the worker of `make serve` and its spare say to each other. Quick to import."""

import json
import os
import sys
from dataclasses import asdict, dataclass
from typing import Final, NoReturn

READY: Final = "A process waits for the next run"
"""What a spare says once it has loaded everything."""
SUPERVISOR: Final = ("-m", "prefect.runner._workspace_supervisor")
"""What Prefect's worker starts for a run, before the path of a file about it."""


@dataclass(frozen=True)
class Order:
    """A program that was to be started: its words, its folder and its environment."""

    command: list[str]
    folder: str
    environment: dict[str, str]

    def to_line(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"

    @staticmethod
    def of_line(line: bytes) -> "Order":
        return Order(**json.loads(line))

    def take_over(self) -> NoReturn:
        """Let the program take this process's place."""
        sys.stdout.flush()
        sys.stderr.flush()
        os.chdir(self.folder)
        os.execvpe(self.command[0], self.command, self.environment)
