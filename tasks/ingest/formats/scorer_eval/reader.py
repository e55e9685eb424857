"""The published test files of HMR-Scorer (format scorer-eval): list caches of a picture, hypotheses of its person that
are the label with noise, and the errors of these.

The files themselves are not public any more, so their keys are not certain. What a key means follows from its name and
from the shape of what it holds, in the first entry that can be read; the survey says what became of each. Units follow
from the size of the numbers.
"""

import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from schemas.errors import DataError
from tasks.ingest.formats.json_rows import UNREADABLE, in_batches
from tasks.ingest.formats.list_cache import Entry, ListCache
from tasks.ingest.formats.plain_values import shown, text
from tasks.ingest.formats.preferences import JUDGEMENT, PLACE, needed, numbers, read_row
from tasks.ingest.people.annotations import AnnotationSource, Survey, column
from tasks.ingest.source.folder import RefusedError

NAME: Final = "scorer-eval"
SCORED: Final = pa.schema([
    *PLACE[:3],
    column("picture", pa.binary(), "what the scorer is shown, as a PNG file; null where the entry has none"),
    column("width_px", pa.int32(), "width of it", "px"),
    column("height_px", pa.int32(), "height of it", "px"),
    column("count", pa.int32(), "M, how many hypotheses there are"),
    column("joints", pa.int32(), "K, joints of a hypothesis"),
    column("uvd", pa.list_(pa.float32()), "M x K joints (u, v, d); u, v in -1 to 1 over the picture", "picture, m"),
    column("errors", pa.list_(pa.float32()), "M errors", "mm"),
    column("scores", pa.list_(pa.float32()), "M scores that the file brings"),
    *JUDGEMENT,
])  # fmt: skip
"""The columns of a batch: a row is an entry of the cache. u and v are over the whole picture (published: 3:4)."""

_PATHS: Final = ("path", "img_name", "image_name", "file_name", "filename")
_PICTURES: Final = ("img", "image", "picture", "crop")
_JOINTS: Final = ("hypo", "noise", "joint", "uvd", "kpt", "keypoint", "kps", "pred")
_ERRORS: Final = ("mpvpe", "pve", "mve", "mpjpe", "pjpe", "error", "err", "dist")
_OF_JOINTS: Final = ("pjpe", "joint", "kpt", "keypoint")
_ALIGNED: Final = re.compile(r"(?:^|[^a-z])pa(?:[^a-z]|mp|$)")
_SCORES: Final = ("score",)
_LABELS: Final = ("gt", "label", "target")
_LOOKED_AT = 20
_ROWS_AT_ONCE = 200
_LARGEST_PICTURE = 100_000_000
_NORMALISED_UP_TO, _METRES_UP_TO, _ERRORS_IN_METRES_UP_TO = 3.0, 5.0, 3.0


@dataclass(frozen=True)
class _Meaning:
    """What the keys of an entry mean."""

    keys: Mapping[str, str]
    """Role (path, picture, joints, errors, scores) -> key; without the roles that no key has."""
    words: Mapping[str, str]
    """Key -> role and shape, or that it is not used."""
    pixels: bool = False
    """u, v count pixels of the picture; otherwise they are normalised."""
    depth_factor: float = 1.0
    error_factor: float = 1.0


