"""JSON made worse in ways that happen and in ways that are meant, for the tests of readers of JSON."""

import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from schemas.errors import DataError
from tasks.ingest.people.annotations import ANNOTATIONS, Reader

_WORSE: tuple[Any, ...] = (
    *(None, True, -1, 0, 10**30, 1e300, math.nan, math.inf, "", "x", "\ud800", "../../etc/passwd", "/etc/passwd"),
    *([], {}, [[]], {"a": {"a": 1}}, [1, 2], [None], ["1", "2"], "nan", 1e-300, 2**31),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all values within a value of JSON."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield (*path, key)
        yield from places(each, (*path, key))


def mutated(content: Any, rng: np.random.Generator) -> tuple[str, Any]:
    """What was done, and a copy of `content` with it done: a value replaced, removed or nested (if any is left)."""
    copy = json.loads(json.dumps(content))
    by_depth: dict[int, list[tuple[Any, ...]]] = {}
    for path in places(copy):
        by_depth.setdefault(len(path), []).append(path)
    if not by_depth:
        return "nothing", copy
    candidates = by_depth[int(rng.choice(sorted(by_depth)))]
    path = candidates[int(rng.integers(len(candidates)))]
    holder = copy
    for key in path[:-1]:
        holder = holder[key]
    act = int(rng.integers(4))
    if act == 0:
        del holder[path[-1]]
        return f"del {path}", copy
    worse = [holder[path[-1]]] if act == 1 else _WORSE[int(rng.integers(len(_WORSE)))]
    holder[path[-1]] = worse
    return f"{path} = {worse!r}", copy


def broken(text: bytes, rng: np.random.Generator) -> bytes:
    """Bytes cut off, replaced, or put in."""
    at = int(rng.integers(len(text)))
    act = int(rng.integers(4))
    if act == 0:
        return text[:at]
    if act == 1:
        return text[:at] + bytes(rng.integers(0, 256, 3, dtype=np.uint8)) + text[at + 3 :]
    if act == 2:
        return text[:at] + b"[" * 2000 + text[at:]
    return text[:at] + b"9" * 5000 + text[at:]


def rows_or_error(make: Any) -> list[dict[str, Any]] | DataError:
    """All rows that a reader hands on, or its DataError; any other error is the test's."""
    rows: list[dict[str, Any]] = []
    error = None
    try:
        reader: Reader = make()
        reader.survey()
        for batch in reader.batches():
            assert batch.schema == ANNOTATIONS
            rows += batch.to_pylist()
    except DataError as caught:
        error = caught
    assert len(str(error)) < 2000
    assert all(row["reason"] is None or row["detail"] for row in rows)
    return rows if error is None else error
