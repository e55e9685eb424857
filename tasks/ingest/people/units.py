"""The units of an ingest: every row of the tables of boxes (or every picture), judged as far as that goes unseen.

Each unit has a name of its own, also a row that names no picture or one that stands twice, so that `failures` can tell
of every row, and the counts add up.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from schemas.errors import DataError
from schemas.ids import image_id, instance_id
from tasks.ingest.people.boxes import BoxRow, BoxTable, parse_row, person_of, read_boxes
from tasks.ingest.source.contents import contents_of, table_within
from tasks.ingest.source.folder import Folder, FolderSource, RefusedError, key_of, printable
from tasks.ingest.source.spellings import blanks_refused, spellings

UNITS = pa.schema(
    [
        pa.field("id", pa.string(), False, {"description": "instance_id, or a name for a row that can't have one"}),
        pa.field("source", pa.int32(), False, {"description": "which of the sources"}),
        pa.field("key", pa.string(), True, {"description": "the picture within its split"}),
        pa.field("person", pa.int32(), True, {"description": "which person of the picture"}),
        pa.field("box", pa.list_(pa.float64(), 4), True, {"description": "x, y, w, h; null: the whole picture"}),
        pa.field("focal_px", pa.float64(), True, {"description": "null where the table leaves it open"}),
        pa.field("cx", pa.float64(), True, {"description": "as focal_px"}),
        pa.field("cy", pa.float64(), True, {"description": "as focal_px"}),
        pa.field("first", pa.bool_(), False, {"description": "writes the picture's row: the first good one of it"}),
        pa.field("reason", pa.string(), True, {"description": "why the row is refused already; null: it is not"}),
        pa.field("detail", pa.string(), True, {"description": "what exactly was seen"}),
    ]
)
_NAME_LENGTH = 300


def plan_units(sources: Sequence[FolderSource], say: Callable[[str], None]) -> pa.Table:
    """The units of all sources, sorted by id. `say` hears what a person should know: no boxes, pictures left out.

    Raises DataError for a source that can't be used as a whole.
    """
    check_sources(sources)
    units = [unit for number, source in enumerate(sources) for unit in _units_of(number, source, say)]
    units.sort(key=lambda unit: unit["id"])
    seen: set[tuple[int, str]] = set()
    for unit in units:
        picture = (unit["source"], unit["key"])
        unit["first"] = unit["reason"] is None and picture not in seen
        if unit["first"]:
            seen.add(picture)
    return pa.Table.from_pylist(units, UNITS)


def check_sources(sources: Sequence[FolderSource]) -> None:
    """DataError where there is no source, a name can't be used, or two have the same data set and split."""
    if not sources:
        raise DataError("There is nothing to ingest: name a folder of pictures.")
    for source in sources:
        image_id(source.dataset, source.split, "any")
    (name, times) = Counter(str(source) for source in sources).most_common(1)[0]
    if times > 1:
        raise DataError(f"{times} folders were given for {name}: give each folder a data set or split of its own.")


def check_usable(source: FolderSource) -> None:
    """Raise DataError for what would end an ingest of this source as a whole, whatever the rows are like."""
    check_sources([source])
    found = contents_of(Folder(source.images, source.follow_links))
    boxes = with_own_boxes(source).boxes
    if boxes is not None:
        read_boxes(boxes)
    elif not found.pictures:
        raise _no_picture(source, found.in_words())


def _no_picture(source: FolderSource, left_out: Sequence[str]) -> DataError:
    here = f"There is no picture in {source.images} (nothing that ends in .jpg, .png, ...)."
    return DataError(" ".join([here, *left_out]))


def with_own_boxes(source: FolderSource) -> FolderSource:
    """A source without a table of boxes with the one that lies in its folder, if one does."""
    if source.boxes is not None:
        return source
    return replace(source, boxes=table_within(Folder(source.images, source.follow_links)))


