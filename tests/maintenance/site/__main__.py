"""Builds the documentation site: `make docs`, or `python -m tests.maintenance.site [FOLDER]`, by default build/docs.

The pages of docs/ are taken as they are; where a page names another one between backticks, the site links it. Links
that lead nowhere end the build.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from tests.maintenance.site.references import REFERENCES, ROOT

NAVIGATION: Final[dict[str, dict[str, str]]] = {
    "Start": {"What it is": "index.md", "The first round, your photographs": "start.md", "The report": "report.md"},
    "Concepts": {
        "Architecture": "architecture.md",
        "The method, with equations": "method.md",
        "HMR-Scorer": "scorer.md",
        "Measures": "measures.md",
        "Cleaning": "cleaning.md",
    },
    "Tutorials": {
        "The tiny problem, and a pair that you reject": "tutorial-pairs.md",
        "Your own photographs": "tutorial-photographs.md",
        "Your own checkpoint": "tutorial-checkpoint.md",
        "Another model's bodies": "any-model.md",
        "A cluster": "tutorial-cluster.md",
        "The paper's experiment": "paper.md",
    },
    "How to": {
        "Your data, your people, your models": "campaigns.md",
        "Published checkpoints": "published.md",
        "Laptop, GPU machine, cluster": "deploy.md",
        "Bring data": "data.md",
        "Bodies of photographs": "predict.md",
        "Look at a store": "browse.md",
        "Judge pairs": "reviews.md",
        "Try ways of aligning out": "studies.md",
        "Ask the tables": "queries.md",
        "Answers for programs": "json.md",
    },
    "Reference": {
        "Commands": "commands.md",
        "Commands and options": "reference/commands.md",
        "Configuration": "reference/configuration.md",
        "Tables": "reference/tables.md",
        "Formats": "reference/formats.md",
        "Failure reasons": "reference/failures.md",
        "Deployments": "reference/deployments.md",
        "In notebooks": "reference/api.md",
    },
    "Operations": {"How large, how long": "scale.md", "Faults": "faults.md", "Benchmarks": "benchmarks.md"},
    "Decisions": {
        "Decisions, and what failed": "decisions.md",
        "Why the tiny recipe looks as it does": "recipe.md",
        "Evidence": "evidence.md",
        "Nine objectives compared": "study-objectives.md",
        "Evidence of the first default": "evidence-first.md",
    },
    "Extending": {
        "Seven things to add": "extend.md",
        "Contributing": "contributing.md",
        "The tree": "tree.md",
        "Changes": "changelog.md",
    },
}
"""Parts, and the pages of each by their titles there."""
BESIDE: Final = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
"""Pages that stand beside docs/, and what the site calls them."""
_CODE: Final = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_NAMED: Final = re.compile(r"(?<!\[)`(?:docs/)?([\w-]+\.md)`")
_LINK: Final = re.compile(r"\]\(([^)\s#:]+)(#[^)\s]*)?\)")


def write_sources(folder: Path) -> None:
    """All pages of the site, as Markdown, with their pictures."""
    shutil.copytree(ROOT / "docs", folder, ignore=shutil.ignore_patterns("notebooks"))
    for source, name in BESIDE.items():
        shutil.copy(ROOT / source, folder / name)
    (folder / "reference").mkdir()
    for name, make in REFERENCES.items():
        (folder / "reference" / f"{name}.md").write_text(make(), "utf-8")
    pages = {path.relative_to(folder).as_posix() for path in folder.rglob("*.md")}
    for page in sorted(pages):
        path = folder / page
        path.write_text(linked(path.read_text("utf-8"), page, pages), "utf-8")


def linked(text: str, page: str, pages: set[str]) -> str:
    """The text of a page with links to the site's own pages. Links to other files become plain words."""
    up = "../" * page.count("/")
    parts, end = [], 0
    for code in [*_CODE.finditer(text), None]:
        prose = text[end : code.start() if code else len(text)]
        prose = _LINK.sub(lambda found: _target(found, pages, up), prose)
        prose = re.sub(r"\[([^\]]*)\]\(MISSING\)", r"\1", prose)
        parts.append(_NAMED.sub(lambda found: _named(found, page, pages, up), prose))
        parts.append(code[0] if code else "")
        end = code.end() if code else end
    return "".join(parts)


def configuration() -> dict[str, Any]:
    """What the generator is told, as `zensical.toml` has it."""
    nav = [{part: [{title: page} for title, page in pages.items()]} for part, pages in NAVIGATION.items()]
    return {
        "site_name": "adhmr-engine",
        "site_description": "The data engine that aligns human mesh recovery with preferences, round after round",
        "docs_dir": "pages",
        "site_dir": "site",
        "use_directory_urls": False,
        "nav": nav,
    }


def main(folder: Path) -> Path:
    """Write the sources into the folder, and the site beside them; where that is. Ends with 1 where a link leads
    nowhere."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_sources(folder / "pages")
    (folder / "zensical.toml").write_text(_toml(configuration()), "utf-8")
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean", "-f", "zensical.toml"]
    ended = subprocess.run(command, cwd=folder, check=False)
    if ended.returncode:
        sys.exit(ended.returncode)
    return folder / "site"


def _target(found: re.Match[str], pages: set[str], up: str) -> str:
    path, anchor = found[1], found[2] or ""
    name = BESIDE.get(path, path.removeprefix("docs/"))
    if name not in pages and not name.startswith("pictures/") and (ROOT / path).exists():
        return "](MISSING)"  # a file of the clone, which the site has not; what is nowhere, the generator refuses
    return f"]({up}{name}{anchor})"


def _named(found: re.Match[str], page: str, pages: set[str], up: str) -> str:
    name = BESIDE.get(found[1], found[1])
    return f"[{found[0]}]({up}{name})" if name in pages and name != page else found[0]


def _toml(project: dict[str, Any]) -> str:
    """TOML of texts, truths and the navigation. What JSON writes of these, TOML reads."""
    parts = []
    for one in project["nav"]:
        for part, pages in one.items():
            listed = (
                f"{{ {json.dumps(title)} = {json.dumps(path)} }}" for page in pages for title, path in page.items()
            )
            parts.append(f"  {{ {json.dumps(part)} = [{', '.join(listed)}] }},")
    plain = [f"{name} = {json.dumps(value)}" for name, value in project.items() if name != "nav"]
    theme = ["[project.theme]", 'language = "en"', "font = false", 'features = ["navigation.indexes"]']
    return "\n".join(["[project]", *plain, "nav = [", *parts, "]", *theme]) + "\n"


if __name__ == "__main__":
    made = main(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT / "build" / "docs")
    print(f"{made / 'index.html'} is the first page.")