class ScorerCacheReader:
    """Reads a test cache. Raises DataError where no key of it holds hypotheses."""

    def __init__(self, source: AnnotationSource, work: Path) -> None:
        self.source, self.work = source, work
        self._cache = ListCache(source.url, work, "test cache of HMR-Scorer")
        self._meaning = self._find_meaning()

    def survey(self) -> Survey:
        """Says what became of each key."""
        meaning, keys = self._meaning, self._meaning.keys
        facts = self._cache.facts() | {f"key {key}": words for key, words in meaning.words.items()}
        facts["joints"] = "pixels of the picture" if meaning.pixels else "normalised"
        facts["depth"] = "mm" if meaning.depth_factor != 1 else "m"
        facts["errors"] = self.error_column or "none"
        remarks = self._cache.remarks()
        remarks.append("The published files could not be looked at: names and shapes decided what each key means.")
        if "errors" not in keys:
            remarks.append("No key was found that holds the errors.")
        if not keys.keys() & {"picture", "path"}:
            remarks.append("No key was found that holds the picture.")
        if "picture" in keys:
            remarks.append("The pictures' colours are taken to be in the order red, green, blue.")
        return Survey(NAME, [self.source.url], len(self._cache), self.source.images or "", facts, remarks)

    @property
    def error_column(self) -> str | None:
        """The column of the table `errors` that the errors belong to, by their key's name; None where there are none.

        A name that says no more than "error" is taken for the mesh error, which HMR-Scorer is trained on.
        """
        if "errors" not in self._meaning.keys:
            return None
        name = self._meaning.keys["errors"].lower()
        what = "mpjpe" if any(word in name for word in _OF_JOINTS) else "mpvpe"
        return f"{'pa_' if _ALIGNED.search(name) else ''}{what}_mm"

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All entries in the order of their numbers, with the schema SCORED."""
        return in_batches(map(self._row, self._cache.entries()), SCORED, _ROWS_AT_ONCE)

    def _find_meaning(self) -> _Meaning:
        keys: set[str] = set()
        for entry in islice(self._cache.entries(), _LOOKED_AT):
            if entry.refusal is None:
                values = _named(entry.value)
                meaning = _meaning_of(values)
                if "joints" in meaning.keys:
                    return _with_units(meaning, values)
                keys |= meaning.words.keys()
        raise DataError(
            f"{self.source.url}: no key of the first entries holds hypotheses (M x K x 3 or M x 3K numbers). "
            f"The keys are: {shown(', '.join(sorted(keys)) or 'none')}."
        )

    def _row(self, entry: Entry) -> dict[str, Any]:
        return read_row(entry.number, f"{self._cache.name}: key {entry.number}", _columns(entry, self._meaning))


def _named(value: Any) -> dict[str, Any]:
    """An entry by keys; the parts of a list are "part 0", "part 1", ..."""
    if isinstance(value, Mapping):
        return {str(key): inner for key, inner in value.items()}
    if isinstance(value, list):
        return {f"part {place}": inner for place, inner in enumerate(value)}
    return {"value": value}


def _meaning_of(values: Mapping[str, Any]) -> _Meaning:
    shapes = {key: _shape(value) for key, value in values.items()}
    key_of: dict[str, str] = {}

    def take(role: str, keys: Iterable[str], fits: Callable[[str], bool]) -> None:
        chosen = next((key for key in keys if key not in key_of.values() and fits(key)), None)
        if chosen is not None:
            key_of.setdefault(role, chosen)

    def named(words: Sequence[str]) -> list[str]:
        return [key for word in words for key in values if word in key.lower()]

    def of_hypotheses(key: str) -> bool:
        return _is_joints(shapes[key]) and not any(word in key.lower() for word in _LABELS)

    take("path", named(_PATHS), lambda key: isinstance(values[key], str))
    take("picture", named(_PICTURES), lambda key: _is_picture(shapes[key]))
    # where no name says it, shapes do
    take("joints", [*named(_JOINTS), *values], of_hypotheses)
    take("picture", values, lambda key: _is_picture(shapes[key]))
    count = _count(shapes[key_of["joints"]]) if "joints" in key_of else None
    take("errors", named(_ERRORS), lambda key: _is_per_hypothesis(shapes[key], count))
    take("scores", named(_SCORES), lambda key: _is_per_hypothesis(shapes[key], count) and len(shapes[key]) < 3)
    roles = {key: role for role, key in key_of.items()}
    kinds = {key: _words(shapes[key]) or type(value).__name__ for key, value in values.items()}
    return _Meaning(key_of, {shown(key): f"{roles.get(key, 'not used')} ({kind})" for key, kind in kinds.items()})


def _with_units(meaning: _Meaning, values: Mapping[str, Any]) -> _Meaning:
    """The units of an entry, by the size of its numbers."""
    keys = meaning.keys
    try:
        joints = _hypotheses(values, keys["joints"])
        errors = _per_hypothesis(values, keys["errors"], len(joints)) if "errors" in keys else None
    except RefusedError:
        return meaning
    in_mm = np.median(np.ptp(joints[..., 2], axis=-1)) > _METRES_UP_TO
    in_metres = errors is not None and np.median(errors) < _ERRORS_IN_METRES_UP_TO
    return replace(
        meaning,
        pixels=bool(np.median(np.abs(joints[..., :2])) > _NORMALISED_UP_TO),
        depth_factor=0.001 if in_mm else 1.0,
        error_factor=1000.0 if in_metres else 1.0,
    )


def _columns(entry: Entry, meaning: _Meaning) -> Iterator[tuple[str, Any]]:
    if entry.refusal is not None:
        raise entry.refusal
    values, keys = _named(entry.value), meaning.keys
    if "path" in keys:
        needed(values, [keys["path"]])
        yield "img_path", text(values[keys["path"]], keys["path"])
    size: tuple[int, int] | None = None
    if "picture" in keys:
        needed(values, [keys["picture"]])
        picture = _picture(values[keys["picture"]], keys["picture"])
        size = picture.shape[1], picture.shape[0]
        yield "picture", _png(picture)
        yield "width_px", size[0]
        yield "height_px", size[1]
    needed(values, [keys["joints"]])
    uvd = _hypotheses(values, keys["joints"])
    if meaning.pixels:
        if size is None:
            detail = f"{keys['joints']} is in pixels, but there is no picture to say of which size"
            raise RefusedError(UNREADABLE, detail)
        uvd[..., :2] = 2 * (uvd[..., :2] / size - 0.5)
    uvd[..., 2] *= meaning.depth_factor
    yield "count", len(uvd)
    yield "joints", uvd.shape[1]
    for name, factor in (("errors", meaning.error_factor), ("scores", 1.0)):
        if name in keys:
            needed(values, [keys[name]])
            yield name, _per_hypothesis(values, keys[name], len(uvd)) * factor
    yield "uvd", uvd.astype(np.float32)


def _hypotheses(values: Mapping[str, Any], key: str) -> NDArray[np.float64]:
    """(M, K, 3) of an array of that shape or (M, 3K), also behind an axis of length 1."""
    shape = _shape(values[key])
    if not _is_joints(shape):
        actual = _words(shape) or "no array of numbers"
        raise RefusedError(UNREADABLE, f"{key} is {actual}, M x K x 3 numbers are expected")
    return numbers(values[key], key, shape).reshape(_count(shape), -1, 3)


def _per_hypothesis(values: Mapping[str, Any], key: str, count: int) -> NDArray[np.float64]:
    """(M,) of an array of M values, or of M times as many, one for each joint or vertex: then their mean."""
    shape = _shape(values[key])
    if not shape:
        raise RefusedError(UNREADABLE, f"{key} is no array of numbers")
    array = numbers(values[key], key, shape)
    if array.size == 0 or count not in (array.shape[0], array.size):
        raise RefusedError(UNREADABLE, f"{key} has {array.size} numbers for {count} hypotheses")
    return array.reshape(count, -1).mean(1)


def _picture(value: Any, name: str) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 of an array with the colours first or last, 0 to 1 or 0 to 255."""
    shape = _shape(value)
    if not _is_picture(shape) or np.prod(shape) > 3 * _LARGEST_PICTURE:
        raise RefusedError("picture damaged", f"{name} is {_words(shape)}, no picture")
    array = numbers(value, name, shape)
    array = array[0] if array.ndim == 4 else array
    array = array.transpose(1, 2, 0) if array.shape[0] == 3 else array
    low, high = array.min(), array.max()
    if low < -1e-3 or high > 255:
        raise RefusedError("picture damaged", f"{name} has values from {low:.3g} to {high:.3g}, not 0 to 1 or 0 to 255")
    whole = getattr(value, "dtype", None) is not None and value.dtype.kind in "iu"
    scaled = array if whole or high > 1.001 else array * 255
    return np.rint(scaled).clip(0, 255).astype(np.uint8)


