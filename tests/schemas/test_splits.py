"""The splits that the engine makes: their names stand in keys and ids, so they stay, and in one module alone."""

import ast
from pathlib import Path

from schemas.config.stages import SynthesizeConfig
from schemas.splits import HELD_OUT, SYNTHETIC

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("schemas", "models", "infra", "tasks", "flows")


def test_names_and_order_are_those_of_finished_stores() -> None:
    names = ["source/train", "source/test", "scorer/train", "wild/train", "wild/validation", "wild/test"]
    assert [str(target) for target in SYNTHETIC] == names
    assert [str(target) for target in HELD_OUT] == ["wild/validation", "wild/test", "source/test"]


def test_the_configuration_says_how_many_pictures_each_has() -> None:
    assert {f"{target.dataset}_{target.split}" for target in SYNTHETIC} <= set(SynthesizeConfig.model_fields)


def test_no_other_module_spells_them() -> None:
    spelled = []
    for file in (file for room in ROOMS for file in (ROOT / room).rglob("*.py")):
        if file != ROOT / "schemas/splits.py":
            spelled += [f"{file.relative_to(ROOT)}:{line}" for line in _spelled(ast.parse(file.read_text("utf-8")))]
    assert spelled == []


def _spelled(tree: ast.Module) -> list[int]:
    """Lines that hold such a name, whole or as two texts beside each other."""
    lines = []
    for node in ast.walk(tree):
        parts = getattr(node, "elts", None) or getattr(node, "args", None)
        texts = tuple(part.value for part in parts if isinstance(part, ast.Constant)) if isinstance(parts, list) else ()
        if texts in SYNTHETIC or (isinstance(node, ast.Constant) and node.value in map(str, SYNTHETIC)):
            lines.append(node.lineno)
    return lines
