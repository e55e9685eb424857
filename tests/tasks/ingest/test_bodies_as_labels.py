"""Bodies of any model as labels: as smplx poses them, of people whom the table brings, one each."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from infra.tables import read
from schemas.tables import matrix
from tasks.engine.context import Context
from tasks.ingest.annotated import IngestAnnotations
from tests.samples.bodies import Row, body_rows, in_weak_perspective, write_bodies
from tests.samples.truth import TruePerson, true_people
from tests.tasks.ingest.hypotheses.test_bodies import smplx_joints

pytestmark = pytest.mark.slow
LABELS = {"as": "labels"}


@pytest.mark.parametrize("model", ["smpl", "smplx", "weak"])
def test_joints_are_those_of_smplx(
    model: str, here: Context, people: list[TruePerson], bodies: Path, tmp_path: Path
) -> None:
    rows = [body_rows(person, 1, body_model="smplx" if model == "smplx" else "smpl")[0] for person in people]
    rows = list(map(in_weak_perspective, rows)) if model == "weak" else rows
    source = write_bodies(people, tmp_path, rows=rows, options=LABELS)
    made = IngestAnnotations(source, str(bodies) if model == "smplx" else "tiny").run(here)
    assert (made.record.tally.ok, made.record.rows["labels"]) == (6, 6)
    labels = read(here.store, "labels", stage_keys=[made.key]).sort_by("instance_id")
    wanted = np.stack([smplx_joints(row, bodies if model == "smplx" else None) for row in rows])
    assert np.linalg.norm(matrix(labels, "joints").reshape(-1, 29, 3) - wanted, axis=-1).max() < 1e-4
    kept = {(row["label_set"], row["label_kind"], row["body_model"]) for row in labels.to_pylist()}
    assert kept == {("bodies", "pseudo", "smplx" if model == "smplx" else "smpl")}
    true = replace(source, options={**LABELS, "label_kind": "gt"}, dataset="true")
    again = IngestAnnotations(true, str(bodies) if model == "smplx" else "tiny").run(here)
    labels = read(here.store, "labels", stage_keys=[again.key])
    assert set(labels.column("label_set").to_pylist()) == {"gt"}


def test_rows_that_cannot_be_used_are_named_and_the_rest_goes_on(here: Context, tmp_path: Path) -> None:
    people = true_people(5)
    rows = [row for person in people for row in body_rows(person, 1)]
    changes: tuple[Row, ...] = ({"betas": [99.0] * 10}, {"transl": [0.0, 0.0, 0.0]}, {"cx": 4000.0}, {"gender": "male"})
    for row, change in zip(rows, changes, strict=False):
        row |= change
    rows.append({**rows[4], "sample": 1})
    made = IngestAnnotations(write_bodies(people, tmp_path, rows=rows, kind="npz", options=LABELS), "tiny").run(here)
    failures = read(here.store, "failures", stage_keys=[made.key]).sort_by("id").to_pylist()
    assert [row["reason"] for row in failures] == [
        "impossible shape", "impossible depth", "reprojection error", "body missing", "duplicate id"
    ]  # fmt: skip
    assert all(row["detail"].startswith(f"bodies.npz: row {place}: ") for place, row in enumerate(failures[:4], 1))
    assert made.record.tally.ok == 1
