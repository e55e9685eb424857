"""Measure as published: hypotheses, their scores, and the errors of the candidates that published tables range over.

Candidates are the mean of the five best-scored hypotheses, the M hypotheses (the first from zero noise), and the mean
of all. Each becomes a body by the published solution of the pelvis, with the label's root depth and the policy's own
betas; errors are those of `models.published_metrics`. Scores are without the mirrored picture, and labels are posed by
the neutral body whatever their gender, both as published.

Rows of `errors` have the protocol as their `label_set`; the averages are its samples `MEAN_OF_BEST` and `MEAN_OF_ALL`.
Without a scorer nothing is averaged.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import roma
import torch

from infra.shards import Shard
from infra.store import Store
from infra.tables import read
from models.published_metrics import Order, published_candidates, published_joint_errors_mm, published_mpvpe_mm
from models.recovery import recover_body
from schemas.errors import DataError
from schemas.ids import StageKey
from tasks.engine.context import Context
from tasks.engine.results import ShardOutput
from tasks.evaluate import DrawingWorker, Errors
from tasks.evaluation.bodies import SmplWithJoints, gt_labels, label_rotvec, smpl_with_joints
from tasks.evaluation.mirrorless import as_published
from tasks.generate import filtered, not_finite
from tasks.rows.hypotheses import BY_SAMPLE, Hypotheses, errors_table
from tasks.rows.instances import NO_LABEL, Instances, load_instances

if TYPE_CHECKING:
    from tasks.stages.published import MeasurePublished

MEAN_OF_BEST: Final = -2
"""Sample of `errors` that is the mean of the five best-scored hypotheses."""
MEAN_OF_ALL: Final = -3
OTHER_BODY: Final = "not an SMPL body"
"""Reason of instances whose label's mesh can't be compared with a hypothesis's."""


class PublishedMeter:
    """Measures the candidates of one instance after another, on arrays."""

    def __init__(self, body: SmplWithJoints, order: Order, device: str = "cpu") -> None:
        self.device = torch.device(device)
        self.body, self.order = body.on(self.device), order

    @torch.no_grad()
    def __call__(
        self,
        instances: Instances,
        hypotheses: Hypotheses,
        scores: np.ndarray | None,
        row: int,
        label: Mapping[str, Any],
    ) -> Errors:
        """Errors (C,) in mm of the candidates of the instance `row`, in the published order.

        Its `label` is a row of the table, its pelvis is known. `instances`, `hypotheses` and `scores` (N, M) go
        together, row by row.
        """
        self.body.check(label)
        given = (hypotheses.uvd, hypotheses.twists, *(() if scores is None else (scores,)))
        candidates = published_candidates(*(torch.from_numpy(part[row : row + 1]).to(self.device) for part in given))
        count = candidates.uvd.shape[1]
        recovered = recover_body(
            self.body.body,
            candidates.uvd[0],
            candidates.twists[0],
            torch.from_numpy(hypotheses.betas[row, :1]).to(self.device).expand(count, -1),
            torch.from_numpy(instances.crop_intrinsics[row]).to(self.device).expand(count, -1),
            instances.crop_size,
            torch.tensor(float(instances.root_depth[row]), device=self.device).expand(count),
            root="published",
        )
        joints = self.body.seventeen(recovered.vertices, recovered.joints)
        betas = torch.tensor([label["betas"]], dtype=torch.float32, device=self.device)
        rotations = roma.rotvec_to_rotmat(label_rotvec(label).to(self.device))
        labelled = self.body.body(rotations[None], betas)
        of_mesh = self.body.seventeen(labelled.vertices, labelled.joints)
        truth = of_mesh
        if label["human36m"] is not None:
            truth = torch.tensor(label["human36m"], dtype=torch.float32, device=self.device).view(1, -1, 3)
        mpvpe = published_mpvpe_mm(recovered.vertices, joints, labelled.vertices, of_mesh)
        errors = published_joint_errors_mm(joints, truth, self.order)
        means = (mpvpe, errors.mpjpe.mean(-1), errors.pa_mpjpe.mean(-1))
        return Errors(*(mean.double().cpu().numpy() for mean in means))


