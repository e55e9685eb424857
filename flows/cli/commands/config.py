"""The command config: every field of the configuration, where its value was said, and a campaign file of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli import options
from schemas.errors import ConfigError


def config(
    section: Annotated[
        str | None, typer.Argument(metavar="[SECTION]", help="Only this section or field: align, align.beta.")
    ] = None,
    file: options.ConfigFile = None,
    profile: options.Profile = None,
    campaign: options.Campaign = None,
    seed: options.Seed = None,
    changes: options.Changes = None,
    changed: Annotated[bool, typer.Option("--changed", help="Only fields that the profile has not decided.")] = False,
    write: Annotated[
        Path | None, typer.Option("--write", metavar="FILE", help="Write them as a campaign file with comments.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Every field of the configuration with its value, where that was said, its meaning, unit and limits."""
    configured = options.choices(file, profile, campaign, seed, changes).configured()
    if write is not None:
        if section is not None or changed or as_json:
            raise ConfigError("--write writes all fields: leave SECTION, --changed and --json out.")
        from flows.cli.campaign_text import campaign_text

        try:
            with write.open("x", encoding="utf-8") as target:
                target.write(campaign_text(configured.config, write.name))
        except FileExistsError as error:
            raise ConfigError(f"{write} is there already, and nothing is overwritten: name another file.") from error
        except OSError as error:
            raise ConfigError(f"{write} can't be written: {error}.") from error
        typer.echo(f"{write} holds every field; adhmr run --config {write} takes it.")
        return
    from flows.cli.show.settings import is_in, print_settings, sections_of
    from schemas.fields import fields

    names = [field.name for field in fields(configured.config)]
    if not any(is_in(name, section) for name in names):
        raise ConfigError(f"There is no section or field {section!r}; there are {', '.join(sections_of(names))}.")
    if as_json:
        from flows.cli.documents import config_document, print_document

        origins = configured.origins
        shown = [one for one in fields(configured.config) if is_in(one.name, section)]
        shown = [one for one in shown if one.name in origins or not changed]
        print_document("config", config_document(configured.config.profile, shown, origins))
        return
    print_settings(configured, section, changed)
