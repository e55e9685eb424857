"""The stage that takes existing preference data into the table `pairs`: published pair files, for people ingested
before.

A pair's joints were made in the published test crop; they are moved into the crop of the instance, depths as they are.
The files have no shape and no scores: betas are those of the instance's gt label, or else zero (the mean shape), and
scores, ranks and margins stay null. Hypotheses get numbers in the order in which the file first shows them, winners
before losers; a winner that is the gt label gets -1, as elsewhere.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from infra.repair import find_or_mend
from infra.shards import Shard
from infra.stages import Failure
from infra.standing import read_standing
from models.cameras import uvd_from_camera
from models.published_crops import CROP_PX, crop_joints, joints_between_crops, normalised_joints
from schemas.config.networks import JOINTS, TWISTS
from schemas.ids import StageKey, Target
from schemas.tables import build, contract
from schemas.tables.contracts import LABEL_AS_SAMPLE
from tasks.engine.context import Context
from tasks.engine.results import ShardOutput, StageResult
from tasks.engine.stage import Stage
from tasks.ingest.formats.dpo_json.reader import PairJsonReader
from tasks.ingest.hypotheses.people import NO_SUCH_INSTANCE, NOT_INGESTED, people_of_crops
from tasks.ingest.pairs.plan import PairMatcher
from tasks.ingest.people.annotations import AnnotationSource
from tasks.ingest.plan.files import plan_folder, run_planned, shares_plan
from tasks.ingest.plan.rows import plan_rows, planned_rows, rows_matrix
from tasks.ingest.source.files import content_digest

STRATEGY: Final = "given"
"""The strategy of pairs that were chosen elsewhere."""
_BETAS: Final = 10
_LABEL_PX, _LABEL_M = 2.0, 0.02
"""A winner this near to the label on average (pixels of the 256 px crop, depth) is the label: bodies differ a little
from file to file, and the nearest hypotheses are further away."""
_LEFT_OUT: Final = (NOT_INGESTED, NO_SUCH_INSTANCE)
"""Reasons that an ingest of every N-th row brings about: the pair is left out, nothing went wrong."""


@dataclass(frozen=True)
class IngestPairs(Stage):
    """Takes the pairs of a file (format dpo-json) of which the ingests have the person -> table `pairs`.

    A unit is a pair of the file. The person is found among those of `target` by the picture's path (the very path, or
    else the only one of which one is the end of the other) and by the crop. Pairs of pictures or people that were not
    ingested end in `failures` as filtered, pairs that can't be used as failed: more of them than the gates allow raise
    GateError. DataError for a file that can't be used, and where none of its pairs finds its person.
    """

    source: AnnotationSource
    ingests: tuple[StageKey, ...]
    target: Target

    name = "ingest_pairs"
    writes = ("pairs",)
    on_ray = False  # moving a few numbers takes less time than starting a process

    def key_config(self, context: Context) -> Mapping[str, Any]:
        """Reads the file for its digest."""
        return {
            "content": content_digest([self.source.url]),
            "format": self.source.format,
            "every": self.source.every,
            "target": str(self.target),
            "shard_size": context.config.ingest.shard_size,
        }

    @shares_plan
    def run(self, context: Context) -> StageResult:
        spec, store, say = self.spec(context), context.store, context.progress.say
        folder, ids = plan_folder(spec.key), list[str]()
        if find_or_mend(store, spec, say) is None:
            with tempfile.TemporaryDirectory(prefix="adhmr-pairs-") as work:
                reader = PairJsonReader(self.source, Path(work))
                say(f"{self.name}: reading {self.source.url}")
                matcher = PairMatcher(reader, people_of_crops(store, self.ingests, self.target), self.target)
                planned = plan_rows(store, folder, context.config.ingest.shard_size, matcher.tables, matcher.facts)
            ids = planned.ids
            if planned.facts["by_suffix"]:
                count = planned.facts["by_suffix"]
                say(f"{self.name}: {count} pairs name their picture by the end of its path alone")
        worker = partial(GivenPairWorker, self, folder, spec.key)
        return run_planned(self, context, spec, ids, worker, unit="pairs", in_process=True)


class GivenPairWorker:
    """Makes the rows of a shard's pairs."""

    def __init__(self, stage: IngestPairs, folder: str, pair_set: str, context: Context) -> None:
        self.store, self.partition, self.folder, self.pair_set = context.store, context.partition, folder, pair_set
        self.ingests, self.target = stage.ingests, stage.target

    def __call__(self, shard: Shard) -> ShardOutput:
        """Rows of `pairs`, in the order of the file."""
        rows = planned_rows(self.store, self.folder, shard)
        refused = rows.filter(pc.is_valid(rows.column("reason")))
        failures = [_failure(row) for row in refused.select(["id", "reason", "detail", "img_path"]).to_pylist()]
        good = rows.filter(pc.is_null(rows.column("reason"))).combine_chunks()
        table = self._table(good) if len(good) else contract("pairs").schema.empty_table()
        return ShardOutput({"pairs": table}, failures, ok=len(good))

    def _table(self, rows: pa.Table) -> pa.Table:
        trans, affine = (torch.from_numpy(rows_matrix(rows, name, (2, 3))) for name in ("trans", "crop_affine"))
        moved: dict[str, NDArray[np.float64]] = {}
        for side in ("winner", "loser"):
            uvd = torch.from_numpy(rows_matrix(rows, f"{side}_uvd", (JOINTS, 3)).astype(np.float64))
            moved[side] = normalised_joints(joints_between_crops(crop_joints(uvd), trans, affine)).numpy()
        names = rows.column("instance_id").to_pylist()
        labels = self._labels(sorted(set(names)))
        betas = np.array([labels[name].betas if name in labels else np.zeros(_BETAS) for name in names])
        cameras = rows_matrix(rows, "crop_intrinsics", (4,))
        winner = rows.column("winner").to_numpy().copy()
        for place in np.flatnonzero(winner == 0):
            label = labels.get(names[place])
            if label is not None and label.is_winner(moved["winner"][place], cameras[place]):
                winner[place] = LABEL_AS_SAMPLE
        columns: dict[str, Any] = {
            "pair_set": self.pair_set,
            "instance_id": names,
            "generation_id": self.pair_set,
            "winner": winner,
            "loser": rows.column("loser").to_numpy(),
            "strategy": STRATEGY,
            "dataset": self.target.dataset,
            "round": np.full(len(rows), self.partition, np.int32),
            "stage_key": self.pair_set,
        }
        for side in ("winner", "loser"):
            columns[f"{side}_uvd"] = moved[side].reshape(-1, JOINTS * 3)
            columns[f"{side}_twist"] = rows_matrix(rows, f"{side}_twist", (TWISTS * 2,))
            columns[f"{side}_betas"] = betas
        return build("pairs", columns)

    def _labels(self, ids: Sequence[str]) -> Mapping[str, "_Label"]:
        """The gt labels of these instances; of several, the first by label_set."""
        where = (
            (pc.field("dataset") == self.target.dataset)
            & (pc.field("label_kind") == "gt")
            & pc.field("body_model").is_valid()
        )
        columns = ["instance_id", "label_set", "betas", "joints", "joints_valid"]
        rows = read_standing(self.store, "labels", self.ingests, ids=ids, where=where, columns=columns)
        labels: dict[str, _Label] = {}
        for row in rows.sort_by([("instance_id", "ascending"), ("label_set", "ascending")]).to_pylist():
            labels.setdefault(row["instance_id"], _Label(row))
        return labels


