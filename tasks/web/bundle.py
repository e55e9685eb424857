"""ES modules as one classic script, for a page that may load nothing: no import map, no other file, no `blob:` address.

The modules are those of the folders `static` (ours) and `vendor` (of others), whose imports and exports are whole
statements with lists of names. Each becomes a function that gives what it exports; who imports takes it from there.
"""

import re
from functools import cache
from pathlib import Path
from typing import Final

STATIC: Final = Path(__file__).parent / "static"
VENDOR: Final = Path(__file__).parent / "vendor"
_BARE: Final = {"three": "three.module.min.js"}
"""Files of the names that stand for none, as the import map of `adhmr browse` has them."""
_FROM: Final = r"""\s*from\s*["'](?P<of>[^"']+)["']"""
_NAMES: Final = r"\{(?P<names>[^}]*)\}"
_IMPORT: Final = re.compile(rf"^import\s*(?:\*\s*as\s+(?P<whole>\w+)|{_NAMES}){_FROM};?", re.M)
_EXPORT: Final = re.compile(rf"(?:^|(?<=[;}}]))export\s*{_NAMES}(?:{_FROM})?;?", re.M)
_DECLARED: Final = re.compile(r"^export (?P<what>(?:async )?function|class|const) (?P<name>\w+)", re.M)


@cache
def classic(name: str) -> str:
    """A script that defines what the module `name` exports, as the constant that `constant_of` names, after all that
    the module imports. ValueError where a statement is of another form."""
    written: dict[str, str] = {}
    _write(name, written)
    return "\n".join(written.values())


def constant_of(name: str) -> str:
    """The name under which a module's exports are found: `bodies.js` -> `module_bodies_js`."""
    return "module_" + re.sub(r"\W", "_", name)


def source(name: str) -> str:
    """The text of a file of either folder."""
    path = next(path for path in (STATIC / name, VENDOR / name) if path.exists())
    return path.read_text("utf-8")


def _write(name: str, written: dict[str, str]) -> None:
    if name in written:
        return
    text = source(name)
    exports: list[str] = []

    def imported(found: re.Match[str]) -> str:
        other = _file_of(found["of"])
        _write(other, written)
        if found["whole"]:
            return f"const {found['whole']} = {constant_of(other)};"
        listed = ", ".join(f"{outside}: {inside}" for outside, inside in _pairs(found["names"]))
        return f"const {{{listed}}} = {constant_of(other)};"

    def exported(found: re.Match[str]) -> str:
        if found["of"]:
            other = _file_of(found["of"])
            _write(other, written)
            exports.extend(f"{outside}: {constant_of(other)}.{inside}" for inside, outside in _pairs(found["names"]))
        else:
            exports.extend(f"{outside}: {inside}" for inside, outside in _pairs(found["names"]))
        return ""

    def declared(found: re.Match[str]) -> str:
        exports.append(f"{found['name']}: {found['name']}")
        return f"{found['what']} {found['name']}"

    body = _DECLARED.sub(declared, _EXPORT.sub(exported, _IMPORT.sub(imported, text)))
    left = re.search(r"(?:^|[;}])\s*(?:import|export)\b[^(].*", body, re.M)
    if left:
        raise ValueError(f"{name}: a statement of a form that is not bundled: {left[0][:80]!r}")
    written[name] = (
        f'const {constant_of(name)} = (() => {{\n"use strict";\n{body}\nreturn {{{", ".join(exports)}}};\n}})();'
    )


def _file_of(specifier: str) -> str:
    return _BARE.get(specifier, specifier.rsplit("/", 1)[-1])


def _pairs(names: str) -> list[tuple[str, str]]:
    """`a as b, c` -> [(a, b), (c, c)]."""
    listed = (re.split(r"\s+as\s+", name.strip()) for name in names.split(",") if name.strip())
    return [(name[0], name[-1]) for name in listed]
