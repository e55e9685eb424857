"""Every reason that a row can be refused for stands in docs/data.md."""

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import tasks.ingest
from tasks.ingest.people.worker import GONE

FOLDER = Path(tasks.ingest.__file__).parent
PAGE = FOLDER.parents[1] / "docs" / "data.md"
PLACES = {"RefusedError": 0, "Failure": 1, "refuse": 1}
"""Which argument of a call is the reason."""


def texts(node: ast.expr, constants: Mapping[str, set[str]]) -> set[str]:
    """The texts that an expression may be; none for a reason that is handed on."""
    if isinstance(node, ast.IfExp):
        return texts(node.body, constants) | texts(node.orelse, constants)
    if isinstance(node, ast.Name):
        return constants[node.id]
    return {node.value} if isinstance(node, ast.Constant) and isinstance(node.value, str) else set()


def assigned(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Names and what they are set to, one by one."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    for target in targets:
        value = getattr(node, "value", None)
        if isinstance(target, ast.Name) and value is not None:
            yield target.id, value
        elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            yield from (
                (name.id, each) for name, each in zip(target.elts, value.elts, strict=False) if hasattr(name, "id")
            )


def reasons() -> set[str]:
    trees = [ast.parse(path.read_text()) for path in FOLDER.rglob("*.py")]
    constants: defaultdict[str, set[str]] = defaultdict(set)
    for tree in trees:
        for node in ast.walk(tree):
            for name, value in assigned(node):
                constants[name] |= texts(value, defaultdict(set))
    found = set()
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
                place = PLACES.get(called)
                if place is not None and len(node.args) > place:
                    found |= texts(node.args[place], constants)
    return found


def test_every_reason_stands_in_the_page() -> None:
    found = reasons() | {GONE}
    assert len(found) > 45
    assert {"joints disagree", "picture truncated", "not finite", "frame missing"} <= found
    page = PAGE.read_text()
    assert sorted(reason for reason in found if f"`{reason}`" not in page) == []
