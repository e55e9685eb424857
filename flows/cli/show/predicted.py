"""What the command predict prints at its end: what was written, and who is not in it."""

import os
from typing import Final

from rich.table import Table

from flows.process.terminal import TextConsole, escape
from tasks.predict.output import Written

_MOST: Final = 20
_TAKEN: Final = {
    "zero": "the body from zero noise of each person",
    "selected": "the body that the scorer prefers of each person",
    "all": "all hypotheses of each person",
}


def print_prediction(written: Written) -> None:
    """Counts, files, and everybody and everything that could not be used, with the reason."""
    out, predicted = TextConsole(), written.predicted
    people = _counted(written.people, "person", "people")
    pictures = _counted(written.pictures, "picture")
    out.print(f"{people} in {pictures}: {_counted(written.bodies, 'body', 'bodies')}, {_TAKEN[predicted.take]}")
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(overflow="fold")
    table.add_column(overflow="fold")
    for name, what in written.files.items():
        table.add_row(escape(os.path.join(written.out, name)), what)
    out.print(table)
    if written.unused:
        out.print(f"\nnot in it: {len(written.unused)}")
        listed = Table(box=None, pad_edge=False, show_header=False)
        for _ in range(2):
            listed.add_column(overflow="fold")
        prefix = f"{predicted.target}/"
        for one in written.unused[:_MOST]:
            listed.add_row(escape(one.id.removeprefix(prefix)), escape(f"{one.reason}: {one.detail}"))
        out.print(listed)
        if len(written.unused) > _MOST:
            out.print(f"and {len(written.unused) - _MOST} more")
        keys = ", ".join(f"'{key}'" for key in dict.fromkeys(one.stage for one in written.unused) if key is not None)
        if keys:
            sql = f"SELECT id, reason, detail FROM failures WHERE stage_key IN ({keys})"
            out.print(f'adhmr query "{sql}"', soft_wrap=True)


def _counted(number: int, one: str, many: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"
