"""The two rooms that have to stay light: `schemas` (contracts) and `models` (runs on a bare GPU machine).

import-linter (pyproject.toml) forbids what it is told by name; these tests allow what is named and nothing else.
"""

import subprocess
import sys
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

PACKAGES = ("schemas", "models", "infra", "tasks", "flows")
# The longest matching name counts. Standard library apart.
ALLOWED = {
    "schemas": {"pydantic"},
    "schemas.digests": {"pydantic", "numpy"},
    "schemas.tables": {"pydantic", "pyarrow", "numpy"},
    "models": {"torch", "numpy", "scipy", "roma", "smplx", "safetensors", "numba", "pydantic"},
    "models.rendering.pytorch3d_backend": {"torch", "numpy", "pytorch3d"},
}
ENGINES = ("ray", "prefect", "duckdb", "pyarrow", "deltalake", "fsspec", "s3fs", "pandas", "PIL", "matplotlib")


def allowed(module: str) -> set[str]:
    room = max((name for name in ALLOWED if module == name or module.startswith(name + ".")), key=len)
    return ALLOWED[room]


def test_third_party_packages_of_schemas_and_models() -> None:
    graph = grimp.build_graph("schemas", "models", include_external_packages=True, cache_dir=None)
    ours = {module for module in graph.modules if module.split(".")[0] in {"schemas", "models"}}
    assert {"schemas.progress", "schemas.tables", "models.diffusion"} <= ours, "the graph is empty: nothing was checked"
    strangers = {
        (module, imported)
        for module in ours
        for imported in graph.find_modules_directly_imported_by(module) - ours
        if imported.split(".")[0] not in {*sys.stdlib_module_names, *allowed(module)}
    }
    assert strangers == set()


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_and_no_room_imports_in_a_circle(package: str) -> None:
    graph = grimp.build_graph(package, cache_dir=None, exclude_type_checking_imports=True)
    modules = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    list(TopologicalSorter(modules).static_order())  # CycleError names the circle
    for parent in modules:
        rooms = graph.find_children(parent)
        between = {room: {other for other in rooms - {room} if _imports(graph, room, other)} for room in rooms}
        list(TopologicalSorter(between).static_order())


def _imports(graph: grimp.ImportGraph, importer: str, imported: str) -> bool:
    return graph.direct_import_exists(importer=importer, imported=imported, as_packages=True)


@pytest.mark.slow
def test_models_import_where_no_engine_is_installed() -> None:
    script = f"""
import importlib, pkgutil, sys
for name in {ENGINES!r}:
    sys.modules[name] = None
import models
names = [found.name for found in pkgutil.walk_packages(models.__path__, "models.")]
for name in names:
    if not name.endswith(".pytorch3d_backend"):
        importlib.import_module(name)
print(len(names))
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) >= 10


FOLDERS = [Path(package) for package in PACKAGES]


def modules() -> list[Path]:
    root = Path(__file__).resolve().parents[1]
    return [path.relative_to(root) for folder in FOLDERS for path in (root / folder).rglob("*.py")]


def test_rooms_are_small() -> None:
    side_by_side = Counter(path.parent for path in modules() if path.name != "__init__.py")
    crowded = {str(folder): count for folder, count in side_by_side.items() if count > 16}
    assert {name for name in crowded if name.split("/")[0] in ("flows", "tasks")} == set(), crowded


def test_modules_are_short_and_named_for_what_they_hold() -> None:
    root = Path(__file__).resolve().parents[1]
    long = {str(path): lines for path in modules() if (lines := len((root / path).read_text().splitlines())) > 400}
    assert long == {}
    assert [
        path for path in modules() if {"util", "utils", "common", "misc", "helpers"} & set(path.with_suffix("").parts)
    ] == []
