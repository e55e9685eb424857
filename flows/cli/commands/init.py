"""The commands that lay the ground: init, the files of a folder to work in, so that an installed wheel is enough, and
completion, what a shell needs to complete the others."""

from importlib.resources import files
from pathlib import Path
from typing import Annotated, Final

import typer

from schemas.errors import ConfigError

CAMPAIGN: Final = "campaign.yaml"
_SHELLS: Final = {
    "bash": "~/.local/share/bash-completion/completions/adhmr",
    "zsh": "~/.zfunc/_adhmr",
    "fish": "~/.config/fish/completions/adhmr.fish",
}
"""And where each looks for such scripts; zsh where `fpath+=~/.zfunc` stands before compinit in ~/.zshrc."""


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


def completion(
    shell: Annotated[str, typer.Argument(metavar="bash|zsh|fish", help="The shell that it is for.")],
) -> None:
    """Print what makes a shell complete commands, options and fields of --set: adhmr completion bash > FILE."""
    from typer.completion import get_completion_script  # type: ignore[attr-defined] # re-exported without saying so

    from flows.cli.main import COMPLETE, PROGRAM

    if shell not in _SHELLS:
        raise ConfigError(f"There is no completion for {shell!r}; there are {', '.join(_SHELLS)}.")
    typer.echo(get_completion_script(prog_name=PROGRAM, complete_var=COMPLETE, shell=shell))
    typer.echo(f"# {shell} finds it in {_SHELLS[shell]}", err=True)
