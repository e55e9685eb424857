"""Whether a Prefect server may be named here is known without Prefect."""

import sys
from pathlib import Path

import pytest

from flows.serve.address import may_be_named


@pytest.fixture(autouse=True)
def _nothing_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("PREFECT_API_URL", "PREFECT_PROFILE", "PREFECT_PROFILES_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))
    monkeypatch.delitem(sys.modules, "prefect", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home").mkdir()


def test_nothing_names_one() -> None:
    Path("prefect.toml").write_text("[plugins]\nenabled = true\n")
    Path("pyproject.toml").write_text("[project]\nname = 'api'\n")
    assert not may_be_named()


@pytest.mark.parametrize("name", ["PREFECT_API_URL", "PREFECT_PROFILE"])
def test_the_environment_does(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "x")
    assert may_be_named()


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("prefect.toml", "[api]\nurl = 'http://x/api'\n"),
        ("pyproject.toml", "[tool.prefect.api]\nurl = 'http://x/api'\n"),
        (".env", "PREFECT_API_URL=http://x/api\n"),
        ("home/profiles.toml", "active = 'x'\n"),
    ],
)
def test_a_file_may(file: str, text: str) -> None:
    Path(file).write_text(text)
    assert may_be_named()
