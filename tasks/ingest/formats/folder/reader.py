"""A folder of pictures (format folder): the rows of its table of boxes, or one for each picture where there is none.

The table is in memory as a whole, so that its paths, persons and boxes can be compared with each other and with the
pictures.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from schemas.digests import digest
from schemas.errors import DataError
from tasks.ingest.formats.folder.labels import FolderLabels
from tasks.ingest.formats.json_rows import in_batches, new_row, or_refusal, refusal_in
from tasks.ingest.people.annotations import AnnotationSource, Survey
from tasks.ingest.people.box_tables import BoxTable
from tasks.ingest.people.boxes import parse_row, person_of
from tasks.ingest.people.detections import Limits, read_people
from tasks.ingest.source.contents import contents_of, table_within
from tasks.ingest.source.folder import Folder, PicturePlace, RefusedError, key_of, printable
from tasks.ingest.source.spellings import blanks_refused, spellings

NAME: Final = "folder"


class FolderReader:
    """Reads a folder of pictures, which is the source's `url` (a `tasks.ingest.people.annotations.Reader`).

    Options: `boxes`, a table of boxes (.csv, .parquet, .json; without it the one that is in the folder, else each
    whole picture is one person's box) or what a detector wrote, of which `least_score` and `person_class` say which
    boxes count; and `labels`, a Parquet table as tasks/synthesize/write describes it.
    """

    def __init__(self, source: AnnotationSource, work: Path) -> None:
        self.source, self.work = source, work
        self.folder = Folder(source.url, source.follow_links)
        self.contents = contents_of(self.folder)
        self.pictures = frozenset(self.contents.pictures)
        self.boxes: str | None = source.options.get("boxes") or table_within(self.folder)
        self.table: BoxTable | None = None
        if self.boxes is not None:
            self.table = read_people(self.boxes, self.contents.pictures, Limits.of(source.options))
        labels = source.options.get("labels")
        self.labels = None if labels is None else FolderLabels(labels, self.pictures)
        if self.table is None and not self.pictures:
            here = f"There is no picture in {source.url} (nothing that ends in .jpg, .png, ...)."
            raise DataError(" ".join([here, *self.contents.in_words()]))

    def survey(self) -> Survey:
        """Pictures and tables. Opens no picture."""
        rows = len(self.pictures if self.table is None else self.table.rows)
        facts = {} if self.labels is None else {"labels": f"{len(self.labels.rows):,} bodies (SMPL)"}
        labels = self.source.options.get("labels")
        files = [*(self.table.files if self.table else ()), *([labels] if labels is not None else [])]
        others = sorted((each.name, each.reason) for each in self.contents.left_out)
        return Survey(NAME, files, rows, self.source.url, facts, list(self._remarks()), others=digest(others))

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Rows of the table, or of the pictures and of what is left out of them (`LEFT_OUT`)."""
        return in_batches(self._of_pictures() if self.table is None else self._of_table(self.table))

    def _remarks(self) -> Iterator[str]:
        yield from self.contents.in_words()
        if self.table is None:
            yield (
                f"NO BOXES were given, so each of the {len(self.pictures)} pictures as a whole counts as the box of "
                "one person. Results are better with a table of boxes: path,x,y,w,h in pixels, one row for each person."
            )
            return
        if "boxes" not in self.source.options:
            yield f"THE BOXES of {self.boxes} are taken, because that lies among the pictures."
        yield from self.table.remarks
        if self.table.ignored:
            yield f"columns of {self.boxes} that mean nothing here: {', '.join(self.table.ignored)}."
        keys, respelled = self._keys
        if respelled is not None:
            yield respelled
        without = len(self.pictures - {key for key in keys if isinstance(key, str)})
        if without:
            yield f"{without} of {len(self.pictures)} pictures have no row in {self.boxes} and are left out."

    @cached_property
    def _keys(self) -> tuple[Sequence[str | RefusedError], str | None]:
        """For each row of the table the picture that its path means, or why it can mean none; and what to say of paths
        that are another spelling of a picture's."""
        assert self.table is not None
        keys = [or_refusal(self._key_of_row, row.get("path")) for row in self.table.rows]
        missing = (key for key in keys if isinstance(key, str) and key not in self.pictures)
        alike = spellings(missing, self.contents.pictures)
        return [alike.of(key) if isinstance(key, str) else key for key in keys], alike.in_words()

    def _of_pictures(self) -> Iterator[dict[str, Any]]:
        for number, name in enumerate(self.contents.pictures, start=1):
            row = new_row(number, "", "box") | {"path": printable(name), "person": 0}
            with refusal_in(row):
                if name != name.strip():
                    raise blanks_refused(name)
                row |= self._label(self._key_of(name), 0)
            yield row
        for number, each in enumerate(self.contents.left_out, start=len(self.pictures) + 1):
            about = {"path": printable(each.name), "reason": each.reason, "detail": each.detail}
            yield new_row(number, "", "box") | about

    def _of_table(self, table: BoxTable) -> Iterator[dict[str, Any]]:
        """The rows in order. Persons without a number are counted within their picture, good or bad."""
        numbered = "person" in table.columns
        counted: defaultdict[str, int] = defaultdict(int)
        first: dict[tuple[str, object], int] = {}
        for line, (values, key) in enumerate(zip(table.rows, self._keys[0], strict=True), start=1):
            path = key if isinstance(key, str) else values.get("path")
            row = new_row(line, table.origin(line - 1), "box")
            row["path"] = None if path is None else printable(str(path))
            with refusal_in(row):
                if line - 1 in table.refused:
                    raise table.refused[line - 1]
                if isinstance(key, RefusedError):
                    raise key
                if numbered:
                    row["person"] = person_of(values)
                else:
                    row["person"] = counted[key]
                    counted[key] += 1
                parsed = parse_row(values, table.relative)
                # where persons have no number, only the same person has the very same box
                earlier = first.setdefault((key, row["person"] if numbered else parsed.box), line)
                if earlier != line:
                    what = f"person {row['person']}" if numbered else "box"
                    detail = f"row {line} has the path and {what} of row {earlier}, which counts"
                    raise RefusedError("duplicate id", detail)
                row |= {"box": list(parsed.box), "fx": parsed.focal_px, "cx": parsed.cx, "cy": parsed.cy}
                row |= {"box_relative": True} if table.relative else {}
                row |= self._label(key, row["person"])
            yield row

    def _key_of(self, path: object) -> str:
        return key_of(PicturePlace(self.source.url, *self.source.target), path)

    def _key_of_row(self, path: object) -> str:
        key = self._key_of(path)
        if path != key and path in self.pictures:
            raise blanks_refused(str(path))
        return key

    def _label(self, key: str, person: int) -> Mapping[str, Any]:
        return {} if self.labels is None else self.labels.annotation(key, person)
