"""The command doctor: looks at this machine, a store, or files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli import options
from flows.process.quiet import quiet_start
from schemas.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from infra.deep import Finding


def doctor(
    store: options.StoreUrl = None,
    file: options.ConfigFile = None,
    profile: options.Profile = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option("--checkpoint", metavar="FILE", help="Look at this checkpoint, or folder of a hub, instead."),
    ] = None,
    body: Annotated[
        Path | None,
        typer.Option(
            "--body", metavar="DIR", help="Look at this folder of body files instead; of --data: pose with it."
        ),
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", metavar="URL", help="Look at this file or folder of data instead.")
    ] = None,
    format: Annotated[
        str | None, typer.Option("--format", help="Of --data: the format that it is in.", show_default="recognised")
    ] = None,
    images: Annotated[str | None, typer.Option("--images", help="Of --data: the folder of its pictures.")] = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Read everything in the store, and compare it with what was said of it.")
    ] = False,
    follow_links: options.FollowLinks = None,
    as_json: options.Json = False,
) -> None:
    """What this machine has for the engine, or what a file is; the exit code says whether anything is in the way."""
    if data is None and (format, images, follow_links) != (None, None, None):
        raise ConfigError("--format, --images and --follow-links say how to look at data: name it with --data.")
    if deep and (data or checkpoint or body):
        raise ConfigError("--deep looks at the store, and --data, --checkpoint and --body at files: take one of them.")
    quiet_start()
    config = options.choices(file, profile, None).configured().config
    from flows.cli.documents import doctor_document, print_document
    from flows.cli.show.findings import print_finding

    if data is not None:
        from flows.doctor.data import examine_data

        body_folder = None if body is None else str(body)
        findings = examine_data(data, format, images, body_folder, config.ingest, follow_links=follow_links)
    elif deep:
        from flows.doctor.deep import examine_deep

        findings = examine_deep(store)
    else:
        findings = _machine_or_files(store, config.body, checkpoint, body)
    found = []
    for finding in findings:
        found.append(finding)
        if not as_json:
            print_finding(finding)
    if as_json:
        print_document("doctor", doctor_document(found))
    if any(finding.level == "problem" for finding in found):
        raise typer.Exit(1)


def _machine_or_files(store: str | None, name: str, checkpoint: Path | None, body: Path | None) -> Iterator[Finding]:
    from flows.doctor.bodies import examine_bodies
    from flows.doctor.checkpoint import examine_checkpoint
    from flows.doctor.machine import examine

    if checkpoint is None and body is None:
        yield from examine(store, name)
    if checkpoint is not None:
        yield from examine_checkpoint(checkpoint)
    if body is not None:
        yield from examine_bodies(body)
