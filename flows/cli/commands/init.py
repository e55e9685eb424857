"""`adhmr init`: the files of a folder to work in, so that an installed wheel is enough."""

from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from schemas.errors import ConfigError


def init(folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder; made if it isn't there.")]) -> None:
    """Lay deployments, a campaign file and files for containers and clusters into a folder, to be changed there."""
    shipped = sorted((file for file in (files("infra") / "deploy").iterdir() if file.is_file()), key=lambda it: it.name)
    present = [file.name for file in shipped if (folder / file.name).exists()]
    if present:
        raise ConfigError(
            f"{folder} holds {', '.join(present)} already, and nothing is overwritten: name another folder."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in shipped:
            with open(folder / file.name, "xb") as target:
                target.write(file.read_bytes())
    except OSError as error:
        raise ConfigError(f"{folder} can't take the files: {error}.") from error
    names = ", ".join(file.name for file in shipped)
    typer.echo(f"{folder} holds {names}; the first lines of each say how it is used.")
