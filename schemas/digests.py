"""Digests: one SHA-256 for whatever decides a result, so that equal inputs have equal names everywhere."""

import hashlib
import importlib.util
import json
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from pydantic import BaseModel

PACKAGES = ("flows", "infra", "models", "schemas", "tasks")


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no blanks: equal values, equal text. TypeError for what JSON can't hold (NaN)."""
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any) -> str:
    """SHA-256 (64 hex digits) of the canonical JSON of `value`; pydantic models count as their dumped fields, defaults
    included, without those that came later (`setting`) and have their default."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def state_digest(state: Mapping[str, np.ndarray], about: Any = None) -> str:
    """Digest of a model's weights, whatever the order of the names; `about` (a configuration, say) counts as well.

    Names, shapes, types and bytes count; the memory layout does not.
    """
    total = hashlib.sha256(canonical_json(about).encode())
    for name in sorted(state):
        array = np.ascontiguousarray(state[name])
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        total.update(canonical_json([name, list(array.shape), little.dtype.str]).encode())
        total.update(little.tobytes())
    return total.hexdigest()


def bytes_digest(data: bytes | memoryview) -> str:
    """SHA-256 of bytes (a picture's file, say)."""
    return hashlib.sha256(data).hexdigest()


def stream_digest(opened: BinaryIO) -> str:
    """SHA-256 of an open file, read in pieces."""
    return hashlib.file_digest(opened, "sha256").hexdigest()  # type: ignore[arg-type]


@cache
def code_digest(root: Path | None = None) -> str:
    """Digest of the .py sources of our packages below `root` (default: where each is imported from); needs no git."""
    total = hashlib.sha256()
    for package in PACKAGES:
        folder = root / package if root else _folder_of(package)
        if folder is None:
            continue
        for source in sorted(folder.rglob("*.py")):
            total.update(f"{package}/{source.relative_to(folder).as_posix()}\n".encode())
            total.update(hashlib.sha256(source.read_bytes()).digest())
    return total.hexdigest()


def _folder_of(package: str) -> Path | None:
    """Where a package is imported from; Ray unpacks each into a folder of its own. None where there isn't any."""
    spec = importlib.util.find_spec(package)
    return Path(spec.origin).resolve().parent if spec and spec.origin else None


def _dumped(model: BaseModel) -> dict[str, Any]:
    """A model's fields, and those of models in it, by their first names, but for later ones that are the default
    (`config.base.setting`)."""
    dumped = model.model_dump(mode="json")
    for name, field in type(model).model_fields.items():
        value, about = getattr(model, name), field.json_schema_extra
        if not isinstance(about, dict):
            about = {}
        if about.get("later") and value == field.default:
            del dumped[name]
            continue
        if isinstance(value, BaseModel):
            dumped[name] = _dumped(value)
        if about.get("formerly"):
            dumped[str(about["formerly"])] = dumped.pop(name)
    return dumped


def _plain(value: Any) -> Any:
    """`value` in JSON's own types; floats that are whole stay floats, so that 1 and 1.0 differ as they do in JSON."""
    if isinstance(value, BaseModel):
        return _plain(_dumped(value))
    if isinstance(value, Mapping):
        if not all(isinstance(name, str) for name in value):
            raise TypeError(f"only text can be a key in canonical JSON, not {sorted(map(repr, value))}")
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, float) and not math.isfinite(value):
        raise TypeError(f"canonical JSON has no {value}")
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise TypeError(f"{type(value).__name__} has no form in canonical JSON: {value!r}")
