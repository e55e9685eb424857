"""Pseudo-labels: the policy's zero-noise hypotheses, or those that a scorer prefers, as bodies in the camera frame.

To measure the filter that comes after, a share of them can be exchanged between pictures on purpose; those have the
label_set `pseudo-swapped`, so that the truth is known beside the label.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import roma
import torch

from infra.shards import Shard
from models.bodies import load_body
from schemas.tables import build
from tasks.clean.names import OWN, SWAPPED
from tasks.engine.context import Context
from tasks.engine.results import ShardOutput
from tasks.engine.worker import ModelWorker, microbatches
from tasks.generate import HypothesisSampler, not_finite
from tasks.half_encoder import check_half_encoder, some_of
from tasks.half_scorer import Posed
from tasks.rows.hypotheses import Hypotheses
from tasks.rows.instances import Instances, load_instances
from tasks.rows.models import load_policy
from tasks.score import HypothesisScorer, checked_scorer

if TYPE_CHECKING:
    from tasks.stages.clean import PseudoLabel


def swaps(ids: Sequence[str], share: float, seed: int) -> dict[str, str]:
    """Which instances get another's pseudo-label, and whose: a ring through `share` of them, drawn by `seed`."""
    count = round(share * len(ids))
    if count < 2:
        return {}
    ordered = sorted(ids)
    ring = np.random.Generator(np.random.Philox(seed)).permutation(len(ordered))[:count]
    return {ordered[one]: ordered[other] for one, other in zip(ring, np.roll(ring, 1), strict=True)}


class PseudoLabelWorker(ModelWorker):
    """Makes the pseudo-labels of a shard's instances."""

    def __init__(self, stage: "PseudoLabel", context: Context) -> None:
        super().__init__(context)
        config = context.config.generate
        self.ingests = stage.ingests
        self.donors = swaps(stage.ids(context), stage.swap_share, stage.seed) if stage.swap_share else {}
        body, self.root = load_body(context.config.body), context.config.root_solver
        self.body = body.on(torch.device(self.device))
        self.microbatch = config.microbatch
        policy = load_policy(self.store, stage.policy)
        samples = (0,) if stage.scorer is None else range(config.hypotheses)
        self.draw = HypothesisSampler(policy, config, body, samples=samples, device=self.device)
        if config.encoder_precision == "bfloat16":
            people = stage.ingests, stage.ids(context), stage.policy
            check_half_encoder(self.draw, self.store, *people, body, self.root)
        self.score: HypothesisScorer | None = None
        if stage.scorer is not None:
            self.score = checked_scorer(
                self.store,
                stage.scorer,
                context.config.score,
                self.device,
                stage.key(context),
                lambda: self._some(some_of(stage.ids(context))),
            )

    def _some(self, ids: list[str]) -> Posed:
        people = load_instances(self.store, self.ingests, ids)
        drawn = self.draw(people.ids, people.crops, people.crop_intrinsics, people.root_depth)
        return Posed(people.crops, drawn.uvd, drawn.twists, drawn.betas)

    def work(self, shard: Shard) -> ShardOutput:
        """Rows of `labels`, sorted by instance."""
        instances = load_instances(self.store, self.ingests, list(shard.ids))
        seen_ids = [self.donors.get(name, name) for name in shard.ids]
        donors = load_instances(self.store, self.ingests, sorted(set(seen_ids)))
        place = {name: row for row, name in enumerate(donors.ids)}
        crops = donors.crops[[place[name] for name in seen_ids]]
        unknown = np.full(len(instances), np.nan, np.float32)
        hypotheses = self.draw(instances.ids, crops, instances.crop_intrinsics, unknown)
        good = hypotheses.finite()
        if self.score is not None:
            # of a swapped label the best for the picture that it was made from
            scores = self.score(crops, hypotheses.uvd, hypotheses.twists, hypotheses.betas)
            good &= np.isfinite(scores).all(axis=1)
            hypotheses = hypotheses.pick(np.argmax(scores, axis=1)[:, None])
        rows = np.flatnonzero(good)
        what = "the policy's hypotheses" if self.score is None else "the policy's hypotheses or their scores"
        failures = not_finite(instances.ids, good, what)
        return ShardOutput({"labels": self._table(instances, hypotheses, rows)}, failures, ok=len(rows))

    def _table(self, instances: Instances, hypotheses: Hypotheses, rows: np.ndarray) -> pa.Table:
        theta, transl, joints = self._bodies(instances, hypotheses, rows)
        names = [instances.ids[row] for row in rows]
        columns = {
            "instance_id": names,
            "label_set": [SWAPPED if name in self.donors else OWN for name in names],
            "dataset": [instances.dataset[row] for row in rows],
            "split": [instances.split[row] for row in rows],
            "label_kind": "pseudo",
            "body_model": "smpl",
            "body_digest": self.body.digest,
            "gender": "neutral",
            "global_orient": theta[:, 0],
            "body_pose": theta[:, 1:].reshape(len(rows), 69),
            "betas": hypotheses.betas[rows, 0],
            "transl": transl,
            "joints": joints.reshape(len(rows), 87),
            "joints_valid": np.ones((len(rows), 29), bool),
            "twist": hypotheses.twists[rows, 0].reshape(len(rows), 46),
            "stage_key": "",
        }
        return build("labels", columns).drop_columns(["stage_key"])

    def _bodies(
        self, instances: Instances, hypotheses: Hypotheses, rows: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Theta (N, 24, 3) rad, translation (N, 3) m and camera joints (N, 29, 3) m of the bodies of `rows`."""
        parts = [[np.empty((0, *shape), np.float32) for shape in ((24, 3), (3,), (29, 3))]]
        for places, used in microbatches(len(rows), self.microbatch):
            recovered = hypotheses.take(rows[places]).bodies(self.body, instances, rows[places], self.root)
            shift = recovered.camera_joints[:, 0] - recovered.joints[:, 0]
            solved = (roma.rotmat_to_rotvec(recovered.rotations), shift, recovered.joints + shift[:, None])
            parts.append([part.cpu().numpy()[:used] for part in solved])
        theta, transl, joints = (np.concatenate(column) for column in zip(*parts, strict=True))
        return theta, transl, joints
