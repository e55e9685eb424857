"""An installed wheel is enough: it holds what the five packages need beside code, and `adhmr init` lays the rest."""

import os
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("schemas", "models", "infra", "tasks", "flows")

pytestmark = pytest.mark.slow


def done(words: Sequence[str], folder: Path, **variables: str) -> str:
    ended = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("which files belong to the project is git's to say, and this is no clone")
    return listed.stdout.splitlines()


@pytest.fixture(scope="module")
def wheel(tracked: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built of a copy, as a build leaves folders of its own beside the sources."""
    copy, made = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("wheel")
    for name in tracked:
        if name.split("/")[0] in (*PACKAGES, "adhmr_engine.py", "pyproject.toml", "README.md", "LICENSE", "NOTICE"):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    done(["-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(made), "."], copy)
    (file,) = made.iterdir()
    return file


def test_it_holds_every_file_of_the_packages_and_nothing_else(wheel: Path, tracked: list[str]) -> None:
    with zipfile.ZipFile(wheel) as opened:
        held = {name for name in opened.namelist() if ".dist-info/" not in name}
    assert held == {name for name in tracked if name.split("/")[0] in PACKAGES} | {"adhmr_engine.py"}


def test_it_is_enough(wheel: Path, tmp_path: Path) -> None:
    """Its own modules are run, out of a folder that has nothing of the clone."""
    installed, folder = tmp_path / "installed", tmp_path / "folder"
    done(["-m", "pip", "install", "-q", "--no-deps", "--no-index", "-t", str(installed), str(wheel)], tmp_path)
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert done(["-m", "adhmr_engine", "--version"], tmp_path, PYTHONPATH=str(installed)) == f"adhmr-engine {version}\n"
    done(["-m", "adhmr_engine", "init", str(folder)], tmp_path, PYTHONPATH=str(installed))
    loads = (
        "import pathlib, yaml; from prefect.flows import load_flow_from_entrypoint as load\n"
        "for one in yaml.safe_load(pathlib.Path('prefect.yaml').read_text())['deployments']:\n"
        "    print(one['name'], load(one['entrypoint']).name)\n"
        "from prefect.settings import get_current_settings as settings; print(settings().plugins.enabled)\n"
        "import flows; print(flows.__file__)"
    )
    plain = {name: "" for name in os.environ if name.startswith("PREFECT_PLUGINS")}
    *flows, switched, place = done(["-c", loads], folder, PYTHONPATH=str(installed), **plain).splitlines()
    assert len(flows) >= 7
    assert all(line.split()[0] == line.split()[1] for line in flows)
    assert switched == "True"
    assert Path(place).is_relative_to(installed)
