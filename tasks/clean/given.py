"""Pseudo-labels from a Parquet file, in the place of the policy's."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from infra.stages import Failure
from infra.standing import read_standing
from infra.tables import read
from models.body_arrays import body_digest
from schemas.digests import bytes_digest
from schemas.errors import DataError
from schemas.ids import StageKey
from schemas.tables import conform
from tasks.clean.names import GIVEN, OTHER_BODY, SET_ASIDE, UNKNOWN_INSTANCE
from tasks.engine.context import Context
from tasks.engine.stage import Rows, WholeStage
from tasks.ingest.source.files import read_url
from tasks.ingest.source.parquet_files import parquet_table
from tasks.rows.part import Part, counting

_PLACE = ("instance_id", "dataset", "split")


@dataclass(frozen=True)
class GivenLabels(WholeStage):
    """Takes pseudo-labels from a Parquet file with the columns of `labels` -> table `labels`.

    The file counts by its bytes, not by its name. Data set, split, label_set, label_kind and stage_key are filled in,
    whatever the file says of them. Rows of unknown instances fail, those for another body, or of people who are not in
    the `part`, are filtered. DataError for a file that can't be read, lacks columns, or has no row that can be used.
    """

    ingests: tuple[StageKey, ...]
    url: str
    part: Part | None = None

    name = "given_labels"
    writes = ("labels",)

    def key_config(self, context: Context) -> Mapping[str, Any]:
        file = read_url(self.url, "table of labels")
        return {"file": bytes_digest(file), "body": body_digest(context.config.body), **counting(self.part)}

    def make(self, context: Context) -> Rows:
        people = read_standing(context.store, "instances", self.ingests, columns=_PLACE)
        labels, failures = _usable(context, people, self.url, self.key(context))
        if self.part is not None:
            labels, aside = _of_part(labels, self.part)
            failures += [Failure(name, SET_ASIDE, "for the judge of the round", outcome="filtered") for name in aside]
        if not len(labels):
            raise _nothing(self.url, failures)
        return Rows({"labels": labels}, failures, units=len(labels) + len(failures))


def check_given_labels(context: Context, url: str, everybody: bool) -> None:
    """Raise DataError as `given_labels` would, as far as the store has the table's people by now.

    It has `everybody` who will be there then, or some are still to come.
    """
    labels, failures = _usable(context, read(context.store, "instances", columns=_PLACE), url, StageKey("unknown"))
    if everybody and not len(labels):
        raise _nothing(url, failures)


def _usable(context: Context, people: pa.Table, url: str, key: StageKey) -> tuple[pa.Table, list[Failure]]:
    """The rows of `labels` that the table of `url` gives for these people, and what becomes of its other rows."""
    rows, names = _read(url)
    place = {row["instance_id"]: row for row in people.to_pylist()}
    labels = _completed(rows, names, place, key)
    fits = pc.equal(labels.column("body_digest"), body_digest(context.config.body))
    failures = [Failure(name, UNKNOWN_INSTANCE, f"a label in {url}") for name in names if name not in place]
    failures += [
        Failure(name, OTHER_BODY, f"{url} has it for another body than {context.config.body}", outcome="filtered")
        for name in labels.filter(pc.invert(fits)).column("instance_id").to_pylist()
    ]
    return labels.filter(fits), failures


def _of_part(labels: pa.Table, part: Part) -> tuple[pa.Table, list[str]]:
    """The labels of people who are in it, and the names of the others."""
    names = labels.column("instance_id").to_pylist()
    inside = set(part.of(names))
    held = pa.array([name in inside for name in names], pa.bool_())
    return labels.filter(held), [name for name in names if name not in inside]


def _nothing(url: str, failures: Sequence[Failure]) -> DataError:
    counted = ", ".join(f"{count} {reason}" for reason, count in Counter(one.reason for one in failures).items())
    return DataError(f"No label of {url} can be used: {counted or 'it has no row'}.")


def _read(url: str) -> tuple[pa.Table, list[str]]:
    """The table, and the instances that its rows name."""
    try:
        rows = parquet_table(read_url(url, "table of labels"), url)
    except pa.ArrowException as error:
        raise DataError(f"{url} is no Parquet file that can be read: {error}") from error
    if "instance_id" not in rows.column_names:
        raise DataError(f"{url} has no column instance_id; a table of labels needs it.")
    return rows, [str(name) for name in rows.column("instance_id").to_pylist()]


OF_BODIES = ("body_model", "body_digest", "global_orient", "body_pose", "betas", "transl", "twist")
"""Columns of `labels` without which there is no body."""


def _completed(
    rows: pa.Table, names: Sequence[str], place: Mapping[str, Mapping[str, str]], stage_key: StageKey
) -> pa.Table:
    """The rows of known people as rows of `labels`: what the file can't know, or may not decide, is filled in."""
    rows = rows.filter(pa.array([name in place for name in names], pa.bool_()))
    decided = {"label_set": GIVEN, "label_kind": "pseudo", "stage_key": stage_key}
    filled = [{**place[name], **decided} for name in names if name in place]
    columns = ("dataset", "split", *decided)
    rows = rows.drop_columns([name for name in columns if name in rows.column_names])
    for name in columns:
        rows = rows.append_column(name, pa.array([row[name] for row in filled], pa.string()))
    labels = conform("labels", rows)
    empty = [name for name in OF_BODIES if labels.column(name).null_count]
    if empty:
        raise DataError(
            f"The given labels have no {', '.join(empty)} in some rows or all; labels that are cleaned need a body."
        )
    return labels
