"""The pages say what is there: links, files, commands and their options, and README's numbers."""

import re
import shlex
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import typer
import yaml

from flows.cli.main import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
README = PAGES[0].read_text("utf-8")
CODE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FOLDERS = ("schemas", "models", "infra", "tasks", "flows", "tests", "docs", "campaigns")

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def spans(page: Path) -> list[str]:
    """What stands between backticks in the prose."""
    return re.findall(r"`([^`\n]+)`", CODE.sub("", page.read_text("utf-8")))


def commands(page: Path) -> Iterator[list[str]]:
    """Every command of a page: those of its consoles, and those between backticks."""
    blocks = [text for language, text in CODE.findall(page.read_text("utf-8")) if language == "console"]
    typed = [line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line.startswith("$ ")]
    for line in [*typed, *spans(page)]:
        for part in re.split(r" && |; ", line):
            if re.match(r"(adhmr|make|prefect|python -m) ", part):
                try:
                    yield shlex.split(part, comments=True)
                except ValueError:
                    pytest.fail(f"{page.name}: {part} can't be typed into a shell")


def test_the_readme_is_short_and_names_commands() -> None:
    lines = README.splitlines()
    assert len(lines) <= 120
    assert [line for line in lines if len(line) > 120] == []
    assert {
        "make run",
        "make serve",
        "prefect deployment run dpo-round",
        "adhmr init campaign",
        "adhmr run --config campaign.yaml",
    } <= {" ".join(words) for words in commands(PAGES[0])}


@each_page
def test_links_and_files_are_there(page: Path) -> None:
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", CODE.sub("", page.read_text("utf-8")))]
    relative = [link for link in links if link and not re.match(r"[a-z]+:", link)]
    assert [link for link in relative if not (page.parent / link).exists()] == []
    named = [span.split("::")[0].rstrip("/") for span in spans(page) if re.fullmatch(r"[\w./:-]+", span)]
    files = [name for name in named if name.startswith(tuple(f"{folder}/" for folder in FOLDERS))]
    assert [name for name in files if not ((ROOT / name).exists() or (ROOT / f"{name}.py").exists())] == []
    pages = [name for name in named if name.endswith(".md") and "/" not in name]
    assert [name for name in pages if not ((page.parent / name).exists() or (ROOT / name).exists())] == []
    tests = [name for name in named if re.fullmatch(r"test_\w+", name)]
    assert [name for name in tests if not [*(ROOT / "tests").rglob(f"{name}.py")]] == []


@each_page
def test_commands_and_options_are_there(page: Path) -> None:
    ours = typer.main.get_command(app)
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    deployed = {one["name"] for one in yaml.safe_load((ROOT / "prefect.yaml").read_text("utf-8"))["deployments"]}
    for program, *words in commands(page):
        if program == "adhmr":
            command = ours if words[0].startswith("--") else ours.get_command(typer.Context(ours), words[0])
            assert command is not None, words
            options = {name for one in command.params for name in one.opts} | {"--help"}
            assert {word for word in words if word.startswith("--")} <= options, words
        elif program == "make":
            assert {word for word in words if "=" not in word and not word.startswith("-")} <= targets, words
        elif program == "python":
            assert find_spec(words[1]) is not None, words
        elif words[:2] == ["deployment", "run"]:
            assert words[2] in deployed, words


def table_rows(text: str) -> dict[str, list[str]]:
    """Cells of the rows of a page's tables by their first cell; of several the first."""
    rows: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("| "):
            first, *others = (cell.strip() for cell in line.strip("|").split("|"))
            rows.setdefault(first, others)
    return rows


def test_the_numbers_of_the_readme_are_those_of_the_evidence() -> None:
    """`make evidence` writes both, or neither has been measured."""
    evidence = (ROOT / "docs/evidence.md").read_text("utf-8")
    _, _, rest = README.partition("<!-- evidence: written by `make evidence` -->")
    shown, _, after = rest.partition("<!-- evidence: end -->")
    assert after
    if "Not measured yet" in evidence:
        assert "Not measured yet" in shown
        assert not table_rows(shown)
        return
    made = table_rows(evidence[evidence.index("## What makes the gain") :])
    before = table_rows(evidence[evidence.index("## The policy before") :])
    rows = table_rows(shown)
    assert rows.pop("*the policy before*") == [
        before[name][-2].partition(" [")[0]
        for name in ("zero-noise MPVPE", "expected MPVPE", "best of M MPVPE", "energy score", "diversity")
    ]
    variants = {name: cells for name, cells in rows.items() if name in made}
    assert variants.keys() >= {"the default", "the same on random pairs", "winners alone (SFT)"}
    for name, (zero_noise, *others) in variants.items():
        plain = [cell.replace(" %", "") for cell in made[name]]
        assert [zero_noise, *others] == [plain[0], *(cell.partition(" [")[0] for cell in plain[1:])], name
    # what the words below the table say
    alignment, _, cleaning = evidence.partition("## Cleaning round")
    assert (alignment.count("| reached |"), alignment.count("| **not reached** |")) == (13, 1)
    assert "Thirteen of the fourteen goals are reached" in README
    assert "2.5 % worse: 2.6 % [+1.7, +3.6], and the gates refused one of the five rounds by it" in README
    assert "| source drift of 2.5 % at most | +2.6 % [+1.7 %, +3.6 %] | **not reached** |" in evidence
    assert (alignment.count(": kept; drift on source"), alignment.count(": promoted; all gates hold")) == (1, 4)
    assert (cleaning.count("| reached |"), cleaning.count("| **not reached** |")) == (6, 0)


def test_the_pictures_are_small_and_shown() -> None:
    """Those of README are what everybody loads; the others stand in a page."""
    pictures = {picture.name: picture.stat().st_size for picture in (ROOT / "docs/pictures").iterdir()}
    first = {name for name in pictures if f"](docs/pictures/{name})" in README}
    assert first == {"overlays.jpg", "report.png"}
    assert sum(pictures[name] for name in first) <= 150 * 1024
    assert sum(pictures.values()) <= 300 * 1024
    pages = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.md"))
    assert [name for name in pictures.keys() - first if f"](pictures/{name})" not in pages] == []