class PublishedWorker(DrawingWorker):
    """Draws, scores and measures the hypotheses of a shard's instances."""

    def __init__(self, stage: "MeasurePublished", context: Context) -> None:
        self.stage, body, generation = stage, smpl_with_joints(stage.bodies), stage.generation(context)
        key = stage.key(context)
        super().__init__(as_published(context), key, stage.policy, stage.scorer, generation, body.body)
        self.measure = PublishedMeter(body, stage.protocol, self.device)

    def work(self, shard: Shard) -> ShardOutput:
        """Rows of the tables, sorted by instance and sample."""
        instances = load_instances(self.store, self.stage.ingests, list(shard.ids))
        self._check_crops(instances)
        labels = gt_labels(self.store, self.stage.ingests, shard.ids)
        labelled = instances.measurable
        smpl = np.array([name in labels and labels[name]["body_model"] == "smpl" for name in instances.ids])
        hypotheses, scored, good = self.drawn(instances)
        scores = None if scored is None else scored.scores
        rows = np.flatnonzero(labelled & smpl & good)
        failures = filtered(instances.ids, ~labelled, NO_LABEL, "an evaluation needs a gt label with its pelvis")
        other_body = "the label is a body of SMPL-X, whose mesh has other vertices"
        failures += filtered(instances.ids, labelled & ~smpl, OTHER_BODY, other_body)
        failures += not_finite(instances.ids, good | ~(labelled & smpl), "the policy's hypotheses or their scores")
        measured = [
            self.measure(instances, hypotheses, scores, row, labels[instances.ids[row]]) for row in rows.tolist()
        ]
        tables = self.tables(instances, hypotheses, scored, rows)
        tables["errors"] = self._errors_table(instances, rows, measured)
        return ShardOutput(tables, failures, ok=len(rows))

    def _errors_table(self, instances: Instances, rows: np.ndarray, measured: Sequence[Errors]) -> pa.Table:
        samples = self.draw.samples
        # by rising number: the mean of all, which is the last candidate, comes first
        candidates = [MEAN_OF_ALL, MEAN_OF_BEST, *samples] if self.score else samples
        errors = {}
        for name in Errors._fields:
            values = np.array([getattr(one, name) for one in measured]).reshape(len(rows), len(candidates))
            errors[name] = np.roll(values, 1, axis=1) if self.score else values
        label_set = f"published {self.stage.protocol}"
        return errors_table(self.key, instances, errors, label_set, candidates, self.partition, rows)

    def _check_crops(self, instances: Instances) -> None:
        expected = self.draw.policy.config.condition.image_size
        if instances.crop_size != expected:
            raise DataError(
                f"The crops of {instances.ids[0]} and others are {instances.crop_size} px wide, but the policy takes "
                f"{expected} px: ingest the data again with --set ingest.crop_size_px={expected}."
            )


def candidate_errors(store: Store, measure_key: StageKey, scored: bool) -> tuple[list[str], dict[str, np.ndarray]]:
    """The N instances, sorted, and by name of error (N, C) mm, candidates in the published order.

    DataError where no instance is left.
    """
    columns = ["instance_id", "sample_index", *(f"{name}_mm" for name in Errors._fields)]
    rows = read(store, "errors", stage_keys=[measure_key], columns=columns)
    rows = rows.sort_by(BY_SAMPLE)
    if not len(rows):
        raise DataError(f"No instance could be measured: the table failures says why (stage_key = '{measure_key}').")
    count = len(set(rows.column("sample_index").to_pylist()))
    errors = {name: rows.column(f"{name}_mm").to_numpy().reshape(-1, count) for name in Errors._fields}
    ids: list[str] = rows.column("instance_id").to_pylist()[::count]
    return ids, {name: np.roll(values, -1, axis=1) for name, values in errors.items()} if scored else errors