class _Label:
    """What a gt label has of an instance."""

    def __init__(self, row: Mapping[str, Any]) -> None:
        self.betas = np.array(row["betas"] or [0.0] * _BETAS)
        self.joints = np.array(row["joints"], np.float64).reshape(JOINTS, 3)
        self.valid = np.array(row["joints_valid"], bool)

    def is_winner(self, uvd: NDArray[np.float64], intrinsics: NDArray[np.float64]) -> bool:
        """Whether joints (29, 3) are this label's, seen by the crop camera `intrinsics` (4,) of CROP_PX pixels."""
        if not self.valid[0] or not (self.joints[self.valid, 2] > 0).all():
            return False
        own, _ = uvd_from_camera(torch.from_numpy(self.joints), torch.from_numpy(intrinsics), CROP_PX)
        off = (own.numpy() - uvd)[self.valid]
        in_plane = np.linalg.norm(off[:, :2], axis=-1).mean() / 2 * CROP_PX
        return bool(in_plane < _LABEL_PX and np.abs(off[:, 2]).mean() < _LABEL_M)


def _failure(row: Mapping[str, Any]) -> Failure:
    outcome = "filtered" if row["reason"] in _LEFT_OUT else "failed"
    path, detail = row["img_path"], row["detail"] or ""
    where = f"{path}: " if path and not detail.startswith(path) else ""
    return Failure(row["id"], row["reason"], f"{where}{detail}", outcome)
