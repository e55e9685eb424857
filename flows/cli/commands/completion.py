"""The command completion: what a shell needs to complete commands, options and values when Tab is pressed."""

from typing import Annotated, Final

import typer

from schemas.errors import ConfigError

_SHELLS: Final = {
    "bash": "~/.local/share/bash-completion/completions/adhmr",
    "zsh": "~/.zfunc/_adhmr",
    "fish": "~/.config/fish/completions/adhmr.fish",
}
"""And where each looks for such scripts; zsh where `fpath+=~/.zfunc` stands before compinit in ~/.zshrc."""


def completion(
    shell: Annotated[str, typer.Argument(metavar="bash|zsh|fish", help="The shell that it is for.")],
) -> None:
    """Print the script that makes a shell complete commands: adhmr completion bash > FILE, or eval "$(...)"."""
    from typer.completion import get_completion_script  # type: ignore[attr-defined] # as completion_init

    from flows.cli.main import COMPLETE, PROGRAM

    if shell not in _SHELLS:
        raise ConfigError(f"There is no completion for {shell!r}; there are {', '.join(_SHELLS)}.")
    typer.echo(get_completion_script(prog_name=PROGRAM, complete_var=COMPLETE, shell=shell))
    typer.echo(f"# {shell} finds it in {_SHELLS[shell]}", err=True)
