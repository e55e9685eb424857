"""What `adhmr config` prints: every field with its value, where that was said, and what it means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.padding import Padding

from flows.cli.campaign_text import about, value_text
from flows.process.terminal import TextConsole, escape
from schemas.fields import fields

if TYPE_CHECKING:
    from collections.abc import Collection

    from schemas.layers import Configured


def print_settings(configured: Configured, section: str | None, said_only: bool) -> None:
    """The fields of a section, or of all; with `said_only` those that the profile did not decide."""
    out, none = TextConsole(), True
    for field in fields(configured.config):
        origin = configured.origins.get(field.name)
        if (origin is None and said_only) or not is_in(field.name, section):
            continue
        none = False
        said = f"[green]{escape(origin)}[/green]" if origin else f"[dim]profile {configured.config.profile}[/dim]"
        out.print(f"[bold]{escape(field.name)}[/bold] = {escape(value_text(field.value))}  {said}", soft_wrap=True)
        out.print(Padding(f"[dim]{escape(about(field))}[/dim]", (0, 0, 0, 4), expand=False))
    if none:
        of_section = "" if section is None else f" of {section}"
        out.print(f"Nothing{of_section} differs from the profile {configured.config.profile}.", markup=False)


def is_in(field: str, section: str | None) -> bool:
    """Whether a field is in a section, or is that itself."""
    return section is None or field == section or field.startswith(f"{section}.")


def sections_of(names: Collection[str]) -> list[str]:
    """The sections at the top that dotted names are in."""
    return sorted({name.partition(".")[0] for name in names if "." in name})
