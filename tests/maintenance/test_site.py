"""The documentation site: every page has its place, links lead somewhere, references say what the code has."""

import re
from importlib.util import find_spec
from inspect import getdoc, isfunction
from pathlib import Path

import pytest

import flows.api
from flows.cli.main import COMMANDS
from schemas.profiles import PROFILES
from schemas.tables.contracts import TABLES
from tasks.ingest.formats.registry import formats
from tests.maintenance.site.__main__ import NAVIGATION, linked, main, write_sources
from tests.maintenance.site.references import REFERENCES, reasons

PLACED = {page for pages in NAVIGATION.values() for page in pages.values()}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site") / "pages"
    write_sources(folder)
    return folder


def test_every_page_has_its_place(pages: Path) -> None:
    assert {path.relative_to(pages).as_posix() for path in pages.rglob("*.md")} == PLACED


def test_references_say_what_the_code_has(pages: Path) -> None:
    text = {name: (pages / "reference" / f"{name}.md").read_text() for name in REFERENCES}
    for table, contract in TABLES.items():
        assert f"\n## {table}\n" in text["tables"]
        assert all(f"| `{column}` |" in text["tables"] for column in contract.schema.names)
    assert all(f"\n## adhmr {name}\n" in text["commands"] for name in COMMANDS)
    assert "| `--store` |" in text["commands"]
    assert all(f"\n## {name}\n" in text["formats"] for name in formats())
    assert all(name in text["configuration"] for name in PROFILES)
    row = next(line for line in text["configuration"].splitlines() if line.startswith("| `align.beta` |"))
    assert f"`{PROFILES['tiny']().align.beta}`" in row
    assert "\n## dpo-round\n" in text["deployments"]
    calls = {name for name, call in vars(flows.api.OpenStore).items() if isfunction(call) and not name.startswith("_")}
    assert {"overlay", "query"} < calls
    for name in calls:
        about = text["api"].partition(f"\n## store.{name}\n")[2].partition("\n## ")[0]
        assert f"`store.{name}(" in about
        assert (getdoc(getattr(flows.api.OpenStore, name)) or "nothing") in about
    assert "`flows.api.open(url: str | None=None, *, body: str='tiny') -> OpenStore`" in text["api"]


def test_reasons_are_read_from_the_code(tmp_path: Path) -> None:
    found = reasons()
    for reason in ("picture damaged", "scores all equal", "box without area"):
        assert reason in found, sorted(found)
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks/one.py").write_text(
        'WHY: Final = "by name"\nraise RefusedError("by text" if x else WHY, "detail")\nFailure(unit, "another")\n'
        "raise RefusedError(unit['reason'])\n"
    )
    assert reasons(tmp_path) == {name: ["tasks.one"] for name in ("by name", "by text", "another")}


def test_pages_are_linked_where_they_are_named() -> None:
    pages = {"start.md", "index.md", "reference/tables.md"}
    text = (
        "`start.md`, `docs/start.md`, [x](docs/start.md#a), [y](LICENSE), `other.md`\n"
        "```\n`start.md`\n```\n`README.md`\n"
    )
    assert linked(text, "index.md", pages) == (
        "[`start.md`](start.md), [`docs/start.md`](start.md), [x](start.md#a), y, `other.md`\n"
        "```\n`start.md`\n```\n`README.md`\n"
    )
    assert linked("`README.md` and `start.md`", "reference/tables.md", pages) == (
        "[`README.md`](../index.md) and [`start.md`](../start.md)"
    )


@pytest.mark.slow
@pytest.mark.skipif(find_spec("zensical") is None, reason="zensical is not installed")
def test_it_is_built_and_no_link_leads_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = main(tmp_path / "docs")
    assert {path.relative_to(site).with_suffix(".md").as_posix() for path in site.rglob("*.html")} >= PLACED
    page = (site / "start.html").read_text()
    assert re.search(r'href="[^"]*report\.html"', page)
    monkeypatch.setitem(REFERENCES, "tables", lambda: "# Tables\n\n[nowhere](nowhere.md)\n")
    with pytest.raises(SystemExit):
        main(tmp_path / "broken")
