"""`adhmr init`: the files of a folder to work in, so that an installed wheel is enough."""

from importlib.resources import files
from pathlib import Path
from typing import Annotated, Final

import typer

from schemas.errors import ConfigError

CAMPAIGN: Final = "campaign.yaml"


def init(folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder; made if it isn't there.")]) -> None:
    """Lay deployments, a campaign file and files for containers and clusters into a folder, to be changed there."""
    from flows.cli.campaign_text import campaign_text
    from schemas.profiles import tiny

    laid = {file.name: file.read_bytes() for file in (files("infra") / "deploy").iterdir() if file.is_file()}
    laid[CAMPAIGN] = campaign_text(tiny(), CAMPAIGN).encode()
    present = [name for name in sorted(laid) if (folder / name).exists()]
    if present:
        raise ConfigError(
            f"{folder} holds {', '.join(present)} already, and nothing is overwritten: name another folder."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in laid.items():
            with open(folder / name, "xb") as target:
                target.write(content)
    except OSError as error:
        raise ConfigError(f"{folder} can't take the files: {error}.") from error
    typer.echo(f"{folder} holds {', '.join(sorted(laid))}; the first lines of each say how it is used.")
