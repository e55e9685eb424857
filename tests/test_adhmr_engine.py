"""A package of another project with the name of one of ours, earlier on Python's path: one line, before any import."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import adhmr_engine

ROOT = Path(__file__).resolve().parents[1]


def call(*before: Path) -> subprocess.CompletedProcess[str]:
    """`adhmr --version` with these folders before ours on the path."""
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (*before, ROOT)))}
    command = [sys.executable, "-m", "adhmr_engine", "--version"]
    return subprocess.run(command, env=paths, cwd=ROOT.parent, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", adhmr_engine.PACKAGES)
@pytest.mark.parametrize("form", ["{}/__init__.py", "{}.py"])
def test_a_package_that_hides_ours_is_told_in_one_line(name: str, form: str, tmp_path: Path) -> None:
    strange = tmp_path / form.format(name)
    strange.parent.mkdir(exist_ok=True)
    strange.write_text("raise SystemExit('this is imported')\n")
    ended = call(tmp_path)
    assert ended.returncode == 2
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"adhmr: Python finds another project's {name!r} in {tmp_path.resolve()} before")


def test_a_folder_without_code_hides_nothing(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models/checkpoint.pth").touch()
    ended = call(tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("adhmr-engine ")


def test_all_packages_are_looked_at() -> None:
    assert {file.parent.name for file in ROOT.glob("*/__init__.py")} - {"tests"} == set(adhmr_engine.PACKAGES)
