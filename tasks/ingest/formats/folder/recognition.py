"""How to recognise a folder of pictures, by these, and the tables that go with one, by their columns."""

import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Final

from tasks.ingest.formats.folder.labels import NEEDED
from tasks.ingest.formats.folder.reader import NAME
from tasks.ingest.formats.look import ROWS, Candidate, FolderLook, JsonLook, Look, TableLook, names_in
from tasks.ingest.people.boxes import REQUIRED, read_boxes
from tasks.ingest.source.contents import contents_of, table_within
from tasks.ingest.source.files import is_local, open_url
from tasks.ingest.source.folder import Folder, PicturePlace, is_picture
from tasks.ingest.source.spellings import keys_in

_LABELS: Final = frozenset(NEEDED[:4])
_TABLES: Final = (".csv", ".parquet", ".json", ".csv.gz", ".json.gz")
_MOST_PICTURES: Final = 2000


def recognise(look: Look) -> Iterator[Candidate]:
    """A table of boxes is no source by itself: it goes with its pictures."""
    if isinstance(look, TableLook):
        yield from _table(look)
    elif isinstance(look, JsonLook) and not look.container and {"image_id", "bbox"} <= look.keys:
        yield from _of_pictures(look, "a list of a detector's boxes (COCO results)")
    elif isinstance(look, FolderLook):
        yield from _folder(look)


def _table(look: TableLook) -> Iterator[Candidate]:
    if look.meant >= {*REQUIRED}:
        yield from _of_pictures(look, f"{look.what} of boxes by path")
    elif _is_labels(look):
        look.say(f"{look.url} is {look.what} of labels: name the folder of pictures, and this with --labels.")


def _of_pictures(look: Look, what: str) -> Iterator[Candidate]:
    pictures = look.looker.images or _with_pictures(look)
    if pictures:
        yield Candidate(NAME, pictures, f"{what}: {look.url}", options={"boxes": look.url})
    else:
        look.say(f"{look.url} is {what}: say with --images where the pictures are.")


def _folder(look: FolderLook) -> Iterator[Candidate]:
    candidates = [each for each in look.within if each.format == NAME]
    if not look.within and not look.candidates and look.fs.isdir(posixpath.join(look.path, "images")):
        table = table_within(Folder(f"{look.url}/images"))
        candidates = look.looker.at(table).candidates if table is not None else []
    labels = [file.url for file in look.files if isinstance(file, TableLook) and _is_labels(file)]
    count, more = _count_pictures(look.url, look.looker.follow_links)
    if count and not candidates:
        counted = f"a folder with {'at least ' if more else ''}{count} pictures"
        candidates = [Candidate(NAME, look.url, counted, options=_beside(look))]
    if len(labels) == 1:
        candidates = [replace(each, options={**each.options, "labels": labels[0]}) for each in candidates]
    yield from candidates
    if not count:
        left_out = contents_of(Folder(look.url, look.looker.follow_links)).in_words()
        look.doubt(" ".join([f"{look.url} is a folder without pictures, videos and annotations.", *left_out]))


def _beside(look: FolderLook) -> Mapping[str, str]:
    """A table of boxes that is beside the folder of pictures."""
    parent = look.path.rstrip("/").rpartition("/")[0]
    for name in sorted(names_in(look.fs, parent)) if parent else ():
        if "box" in name.lower() and name.lower().endswith(_TABLES):
            table = posixpath.join(look.folder, name)
            candidates = look.looker.apart(look.url).at(table).candidates
            if any(each.options.get("boxes") == table for each in candidates):
                return {"boxes": table}
    return {}


def _with_pictures(look: Look) -> str | None:
    """The folder that the paths of boxes start from, as far as their place shows it."""
    links = look.looker.follow_links
    around = (posixpath.join(look.folder, "images"), look.folder)
    places = [place for place in around if _count_pictures(place, links)[0]]
    if len(places) > 1 and isinstance(look, TableLook):
        paths = (row.get("path") for row in islice(read_boxes(look.url).rows, ROWS))
        named = [path for path in paths if isinstance(path, str)]
        for place in places:
            opened = Folder(place, links)
            keys = keys_in(opened, PicturePlace(place, "any", "any"), named).values()
            if any(opened.fs.exists(opened.path(key)) for key in keys if isinstance(key, str)):
                return place
    return places[0] if places else None


def _is_labels(look: TableLook) -> bool:
    return set(look.columns) >= _LABELS and not look.candidates


def _count_pictures(url: str, follow_links: str | None) -> tuple[int, bool]:
    """The count of pictures below a folder, of up to _MOST_PICTURES, and whether that limit was met."""
    fs, path = open_url(url)
    if not fs.isdir(path):
        return 0, False
    # behind a URL, a folder is listed bit by bit, because it may be large
    names = (
        (name for name, _ in Folder(url, follow_links).files())
        if is_local(fs)
        else (str(name) for _, _, files in fs.walk(path) for name in files)
    )
    count = sum(1 for _ in islice(filter(is_picture, names), _MOST_PICTURES))
    return count, count == _MOST_PICTURES
