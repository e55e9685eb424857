"""The recipes of docs/extend.md: which files they touch, and the same done to a copy of the engine."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/extend.md"
_BLOCK = re.compile(r"^```(?:python|diff)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COPIED = ("schemas", "models", "infra", "tasks", "flows", "tests")
_LEFT_OUT = shutil.ignore_patterns("__pycache__", "fixtures", "store.zip")


@dataclass(frozen=True)
class Recipe:
    """A recipe: its blocks by file, in the order of the page."""

    name: str
    blocks: tuple[tuple[str, str], ...]

    @property
    def files(self) -> set[str]:
        """The files that it touches, those of the tests apart."""
        return {path.removeprefix("new ") for path, _ in self.blocks if not path.startswith("tests/")}

    def follow(self, root: Path) -> None:
        """Do to the tree at `root` what the blocks say. AssertionError where a block doesn't fit."""
        for path, text in self.blocks:
            file = root / path.removeprefix("new ")
            if path.startswith("new "):
                assert not file.exists(), f"{self.name}: {file} is there already"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, "utf-8")
            else:
                file.write_text(_changed(file.read_text("utf-8"), text, f"{self.name}, {path}"), "utf-8")


def recipes() -> dict[str, Recipe]:
    """The recipes of the page by their headings."""
    found = {}
    for part in PAGE.read_text("utf-8").split("\n## ")[1:]:
        name, _, body = part.partition("\n")
        blocks = tuple((path, text) for path, _, text in (block.partition("\n") for block in _BLOCK.findall(body)))
        found[name] = Recipe(name, blocks)
    return found


def copied(folder: Path) -> Path:
    """A copy of the engine and of its tests, without their large files."""
    for name in _COPIED:
        shutil.copytree(ROOT / name, folder / name, ignore=_LEFT_OUT)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def _changed(text: str, block: str, where: str) -> str:
    """`text` after the changes of a block, whose parts `@@` stand between."""
    for part in block.split("\n@@\n"):
        lines = part.strip("\n").splitlines()
        before = "".join(f"{line[1:]}\n" for line in lines if not line.startswith("+"))
        after = "".join(f"{line[1:]}\n" for line in lines if not line.startswith("-"))
        assert text.count(before) == 1, f"{where}: these lines are there {text.count(before)} times:\n{before}"
        text = text.replace(before, after)
    return text
