"""Completion, as shells ask for it: by the scripts that the command prints, from the parser as it is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli.main import COMMANDS, app

ROOT = Path(__file__).resolve().parents[3]


def script(shell: str) -> str:
    answer = CliRunner().invoke(app, ["completion", shell])
    assert answer.exit_code == 0, answer.output
    return answer.stdout


def completed(tmp_path: Path, line: str) -> list[str]:
    """What bash would offer where the cursor is at the end of a line."""
    program = tmp_path / "adhmr"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {ROOT / "adhmr_engine.py"} "$@"\n')
    program.chmod(0o755)
    words = line.split(" ")
    ask = (
        f"{script('bash')}\nCOMP_WORDS=({' '.join(map(repr, words))}); COMP_CWORD={len(words) - 1}\n"
        '_adhmr_completion adhmr\nprintf "%s\\n" "${COMPREPLY[@]}"'
    )
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", ask], env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    return done.stdout.split()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("adhmr sta", ["status"]),
        ("adhmr review --ver", ["--verdict"]),
        ("adhmr run --profile m", ["micro"]),
        ("adhmr run --set review.at", ["review.at_least="]),
        ("adhmr nonsense --st", []),
    ],
)
def test_bash_offers_commands_options_and_values(tmp_path: Path, line: str, offered: list[str]) -> None:
    assert completed(tmp_path, line) == offered


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shell", "asked"),
    [
        ("zsh", {"_TYPER_COMPLETE_ARGS": "adhmr "}),
        ("fish", {"_TYPER_COMPLETE_ARGS": "adhmr ", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}),
    ],
)
def test_other_shells_are_answered_with_every_command(shell: str, asked: dict[str, str]) -> None:
    assert "_ADHMR_COMPLETE=complete_" + shell in script(shell)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "_ADHMR_COMPLETE": f"complete_{shell}", **asked}
    command = [sys.executable, str(ROOT / "adhmr_engine.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert all(name in done.stdout for name in COMMANDS)


def test_another_shell_is_refused() -> None:
    answer = CliRunner().invoke(app, ["completion", "tcsh"])
    assert answer.exit_code == 2
    assert "there are bash, zsh, fish" in answer.stderr
