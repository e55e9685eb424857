"""Pseudo-labels that somebody brings as a Parquet file, in the place of the policy's."""

from collections.abc import Mapping, Sequence

import pyarrow as pa

from infra.repair import find_or_mend
from infra.stages import Failure, StageSpec, commit_rows, now
from models.bodies import load_body
from schemas.digests import bytes_digest
from schemas.errors import DataError
from schemas.tables import conform
from tasks.clean.names import GIVEN, OTHER_BODY, UNKNOWN_INSTANCE
from tasks.context import Context
from tasks.ingest.chains import read_standing
from tasks.ingest.files import open_file, open_url
from tasks.ingest.parquet_files import parquet_table
from tasks.sharded import StageResult


def given_labels_spec(context: Context, ingest_keys: Sequence[str], url: str) -> StageSpec:
    """What `given_labels` with these arguments is going to do; the file counts by its bytes, not by its name."""
    decisive = {"file": bytes_digest(_file_bytes(url)), "body": load_body(context.config.body).digest}
    return context.spec("given_labels", 1, decisive, reads=ingest_keys)


def given_labels(context: Context, ingest_keys: Sequence[str], url: str) -> StageResult:
    """Somebody's pseudo-labels, a Parquet file with the columns of `labels` -> table `labels`, as `pseudo_label`'s.

    Data set, split, label_set, label_kind and stage_key are filled in, whatever the file says of them. Rows of unknown
    instances fail, those for another body are filtered. DataError for a file that can't be read or lacks columns.
    """
    spec = given_labels_spec(context, ingest_keys, url)
    record = find_or_mend(context.store, spec, context.progress.say)
    if record is not None:
        context.progress.say(f"given_labels: reused ({spec.key[:12]})")
        return StageResult(record, reused=True)
    started_at = now()
    try:
        given = parquet_table(_file_bytes(url), url)
    except pa.ArrowException as error:
        raise DataError(f"{url} is no Parquet file that can be read: {error}") from error
    if "instance_id" not in given.column_names:
        raise DataError(f"{url} has no column instance_id; a table of labels needs it.")
    columns = ["instance_id", "dataset", "split"]
    known = read_standing(context.store, "instances", ingest_keys, columns=columns).to_pylist()
    place = {row["instance_id"]: row for row in known}
    names = [str(name) for name in given.column("instance_id").to_pylist()]
    here = [name in place for name in names]
    unknown = [name for name, is_here in zip(names, here, strict=True) if not is_here]
    labels = _completed(given.filter(pa.array(here, pa.bool_())), place, spec.key)
    body = load_body(context.config.body).digest
    fits = [digest == body for digest in labels.column("body_digest").to_pylist()]
    others = [name for name, fit in zip(labels.column("instance_id").to_pylist(), fits, strict=True) if not fit]
    failures = [Failure(name, UNKNOWN_INSTANCE, f"a label in {url}") for name in unknown]
    failures += [
        Failure(name, OTHER_BODY, f"{url} has it for another body than {context.config.body}", outcome="filtered")
        for name in others
    ]
    record = commit_rows(
        context.store,
        spec,
        {"labels": labels.filter(pa.array(fits, pa.bool_()))},
        units_in=len(names),
        failures=failures,
        started_at=started_at,
    )
    return StageResult(record, reused=False)


OF_BODIES = ("body_model", "body_digest", "global_orient", "body_pose", "betas", "transl", "twist")
"""Columns of `labels` without which there is no body."""


def _completed(given: pa.Table, place: Mapping[str, Mapping[str, str]], stage_key: str) -> pa.Table:
    """`given` as rows of `labels`: what the file can't know, or may not decide, is filled in."""
    where = [place[name] for name in given.column("instance_id").to_pylist()]
    fixed = {
        "dataset": [row["dataset"] for row in where],
        "split": [row["split"] for row in where],
        "label_set": [GIVEN] * len(where),
        "label_kind": ["pseudo"] * len(where),
        "stage_key": [stage_key] * len(where),
    }
    given = given.drop_columns([name for name in fixed if name in given.column_names])
    for name, texts in fixed.items():
        given = given.append_column(name, pa.array(texts, pa.string()))
    labels = conform("labels", given)
    empty = [name for name in OF_BODIES if labels.column(name).null_count]
    if empty:
        raise DataError(
            f"The given labels have no {', '.join(empty)} in some rows or all; labels that are cleaned need a body."
        )
    return labels


def _file_bytes(url: str) -> bytes:
    fs, path = open_url(url)
    try:
        with open_file(fs, path) as file:
            return file.read()
    except OSError as error:
        raise DataError(f"The table of labels {url} can't be opened: {error}") from error
