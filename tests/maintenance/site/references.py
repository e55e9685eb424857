"""References as Markdown, made from the code: fields, tables, commands, formats, failure reasons, deployments, and what
notebooks call."""

import ast
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import typer
import yaml

from flows.cli.main import COMMANDS, PROGRAM, app
from schemas.fields import fields
from schemas.profiles import PROFILES
from schemas.tables.contracts import TABLES
from tasks.ingest.formats.registry import formats

ROOT: Final = Path(__file__).resolve().parents[3]
_REFUSING: Final = {"RefusedError": 0, "Failure": 1, "Filtered": 1}
"""What is called where a unit is left out, and which of its arguments is the reason."""
_CHOOSING: Final = ("tasks.pairing.", "tasks.review.")
"""Rooms that leave people out by the constants of theirs, a table of them for a column of choices."""
_HEAD: Final = "Made from the code by `python -m tests.maintenance.site`.\n"


def configuration() -> str:
    """Every field, its value in each profile, its meaning, unit and limits, by section."""
    profiles = {name: {one.name: one for one in fields(make())} for name, make in PROFILES.items()}
    every: dict[str, Any] = {}
    for known in profiles.values():
        every |= {name: one for name, one in known.items() if name not in every}
    lines = ["# Configuration", "", _HEAD, "Values are said in a campaign file, by `--set`, or in the environment.", ""]
    sections: dict[str, list[Any]] = defaultdict(list)
    for one in every.values():
        sections[one.section].append(one)
    for section, listed in sections.items():
        lines += ["", f"## {section or 'At the top'}", "", _row("field", "meaning", "unit", "limits", *profiles)]
        lines.append(_row(*["---"] * (4 + len(profiles))))
        for one in listed:
            values = (_value(known[one.name].value) if one.name in known else "–" for known in profiles.values())
            unit = "" if one.unit == "-" else one.unit
            lines.append(_row(f"`{one.name}`", one.description, unit, one.limits, *values))
    return _page(lines)


def tables() -> str:
    """Every table: its columns with types, units and meanings, its key and its partitions."""
    lines = [
        "# Tables",
        "",
        _HEAD,
        "`stage_key` names the finished stage that wrote a row. `queries.md` asks them.",
        "",
    ]
    for name, contract in sorted(TABLES.items()):
        about = f"Key: {', '.join(f'`{column}`' for column in contract.key)}"
        if contract.partition_by:
            about += f"; in folders by {', '.join(f'`{column}`' for column in contract.partition_by)}"
        lines += ["", f"## {name}", "", contract.doc, "", f"{about}.", ""]
        lines += [_row("column", "type", "null", "unit", "meaning"), _row(*["---"] * 5)]
        for field in contract.schema:
            told = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
            unit = "" if told["unit"] == "none" else told["unit"]
            null = "yes" if field.nullable else ""
            kind = str(field.type).replace("element: ", "").replace(" not null", "")
            lines.append(_row(f"`{field.name}`", f"`{kind}`", null, unit, told["description"]))
    return _page(lines)


def commands() -> str:
    """Every command with its arguments and options, as its help has them."""
    root = typer.main.get_command(app)
    context = typer.Context(root, info_name=PROGRAM)
    lines = ["# Commands and options", "", _HEAD, "`commands.md` says when to use which.", ""]
    for name in COMMANDS:
        command: Any = root.get_command(context, name)  # type: ignore[attr-defined] # a group
        lines += ["", f"## {PROGRAM} {name}", "", " ".join((command.help or "").split()), ""]
        lines += [_row("word", "meaning", "else"), _row(*["---"] * 3)]
        for one in command.params:
            words = ", ".join(f"`{word}`" for word in (*one.opts, *one.secondary_opts))
            if one.param_type_name == "argument":
                words = f"`{one.metavar or one.name.upper()}`"
            default = "" if one.default in (None, False, ()) or callable(one.default) else _value(one.default)
            shown = getattr(one, "show_default", "")
            lines.append(_row(words, getattr(one, "help", "") or "", shown if isinstance(shown, str) else default))
    return _page(lines)


def formats_read() -> str:
    """Every format: what it brings, and its options."""
    lines = ["# Formats", "", _HEAD, "`adhmr ingest URL --format NAME`; `data.md` says how, with examples.", ""]
    for one in formats().values():
        said = one.documentation or one.title
        lines += ["", f"## {one.name}", "", f"{said[:1].upper()}{said[1:]}.", ""]
        ways = ", ".join(f"with `as={name}` {brought}" for name, brought in one.ways.items())
        lines += [f"Brings {one.brings}{f'; {ways}' if ways else ''}.", ""]
        if one.options:
            lines += [_row("option", "meaning"), _row("---", "---")]
            lines += [_row(f"`{name}`", text) for name, text in one.options.items()]
    return _page(lines)


