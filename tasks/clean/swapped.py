"""Labels that are exchanged between people on purpose, to measure the filter that comes after: of labels that were
brought, what `PseudoLabel` does with its own.

The body of another, as it stands in that one's crop: it fills the crop as there, so that only the picture tells.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from infra.standing import read_standing
from infra.tables import read
from schemas.ids import StageKey
from schemas.tables import matrix
from tasks.clean.names import SWAPPED_SUFFIX
from tasks.engine.context import Context
from tasks.engine.stage import Rows, WholeStage
from tasks.rows.instances import in_order

_OF_PEOPLE = ("instance_id", "label_set", "dataset", "split", "label_kind")
"""Columns that stay with the person; all others go with the body."""


@dataclass(frozen=True)
class SwapLabels(WholeStage):
    """Gives `share` of the people the label of another -> table `labels`; those have label_set "...-swapped".

    Labels come from the stage `labels`; the seed draws who swaps with whom, as of `tasks.clean.pseudo.swaps`.
    """

    labels: StageKey
    ingests: tuple[StageKey, ...]
    share: float
    seed: int

    name = "swap_labels"
    writes = ("labels",)

    def key_config(self, context: Context) -> Mapping[str, Any]:
        return {"share": self.share, "seed": self.seed}

    def make(self, context: Context) -> Rows:
        from tasks.clean.pseudo import swaps

        rows = (
            read(context.store, "labels", stage_keys=[self.labels]).sort_by("instance_id").drop_columns(["stage_key"])
        )
        names = rows.column("instance_id").to_pylist()
        donors = swaps(names, self.share, self.seed)
        at = {name: row for row, name in enumerate(names)}
        given = rows.take([at[donors.get(name, name)] for name in names])
        for column in _OF_PEOPLE:
            given = _with(given, column, rows.column(column))
        # joints that only evaluations read, and that don't move with the body
        given = _with(given, "human36m", pa.nulls(len(names), given.schema.field("human36m").type))
        marked = [
            f"{label_set}{SWAPPED_SUFFIX}" if name in donors else label_set
            for name, label_set in zip(names, rows.column("label_set").to_pylist(), strict=True)
        ]
        given = _with(given, "label_set", pa.array(marked, pa.string()))
        return Rows({"labels": self._placed(context, given, names, donors)}, units=len(names))

    def _placed(self, context: Context, given: pa.Table, names: Sequence[str], donors: Mapping[str, str]) -> pa.Table:
        """The labels, those of another moved to where they fill the own crop as they did the other's."""
        columns = ["instance_id", "crop_intrinsics", "crop_size_px"]
        seen = in_order(read_standing(context.store, "instances", self.ingests, ids=names, columns=columns), names)
        cameras = matrix(seen, "crop_intrinsics").astype(np.float64) / seen.column("crop_size_px").to_numpy()[:, None]
        at = {name: row for row, name in enumerate(names)}
        theirs = cameras[[at[donors.get(name, name)] for name in names]]
        joints = matrix(given, "joints").astype(np.float64).reshape(len(names), -1, 3)
        valid = matrix(given, "joints_valid").astype(bool)
        pelvis = np.where(valid[:, :1], joints[:, 0], (0.0, 0.0, 1.0))
        shift = _moved(pelvis, theirs, cameras) - pelvis
        moved = np.where(valid[..., None], joints + shift[:, None], joints)
        given = _with(given, "joints", _vectors(given, "joints", moved.reshape(len(names), -1)))
        known = given.column("transl").is_valid().to_numpy()
        places = np.where(known[:, None], _filled(given, "transl") + shift, 0.0)
        transl = [place.tolist() if is_known else None for place, is_known in zip(places, known, strict=True)]
        return _with(given, "transl", pa.array(transl, given.schema.field("transl").type))


def _moved(pelvis: np.ndarray, theirs: np.ndarray, own: np.ndarray) -> np.ndarray:
    """(N, 3) m: where a pelvis (N, 3) that one camera (N, 4; crop sides) sees has to be, so that another sees it there,
    and as large."""
    depth = pelvis[:, 2] * np.sqrt(own[:, 0] * own[:, 1] / (theirs[:, 0] * theirs[:, 1]))
    at = pelvis[:, :2] / pelvis[:, 2:] * theirs[:, :2] + theirs[:, 2:]
    across = (at - own[:, 2:]) / own[:, :2] * depth[:, None]
    return np.concatenate([across, depth[:, None]], axis=1)


def _filled(rows: pa.Table, column: str) -> np.ndarray:
    """(N, 3) of a column of three numbers, zeros where it is null."""
    return np.array([value or (0.0, 0.0, 0.0) for value in rows.column(column).to_pylist()], np.float64)


def _vectors(rows: pa.Table, column: str, values: np.ndarray) -> pa.Array:
    return pa.array(values.astype(np.float32).tolist(), rows.schema.field(column).type)


def _with(rows: pa.Table, column: str, values: pa.Array | pa.ChunkedArray) -> pa.Table:
    place = rows.schema.get_field_index(column)
    return rows.set_column(place, rows.schema.field(column), values)
