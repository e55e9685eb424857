"""What commands print with: tables, styles and bars of rich, around text from data that no terminal obeys."""

from collections.abc import Iterable
from typing import Any

import rich.markup
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table

from flows.process.visible import visible


def escape(text: str) -> str:
    """A text from data for rich's markup: all of it is shown, and none of it is a style."""
    return rich.markup.escape(visible(text))


class TextConsole(Console):
    """A console that shows control characters of whatever it prints; styles and bars are rich's own and work."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(highlight=False, **settings)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible(segment.text, keep="\n"))


def plain_table(*titles: str, header_style: str = "dim") -> Table:
    """A table without lines whose cells, texts of rich's markup, are folded where they are too wide."""
    table = Table(box=None, pad_edge=False, header_style=header_style)
    for title in titles:
        table.add_column(title, overflow="fold")
    return table
