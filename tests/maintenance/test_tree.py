"""docs/tree.md is what the modules say of themselves."""

from pathlib import Path

import pytest

from tests.maintenance.tree import COMMAND, PAGE, ROOT, missing, page, sentence


def test_the_page_is_what_the_script_writes() -> None:
    assert missing() == [], "say in the first sentence of the docstring what it is"
    assert PAGE.read_text("utf-8") == page(), f"docs/tree.md is not what the modules say: run `{COMMAND}`"


def test_every_module_has_one_line() -> None:
    lines = PAGE.read_text("utf-8").splitlines()
    for package in ("schemas", "models", "infra", "tasks", "flows"):
        at = lines.index(f"## {package}") + 3
        first = [line.split()[0] for line in lines[at : lines.index("```", at)]]
        modules = [path.name for path in (ROOT / package).rglob("*.py") if path.name != "__init__.py"]
        assert sorted(name for name in first if name.endswith(".py")) == sorted(modules)


@pytest.mark.parametrize(
    ("docstring", "said"),
    [
        ("One idea. And more.", "One idea"),
        ("Version 1.5 of\n    it. More", "Version 1.5 of it"),
        (f"Short: {'long ' * 40}.", "Short"),
        ("Of Li et al., and Loper et al. 2015. More.", "Of Li et al., and Loper et al. 2015"),
        ("", ""),
    ],
)
def test_first_sentences(docstring: str, said: str, tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(f'"""{docstring}"""\n' if docstring else "x = 1\n", "utf-8")
    assert sentence(module) == said