def failure_reasons() -> str:
    """Every reason for which a unit is left out, and the modules that give it."""
    lines = ["# Reasons in the table failures", "", _HEAD, "The column `detail` says what was seen.", ""]
    lines += ["", _row("reason", "given by"), _row("---", "---")]
    for reason, modules in sorted(reasons().items()):
        lines.append(_row(reason, ", ".join(f"`{name}`" for name in modules)))
    return _page(lines)


def reasons(root: Path = ROOT) -> dict[str, list[str]]:
    """The texts that stand where units are refused, with the modules that name them; constants by their values."""
    trees = {path: ast.parse(path.read_text("utf-8")) for path in sorted((root / "tasks").rglob("*.py"))}
    named = {name: value for tree in trees.values() for name, value in _constants(tree)}
    found: dict[str, set[str]] = defaultdict(set)
    for path, tree in trees.items():
        module = ".".join(path.relative_to(root).with_suffix("").parts)
        chosen = (text for name, text in _constants(tree) if name.isupper() and " " in text)
        for text in (*_refused(tree, named), *(chosen if module.startswith(_CHOOSING) else ())):
            found[text].add(module)
    return {text: sorted(modules) for text, modules in found.items()}


def deployments() -> str:
    """Every deployment of prefect.yaml, with the parameters of its flow."""
    declared = yaml.safe_load((ROOT / "prefect.yaml").read_text("utf-8"))["deployments"]
    snapshot = json.loads((ROOT / "tests/flows/deployments.json").read_text("utf-8"))
    lines = ["# Deployments", "", _HEAD, "`prefect deployment run NAME -p parameter=value`; `deploy.md` says more.", ""]
    for one in declared:
        lines += ["", f"## {one['name']}", "", " ".join(one["description"].split()), ""]
        for plan in one.get("schedules", []):
            asleep = "" if plan["active"] else ", asleep until it is made active"
            lines += [f"Schedule: `{plan['cron']}` ({plan['timezone']}){asleep}.", ""]
        parameters = snapshot[one["name"]]["parameters"]["properties"]
        lines += [_row("parameter", "meaning", "else"), _row(*["---"] * 3)]
        for name, about in sorted(parameters.items(), key=lambda item: item[1].get("position", 0)):
            default = _value(about["default"]) if "default" in about else "must be said"
            lines.append(_row(f"`{name}`", about.get("description", ""), default))
    return _page(lines)


def notebooks() -> str:
    """Every call of `flows.api`, as its signature and its docstring have it."""
    tree = ast.parse((ROOT / "flows" / "api.py").read_text("utf-8"))
    lines = ["# In notebooks", "", _HEAD, ast.get_docstring(tree) or ""]
    for node in tree.body:
        of_store = isinstance(node, ast.ClassDef) and node.name == "OpenStore"
        for call in node.body if isinstance(node, ast.ClassDef) and of_store else [node]:
            if not isinstance(call, ast.FunctionDef) or call.name.startswith("_"):
                continue
            if of_store:
                del call.args.args[0]  # self
            gives = call.returns.value if isinstance(call.returns, ast.Constant) else ast.unparse(call.returns or call)
            signature = f"{'store' if of_store else 'flows.api'}.{call.name}({ast.unparse(call.args)}) -> {gives}"
            lines += ["", f"## {signature.partition('(')[0]}", "", f"`{signature}`", "", ast.get_docstring(call) or ""]
    return _page(lines)


REFERENCES: Final[Mapping[str, Callable[[], str]]] = {
    "configuration": configuration,
    "tables": tables,
    "commands": commands,
    "formats": formats_read,
    "failures": failure_reasons,
    "deployments": deployments,
    "api": notebooks,
}
"""By the name of the page."""


def _constants(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Texts that a module gives a name."""
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value = getattr(node, "value", None)
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            yield from ((target.id, value.value) for target in targets if isinstance(target, ast.Name))


def _refused(tree: ast.Module, named: Mapping[str, str]) -> Iterator[str]:
    for node in ast.walk(tree):
        called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
        if not isinstance(node, ast.Call) or called not in _REFUSING or len(node.args) <= _REFUSING[called]:
            continue
        reason = node.args[_REFUSING[called]]
        for part in (reason.body, reason.orelse) if isinstance(reason, ast.IfExp) else (reason,):
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                yield part.value
            elif isinstance(part, ast.Name) and part.id in named:
                yield named[part.id]


def _value(value: Any) -> str:
    return f"`{value if isinstance(value, str) else json.dumps(value)}`" if value != "" else ""


def _row(*cells: str) -> str:
    return f"| {' | '.join(map(_cell, cells))} |"


def _cell(text: str) -> str:
    """Text in a table: nothing in it ends the cell or is mark-up, but for what stands between backticks."""
    parts = " ".join(text.split()).replace("|", "\\|").split("`")
    return "`".join(part if place % 2 else part.replace("<", "&lt;") for place, part in enumerate(parts))


def _page(lines: list[str]) -> str:
    return "\n".join(lines).rstrip() + "\n"