def _units_of(number: int, given: FolderSource, say: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    found, source = contents_of(Folder(given.images, given.follow_links)), with_own_boxes(given)
    pictures, left_out = found.pictures, found.in_words()
    for text in left_out:
        say(f"{source}: {text}")
    if source.boxes is None:
        if not pictures:
            raise _no_picture(source, left_out)
        say(
            f"{source}: NO BOXES were given, so each of the {len(pictures)} pictures as a whole counts as the box of "
            "one person. Results are better with a table of boxes: path,x,y,w,h in pixels, one row for each person."
        )
        judged = [_judge_whole(source, name) for name in pictures]
        judged += [_Judged(each.name, refusal=RefusedError(each.reason, each.detail)) for each in found.left_out]
    else:
        if given.boxes is None:
            say(f"{source}: THE BOXES of {source.boxes} are taken, because that lies among the pictures.")
        judged = _judge_table(source, read_boxes(source.boxes), pictures, say)
        named = {row.key for row in judged}
        without = sum(name not in named for name in pictures)
        if without:
            say(f"{source}: {without} of {len(pictures)} pictures have no row in {source.boxes} and are left out.")
    yield from (_unit(number, name, row) for name, row in zip(_names(source, judged), judged, strict=True))


@dataclass(frozen=True)
class _Judged:
    """A row, as far as it could be understood: where it is refused, parts may be missing."""

    path: object
    key: str | None = None
    person: int | None = None
    row: BoxRow | None = None
    refusal: RefusedError | None = None


def _judge_whole(source: FolderSource, name: str) -> _Judged:
    try:
        if name != name.strip():
            raise blanks_refused(name)
        return _Judged(name, key_of(source, name), 0)
    except RefusedError as refusal:
        return _Judged(name, refusal=refusal)


def _judge_table(
    source: FolderSource, table: BoxTable, pictures: Sequence[str], say: Callable[[str], None]
) -> list[_Judged]:
    """Judge the rows in order. Persons without a number are counted within their picture."""
    if table.ignored:
        say(f"{source}: columns of {source.boxes} that mean nothing here: {', '.join(table.ignored)}.")
    keys = _keys(source, [row.get("path") for row in table.rows], pictures, say)
    numbered = "person" in table.columns
    counted: defaultdict[str, int] = defaultdict(int)
    stands: dict[tuple[str, object], int] = {}
    judged = []
    for line, (row, found) in enumerate(zip(table.rows, keys, strict=True), start=1):
        key, person = None, None
        try:
            if isinstance(found, RefusedError):
                raise found
            key = found
            if numbered:
                person = person_of(row)
            else:
                person = counted[key]
                counted[key] += 1
            parsed = parse_row(row)
            # where persons have no number, nobody but the same person has the very same box
            before = stands.setdefault((key, person if numbered else parsed.box), line)
            if before != line:
                what = f"person {person}" if numbered else "box"
                raise RefusedError("duplicate id", f"row {line} has the path and {what} of row {before}, which stands")
        except RefusedError as refusal:
            judged.append(_Judged(row.get("path"), key, person, refusal=refusal))
        else:
            judged.append(_Judged(row.get("path"), key, person, parsed))
    return judged


def _keys(
    source: FolderSource, paths: Sequence[object], pictures: Sequence[str], say: Callable[[str], None]
) -> list[str | RefusedError]:
    """The picture that each path means, or why it can mean none."""
    there = frozenset(pictures)
    keys: list[str | RefusedError] = []
    for path in paths:
        try:
            key = key_of(source, path)
            if path != key and path in there:
                raise blanks_refused(str(path))
            keys.append(key)
        except RefusedError as refusal:
            keys.append(refusal)
    found = spellings((key for key in keys if isinstance(key, str) and key not in there), pictures)
    told = found.in_words()
    if told is not None:
        say(f"{source}: {told}")
    return [found.of(key) if isinstance(key, str) else key for key in keys]


def _names(source: FolderSource, judged: Sequence[_Judged]) -> list[str]:
    """A name for each row: its instance_id if it is good, or bad and nobody else's; else path and row."""
    names = [
        instance_id(image_id(source.dataset, source.split, row.key), row.person)
        if row.key is not None and row.person is not None
        else f"{source}/{printable(str(row.key or row.path))[:_NAME_LENGTH]}"
        for row in judged
    ]
    good = {name for name, row in zip(names, judged, strict=True) if row.refusal is None}
    times = Counter(names)
    return [
        name if row.refusal is None or (name not in good and times[name] == 1) else f"{name} (row {line})"
        for line, (name, row) in enumerate(zip(names, judged, strict=True), start=1)
    ]


def _unit(number: int, name: str, judged: _Judged) -> dict[str, Any]:
    row, refusal = judged.row, judged.refusal
    return {
        "id": name,
        "source": number,
        "key": judged.key,
        "person": judged.person,
        "box": list(row.box) if row else None,
        "focal_px": row.focal_px if row else None,
        "cx": row.cx if row else None,
        "cy": row.cy if row else None,
        "first": False,
        "reason": refusal.reason if refusal else None,
        "detail": refusal.detail if refusal else None,
    }
