"""Bodies of any model (format bodies): a table with a row for each, as hypotheses of people or as their labels.

A row says whom it shows (`path`, `person` and `box`, or the `instance_id` of somebody in the store), the parameters of
an SMPL or SMPL-X body, and the camera that sees it: `transl` with `fx fy cx cy`, or a weak-perspective one. Rows of one
person are told apart by `source` (the model) and `sample`. docs/any-model.md lists the columns.
"""

import posixpath
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import count, islice
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from models.skeleton import BETAS
from schemas.errors import ConfigError, DataError
from tasks.ingest.formats.bodies.rows import KEYS, NEEDED, WEAK, columns_of
from tasks.ingest.formats.bodies.table import BodyTable, Row, files_of, open_table
from tasks.ingest.formats.json_rows import beyond, cut_words, in_batches, new_row, refusal_in, shown
from tasks.ingest.people.annotations import ANNOTATIONS, AnnotationSource, Survey, column
from tasks.ingest.source.folder import RefusedError

NAME: Final = "bodies"
AS: Final = "as"
"""The option that says what rows become: `HYPOTHESES`, where it is left out, or `LABELS`."""
HYPOTHESES_AS, LABELS_AS = "hypotheses", "labels"
BODIES: Final = pa.schema([
    *ANNOTATIONS,
    column("instance_id", pa.string(), "person of an ingest, in place of path"),
    column("source", pa.string(), "which model the body is of"),
    column("sample", pa.int32(), "which body of that model", "index"),
])  # fmt: skip
"""The columns of a batch of hypotheses; of labels, those of ANNOTATIONS."""
_LABEL_KINDS: Final = ("gt", "pseudo")
_LOOKED_AT: Final = 200


class BodiesReader:
    """Reads a table of bodies. `source.images` is the folder of pictures (default: the table's own folder).

    Raises DataError for a table that can't be used as a whole, ConfigError for an option's value that there isn't.
    """

    def __init__(self, source: AnnotationSource, work: Path) -> None:
        self.source, self.work = source, work
        self.as_labels = source.options.get(AS) == LABELS_AS
        self.label_kind = str(source.options.get("label_kind", "pseudo"))
        if self.label_kind not in _LABEL_KINDS:
            raise ConfigError(f"The option label_kind is {' or '.join(_LABEL_KINDS)}, not {self.label_kind!r}.")
        self.urls = files_of(source.url)

    @cached_property
    def named(self) -> bool:
        """Whether people are named by instance_id: those of an ingest that is in the store already."""
        return not self.as_labels and "instance_id" in self._columns

    def survey(self) -> Survey:
        """Looks at headers and the first rows."""
        return self._survey

    @cached_property
    def _survey(self) -> Survey:
        first = [row for _, row in islice(self._all_rows(), _LOOKED_AT) if not isinstance(row, RefusedError)]
        counts = [table.count for table in self._tables]
        models = sorted(
            {one for row in first if (one := str(row.get("body_model")).strip().lower()) in ("smpl", "smplx")}
        )
        genders = Counter(str(row.get("gender") or "neutral") for row in first)
        weak = sum(row.get("transl") is None and row.get("s") is not None for row in first)
        facts = {
            "rows become": f"labels ({self.label_kind})" if self.as_labels else "hypotheses",
            "people": "by instance_id" if self.named else "by path, person and box",
            "body model": f"{' and '.join(models) or 'none'}; {', '.join(shown(name) for name in sorted(genders))}",
            "sources": ", ".join(sorted({shown(row["source"]) for row in first if row.get("source")})) or "not said",
            "camera": f"weak perspective in {weak} of the first {len(first)} rows"
            if weak
            else "transl and focal length",
        }
        images = "" if self.named else self.source.images or self._folder
        rows = None if None in counts else sum(filter(None, counts))
        return Survey(NAME, self.urls, rows, images, facts, list(self._remarks(first)), models or ["smpl"])

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All rows, file after file: with the schema ANNOTATIONS where they are labels, else BODIES."""
        return in_batches(self._rows(), ANNOTATIONS if self.as_labels else BODIES)

    def _rows(self) -> Iterator[dict[str, Any]]:
        numbers = count()
        for origin, values in self._all_rows():
            row = new_row(next(numbers), origin, "box")
            with refusal_in(row):
                if isinstance(values, RefusedError):
                    raise values
                for name, value in columns_of(values, self.named, self.label_kind):
                    row[name] = value
            yield row

    def _all_rows(self) -> Iterator[tuple[str, Row]]:
        for table in self._tables:
            yield from table.rows(KEYS)

    @cached_property
    def _tables(self) -> list[BodyTable]:
        tables = [open_table(url, self.work / f"part-{number}") for number, url in enumerate(self.urls)]
        for table in tables:
            missing = [name for name in NEEDED if name not in table.columns]
            if not {"transl", "s"} & set(table.columns):
                missing.append(f"a camera (transl, or {', '.join(WEAK)})")
            if "path" not in table.columns and (self.as_labels or "instance_id" not in table.columns):
                missing.append("path" if self.as_labels else "path or instance_id")
            if missing:
                has = shown(", ".join(table.columns) or "nothing")
                raise DataError(
                    f"{table.url} lacks {', '.join(missing)}; as {table.kind} it has {has}. docs/any-model.md says "
                    "what a table of bodies has."
                )
        return tables

    @property
    def _columns(self) -> set[str]:
        return {name for table in self._tables for name in table.columns}

    @property
    def _folder(self) -> str:
        """The folder that the table is in, or that it is."""
        return (
            self.source.url.rstrip("/") if self.urls != [self.source.url] else posixpath.dirname(self.source.url) or "."
        )

    def _remarks(self, first: list[Mapping[str, Any]]) -> Iterator[str]:
        unknown = sorted(self._columns - KEYS)
        if unknown:
            yield f"Columns that mean nothing here: {shown(', '.join(unknown))}."
        cut = [rest for row in first if (rest := beyond(row.get("betas"), BETAS)) is not None]
        if words := cut_words("betas of rows", cut):
            yield words
