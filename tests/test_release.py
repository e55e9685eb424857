"""What a release says of itself, in one voice."""

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def test_the_version_is_the_same_wherever_it_stands() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    newest = re.search(r"^## (\S+?),? ", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    images = re.findall(
        r"adhmr-engine:\S*?-(\d[\d.]*\d)", "".join(_deployed("Dockerfile", "compose.yaml", "kuberay.yaml"))
    )
    assert newest is not None
    assert len(images) >= 6
    assert {cited["version"], newest[1], *images} == {PROJECT["version"]}
    assert cited["license"] == PROJECT["license"]


def test_the_paper_is_cited() -> None:
    (paper,) = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))["references"]
    assert paper["title"].startswith("ADHMR: ")
    assert paper["identifiers"][0]["value"] == "arXiv:2505.10250"
    assert [author["family-names"] for author in paper["authors"]][:2] == ["Shen", "Yin"]


def _deployed(*names: str) -> list[str]:
    return [(ROOT / "infra/deploy" / name).read_text("utf-8") for name in names]
