"""Draws mutants of a module: one operator, sign, constant, index or order of arguments that is another than it was.

Only expressions that decide something are touched: not what is said to people, not types, docstrings or decorators.
"""

import ast
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_BINARY: dict[type[ast.operator], str] = {
    ast.Add: "-",
    ast.Sub: "+",
    ast.Mult: "/",
    ast.Div: "*",
    ast.FloorDiv: "*",
    ast.Mod: "*",
    ast.Pow: "*",
    ast.BitAnd: "|",
    ast.BitOr: "&",
}
_COMPARISON: dict[type[ast.cmpop], str] = {
    ast.Lt: ">=",
    ast.LtE: "<",
    ast.Gt: "<=",
    ast.GtE: ">",
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.In: "not in",
    ast.NotIn: "in",
    ast.Is: "is not",
    ast.IsNot: "is",
}
_TOLD = ("say", "debug", "info", "warning", "setting")
"""Calls whose arguments are words for people."""


@dataclass(frozen=True)
class Mutant:
    """A module with one place changed. `line` counts from 1."""

    module: str
    line: int
    before: str
    after: str
    text: str
    """Its line as it was."""
    source: str
    """The whole changed module."""

    @property
    def name(self) -> str:
        return f"{self.module}:{self.line}: {self.before} -> {self.after}"


def mutants_of(root: Path, module: str) -> list[Mutant]:
    """Every mutant of a module that the operators can make, in the order of the text."""
    source = (root / module).read_text(encoding="utf-8")
    lines = source.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line.encode()))
    encoded, found, given = source.encode(), [], ast.parse(source)
    as_it_was = ast.dump(given)
    for node, text in _changes(given):
        begin, end = starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset
        before = encoded[begin:end].decode()
        changed = (encoded[:begin] + text.encode() + encoded[end:]).decode()
        if ast.dump(ast.parse(changed)) != as_it_was:
            found.append(
                Mutant(module, node.lineno, _flat(before), _flat(text), lines[node.lineno - 1].strip(), changed)
            )
    return sorted(found, key=lambda mutant: (mutant.line, mutant.before, mutant.after))


def draw(root: Path, module: str, count: int, seed: int) -> list[Mutant]:
    """`count` mutants of a module by chance: of different lines as long as there are that many."""
    chance = random.Random(f"{seed} {module}")
    every = mutants_of(root, module)
    chance.shuffle(every)
    first = {mutant.line: mutant for mutant in reversed(every)}
    apart = [mutant for mutant in every if first[mutant.line] is mutant]
    return [*apart, *(mutant for mutant in every if first[mutant.line] is not mutant)][:count]


def _flat(text: str) -> str:
    return " ".join(text.split())


def _changes(tree: ast.Module) -> Iterator[tuple[ast.expr, str]]:
    for node in _deciding(tree):
        yield from ((node, ast.unparse(changed)) for changed in _variants(node))


def _deciding(node: ast.AST) -> Iterator[ast.expr]:
    """Expressions below a node that decide what the code does."""
    if isinstance(node, ast.Raise | ast.JoinedStr | ast.Import | ast.ImportFrom | ast.Assert):
        return
    if isinstance(node, ast.Call) and _called(node) in _TOLD:
        return
    if isinstance(node, ast.expr):
        yield node
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "bases", "args") and isinstance(node, ast.FunctionDef):
            continue
        if field == "annotation" or (isinstance(node, ast.Expr) and isinstance(value, ast.Constant)):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _deciding(child)


def _called(call: ast.Call) -> str:
    if isinstance(call.func, ast.Attribute):
        return call.func.attr
    return call.func.id if isinstance(call.func, ast.Name) else ""


def _variants(node: ast.expr) -> Iterator[ast.expr]:
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        text = f"({ast.unparse(node.left)}) {_BINARY[type(node.op)]} ({ast.unparse(node.right)})"
        yield ast.parse(f"({text})", mode="eval").body
    elif isinstance(node, ast.Compare):
        for place, operator in enumerate(node.ops):
            other = ast.parse(f"a {_COMPARISON[type(operator)]} b", mode="eval").body
            assert isinstance(other, ast.Compare)
            yield ast.Compare(node.left, [*node.ops[:place], *other.ops, *node.ops[place + 1 :]], node.comparators)
    elif isinstance(node, ast.BoolOp):
        yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not | ast.Invert):
        yield node.operand
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield ast.Constant(node.value + 1)
    elif isinstance(node, ast.IfExp):
        yield ast.IfExp(node.test, node.orelse, node.body)
    elif isinstance(node, ast.Call) and len(node.args) >= 2 and not any(isinstance(a, ast.Starred) for a in node.args):
        yield ast.Call(node.func, [node.args[1], node.args[0], *node.args[2:]], node.keywords)
