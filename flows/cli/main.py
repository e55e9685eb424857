"""The command line `adhmr`: a table of its commands, each in a module that is imported when the command is called.

A new command is a function in a module of `flows.cli.commands`, and a line in COMMANDS. The modules import heavy
libraries inside of their functions, so that the rest, `adhmr --help` too, is quick.
"""

import os
import sys
from importlib import import_module
from typing import Any, Final

import typer
from typer.core import TyperGroup

from flows.cli import options
from flows.process.errors import clear_errors
from flows.process.supervised import supervised
from flows.process.surroundings import settle
from flows.process.without_pandas import without_pandas

PROGRAM: Final = "adhmr"
COMPLETE: Final = "_ADHMR_COMPLETE"
"""Set by a shell that asks what may come next; typer makes this name of the program's."""
COMMANDS: Final = {
    "run": "rounds:run",
    "clean": "rounds:clean",
    "campaign": "rounds:campaign",
    "clean-sweep": "rounds:clean_sweep",
    "evaluate": "evaluate:evaluate",
    "compare": "evaluate:compare",
    "predict": "predict:predict",
    "train-scorer": "steps:train_scorer",
    "generate": "steps:generate",
    "score": "steps:score",
    "pair": "steps:pair",
    "keep": "steps:keep",
    "align": "steps:align",
    "study": "study:study",
    "plan": "plan:plan",
    "query": "look:query",
    "regenerate": "regenerate:regenerate",
    "browse": "look:browse",
    "review": "review:review",
    "report": "report:report",
    "import": "import_model:import_file",
    "doctor": "doctor:doctor",
    "config": "config:config",
    "init": "init:init",
    "status": "operate:status",
    "rounds": "operate:rounds",
    "close": "operate:close",
    "rollback": "operate:rollback",
    "repair": "operate:repair",
    "ingest": "data:ingest",
    "export": "data:export",
    "evaluate-scorer": "evaluate:evaluate_scorer",
    "vacuum": "operate:vacuum",
    "completion": "init:completion",
}
"""Name -> module and function in `flows.cli.commands`, in the order of the help."""
READING: Final = frozenset({"plan", "query", "report", "review", "rounds", "status"})
"""Those that only read tables."""


class Commands(TyperGroup):
    """The commands of the table. An error that the user can cure ends any of them with one line."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        # for an unknown name all are needed: typer suggests the ones that look like it
        for name in [cmd_name] if cmd_name in COMMANDS else COMMANDS:
            if name not in self.commands:
                self.commands[name] = _command(name)
        return self.commands.get(cmd_name)

    def invoke(self, ctx: Any) -> Any:
        settle()
        with clear_errors():
            return super().invoke(ctx)


def _command(name: str) -> Any:
    module, _, function = COMMANDS[name].partition(":")
    alone = typer.Typer(add_completion=False)
    alone.command(name)(getattr(import_module(f"flows.cli.commands.{module}"), function))
    return typer.main.get_command(alone)


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="ADHMR data engine: align a diffusion model for human mesh recovery with preferences, round after round.",
)


@app.callback()
def _options(version: options.Version = False) -> None: ...


def work() -> None:
    """Do what the command line says, in a process that does nothing else."""
    if READING.intersection(sys.argv[1:2]):
        without_pandas()
    app()


def main() -> None:
    """The entry point of the console script."""
    if COMPLETE in os.environ:  # the shell asks, on behalf of `adhmr completion`: nothing is done, only answered
        from typer.completion import completion_init  # type: ignore[attr-defined] # typer re-exports it without saying so

        completion_init()
        app(prog_name=PROGRAM)
    supervised(work)


if __name__ == "__main__":
    main()