def _png(picture: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def _shape(value: Any) -> tuple[int, ...]:
    """The shape of an array of numbers; () for anything else."""
    if not isinstance(value, np.ndarray | list):
        return ()
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, OverflowError, RecursionError):
        return ()
    return array.shape if array.dtype.kind in "fiu" else ()


def _words(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _is_picture(shape: tuple[int, ...]) -> bool:
    if len(shape) not in (3, 4) or min(shape) < 1:
        return False
    inner = shape[-3:]
    return (inner[0] == 3 and min(inner[1:]) > 31) or (inner[2] == 3 and min(inner[:2]) > 31)


def _is_joints(shape: tuple[int, ...]) -> bool:
    if len(shape) not in (2, 3, 4) or min(shape) < 1:
        return False
    if len(shape) == 2:
        # 3 columns alone would be the joints of one person, not hypotheses
        return shape[1] % 3 == 0 and 14 * 3 <= shape[1] <= 200 * 3
    return shape[-1] == 3 and 14 <= shape[-2] <= 200 and (len(shape) == 3 or shape[0] == 1)


def _count(shape: tuple[int, ...]) -> int:
    """M of the shape of hypotheses."""
    return shape[1] if len(shape) == 4 else shape[0]


def _is_per_hypothesis(shape: tuple[int, ...], count: int | None) -> bool:
    return bool(shape) and count is not None and (shape[0] == count or np.prod(shape) == count)
