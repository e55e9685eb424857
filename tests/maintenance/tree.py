"""Writes docs/tree.md, a line a module from the first sentences of docstrings: `python -m tests.maintenance.tree`.

A sentence that is too long for a line ends at its first colon or semicolon.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/tree.md"
PACKAGES = ("schemas", "models", "infra", "tasks", "flows")
COMMAND = "python -m tests.maintenance.tree"
_LONG = 126
_INDENT = 2
_NAMES = 36
"""Characters of a line before its sentence."""
_COMMENTED = ("", ".yaml", ".toml", ".env", ".txt")
"""Files that begin with a comment: what they are for."""
_HEAD = f"""# The tree

Written by `{COMMAND}` from the first sentences of the modules; do not edit. Arrows go downwards only:
flows, tasks, then infra and models side by side, schemas. `architecture.md` says what the rooms are for.
"""


def page(root: Path = ROOT) -> str:
    """The whole page: a part for each package, then the folders of tests, and what stands beside them."""
    parts = [_HEAD]
    for package in reversed(PACKAGES):
        parts.append(_part(f"## {package}", [_line(root / package, 0), *_below(root / package, 1)]))
    folders = [_line(folder, 0) for folder in _entries(root / "tests") if folder.is_dir()]
    parts.append(_part("## tests", folders))
    beside = [_line(root / "adhmr_engine.py", 0), *(_line(file, 0, "docs/") for file in _entries(root / "docs"))]
    parts.append(_part("## Beside them", beside))
    return "\n".join(parts)


def missing(root: Path = ROOT) -> list[str]:
    """Modules, rooms and folders of tests that don't say what they are."""
    modules = [path for package in PACKAGES for path in (root / package).rglob("*.py")]
    folders = [folder / "__init__.py" for folder in _entries(root / "tests") if folder.is_dir()]
    return sorted(str(path.relative_to(root)) for path in [*modules, *folders] if not sentence(path))


def sentence(path: Path) -> str:
    """What a module, a folder (by its `__init__`) or another file says of itself; empty where it says nothing."""
    if path.is_dir():
        path = path / "__init__.py"
    if path.suffix == ".py":
        text = (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "") if path.exists() else ""
    elif path.suffix == ".md":
        text = path.read_text("utf-8").partition("\n")[0].lstrip("# ")
    elif path.suffix in _COMMENTED:
        text = " ".join(re.findall(r"^# ?(.*)", path.read_text("utf-8").partition("\n\n")[0], re.MULTILINE))
    else:
        return ""
    said = " ".join(re.split(r"(?<!et al)[.](?=\s|$)", text)[0].split())
    return said if len(said) <= _LONG else re.split(r"[:;] ", said)[0]


def _entries(folder: Path) -> list[Path]:
    """Files and folders that belong to the project, files first."""
    held = [path for path in folder.iterdir() if not path.name.startswith((".", "__init__", "__pycache__"))]
    return sorted(filter(_is_ours, held), key=lambda path: (path.is_dir(), path.name))


def _is_ours(path: Path) -> bool:
    """Whether it is a file that was written, or a folder with one: nothing but what Python has compiled may be left."""
    return path.suffix != ".pyc" if path.is_file() else any(map(_is_ours, path.iterdir()))


def _below(folder: Path, depth: int) -> Iterator[str]:
    for path in _entries(folder):
        yield _line(path, depth)
        if path.is_dir():
            yield from _below(path, depth + 1)


def _line(path: Path, depth: int, before: str = "") -> str:
    name = f"{' ' * _INDENT * depth}{before}{path.name}{'/' * path.is_dir()}"
    return f"{name:<{_NAMES}}  {sentence(path)}".rstrip()


def _part(title: str, lines: list[str]) -> str:
    return "\n".join([title, "", "```text", *lines, "```", ""])


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), "utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
