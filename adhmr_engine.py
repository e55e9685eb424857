"""The entry point of `adhmr`, and nothing that needs another module of ours: they may be hidden from us.

The five packages have plain names. Where a folder of another project with one of these names (`models`, as a rule)
comes earlier on Python's path, Python takes that one, and our imports fail in odd places. This module is found by a
name that no other project has, and looks before anything is imported.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("schemas", "models", "infra", "tasks", "flows")
_HERE = Path(__file__).resolve().parent


def shadow() -> str:
    """What hides a package of ours, and the cure, in one line; empty if nothing does."""
    for name in PACKAGES:
        spec = find_spec(name)
        if spec is None:
            return f"The package {name!r} of adhmr-engine is not beside {__file__}: install adhmr-engine again."
        place = Path(spec.origin or next(iter(spec.submodule_search_locations or ()), "?")).resolve()
        if place != _HERE / name / "__init__.py":
            folder = place.parent.parent if place.name == "__init__.py" else place.parent
            return (
                f"Python finds another project's {name!r} in {folder} before adhmr-engine's own: take {folder} off "
                "PYTHONPATH or start from another folder, or give adhmr-engine an environment of its own."
            )
    return ""


def main() -> None:
    """Say in one line what hides a package of ours; else be the command line."""
    problem = shadow()
    if problem:
        print(f"adhmr: {problem}", file=sys.stderr)
        raise SystemExit(2)
    from flows.cli.main import main as command_line

    command_line()


if __name__ == "__main__":
    main()
