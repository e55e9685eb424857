"""Bodies that a policy drew, as rows of a table of bodies."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa

from infra.stages import find
from infra.tables import read
from models.bodies import load_body
from schemas.ids import ModelDigest
from tasks.engine.context import Context
from tasks.export.body_table import BodyTable
from tasks.export.target import whole_file
from tasks.predict.bodies import Bodies, Drawn, read_bodies

_SHOWN: Final = 12


def add_bodies(table: BodyTable, bodies: Bodies, sources: Sequence[str]) -> None:
    """Write them as rows; `sources` say which model each is of."""
    known = np.isfinite(bodies.scores)
    columns = {
        "source": list(sources),
        "sample": bodies.samples,
        "score": pa.array(bodies.scores, mask=~known),
        "preferred": pa.array(bodies.preferred, mask=~known),
        "body_model": ["smpl"] * len(bodies),
        "gender": ["neutral"] * len(bodies),
        "global_orient": bodies.global_orient,
        "body_pose": bodies.body_pose,
        "betas": bodies.betas,
        "transl": bodies.transl,
    }
    table.add(bodies.people, bodies.joints.astype(np.float64), columns)


def source_name(policy: ModelDigest | None) -> str:
    """What a table calls the model that bodies are of; hypotheses that were ingested have none that is known."""
    return f"adhmr policy {policy[:_SHOWN]}" if policy else "ingested"


def _sources(context: Context, drawn: Drawn, bodies: Bodies, otherwise: str) -> list[str]:
    """The model that each is of, as the table that was ingested says; `otherwise` where it says nothing."""
    columns = ["instance_id", "sample_index", "source"]
    ids = set(bodies.ids)
    rows = read(context.store, "hypotheses", stage_keys=[drawn.generation], ids=ids, columns=columns).to_pylist()
    said = {(row["instance_id"], row["sample_index"]): row["source"] for row in rows}
    names = zip(bodies.ids, bodies.samples.tolist(), strict=True)
    return [said.get(name) or otherwise for name in names]


def export_hypotheses(context: Context, drawn: Drawn, target: str) -> int:
    """Write the bodies of hypotheses as the Parquet file `target` (path or URL); returns how many.

    They are those of the configuration's body. Raises DataError where the target can't be written.
    """
    body, record = load_body(context.config.body), find(context.store, drawn.generation)
    policy = record.models[0] if record is not None and record.models else None
    about = {
        "policy": policy or "",
        "body": f"{body.name} {body.digest}",
        "ingest": " ".join(drawn.ingests),
        "generation": drawn.generation,
        "scores": drawn.scores or "",
    }
    count = 0
    with whole_file(target) as file, BodyTable(file, about) as table:
        for bodies in read_bodies(context, drawn):
            add_bodies(table, bodies, _sources(context, drawn, bodies, source_name(policy)))
            count += len(bodies)
    return count
