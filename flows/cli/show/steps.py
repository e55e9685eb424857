"""What commands print of a single step: counts of its stages with their keys, what failed, and what may come next."""

import shlex
from collections.abc import Sequence

from rich.table import Table

from flows.cli.show.stages import failed_units
from flows.process.terminal import TextConsole, escape
from flows.run.steps.ended import DIGITS, ended, written
from tasks.engine.context import Context

_OF_ROWS = ("export",)
"""Commands that read rows as they are, whatever the configuration."""


def print_step(context: Context, key: str, of_store: Sequence[str], said: Sequence[str]) -> None:
    """How the step ended whose last stage has this key.

    `of_store` and `said` are the options of store and configuration that it was typed with; the next commands get them.
    """
    store, out = context.store, TextConsole()
    step = ended(context, key)
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("stage", "ok", "filtered", "failed", "rows", "key"):
        table.add_column(name, justify="right" if name in ("ok", "filtered", "failed") else "left", overflow="fold")
    for record in step.stages:
        counts = (record.tally.ok, record.tally.filtered, record.tally.failed)
        table.add_row(record.stage, *(f"{count:,}" for count in counts), written(record), record.stage_key[:DIGITS])
    out.print(table)
    for record in step.stages:
        for line in failed_units(store, record):
            out.print(line, soft_wrap=True)
    if step.model is not None:
        out.print(f"model {step.model[:DIGITS]}; no campaign has it", soft_wrap=True)
    for words in step.following:
        typed = [*words, *of_store, *([] if words[0] in _OF_ROWS else said)]
        out.print(f"next:   adhmr {escape(shlex.join(typed))}", soft_wrap=True)
