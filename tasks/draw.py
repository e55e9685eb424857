"""The work of drawing: hypotheses, their scores, and the pairs among them, of which only what is asked for stays."""

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from infra.shards import Shard
from infra.stages import StageSpec, find
from infra.tables import read
from models.bodies import load_body
from tasks.engine.context import Context
from tasks.engine.results import ShardOutput
from tasks.engine.shard_work import do_shard
from tasks.engine.worker import ModelWorker
from tasks.evaluate import DrawingWorker
from tasks.generate import filtered, not_finite, purpose_of
from tasks.half_encoder import check_half_encoder
from tasks.pair import PairWorker
from tasks.regenerate import sampler_of
from tasks.rows.drawn import draw_record
from tasks.rows.hypotheses import Hypotheses, StoredHypotheses
from tasks.rows.instances import Instances, load_instances
from tasks.rows.scores import Scored, read_scored

if TYPE_CHECKING:
    from tasks.stages.draw import Draw, PairDrawn

NOT_DRAWN = "no hypotheses"
"""Reason of instances whom the draw has already told of as failed."""


class DrawWorker(DrawingWorker):
    """Draws and scores the hypotheses of a shard's instances, and does the shards of the pairings that go with it."""

    def __init__(self, stage: "Draw", context: Context) -> None:
        self.stage, body = stage, load_body(context.config.body)
        purpose = purpose_of(stage.round_seed)
        super().__init__(context, stage.key(context), stage.policy, stage.scorer, stage.config, body, purpose)
        if stage.config.encoder_precision == "bfloat16":
            people = stage.ingests, stage.ids(context), stage.policy
            check_half_encoder(self.draw, self.store, *people, body, context.config.root_solver)
        self.guard_scorer(context, stage.ingests, lambda: stage.ids(context))
        self.pairings = [(one.spec(context), PairWorker(one, context, stage)) for one in stage.pairings(context)]

    def work(self, shard: Shard) -> ShardOutput:
        """Rows of the tables, sorted by instance and sample."""
        people = load_instances(self.store, self.stage.ingests, list(shard.ids))
        hypotheses, scored, good = self.drawn(people)
        assert scored is not None
        pairs = [(spec, _pairs(worker, people, hypotheses, scored.of(good), good)) for spec, worker in self.pairings]
        if not shard.is_part:
            for spec, made in pairs:
                self._do(spec, shard, made)
        tables = self.tables(people, hypotheses, scored, rows := np.flatnonzero(good))
        kept = np.zeros(scored.scores.shape, bool)
        if self.stage.keep == "extremes":
            kept = _in_pairs(pairs[0][1].tables["pairs"], people, kept)
        return ShardOutput(
            {**tables, "hypotheses": tables["hypotheses"].filter(pa.array(kept[rows].ravel()))},
            not_finite(people.ids, good, "the policy's hypotheses or their scores"),
            ok=len(rows),
        )

    def _do(self, spec: StageSpec, shard: Shard, made: ShardOutput) -> None:
        """Write the shard of a pairing, unless that stage is finished."""
        if find(self.store, spec.key) is None:
            do_shard(self.store, spec, partial(_given, made), shard, ("pairs",))


class PairDrawnWorker(ModelWorker):
    """Chooses the pairs of a shard of a draw whose hypotheses it draws once more."""

    def __init__(self, stage: "PairDrawn", context: Context) -> None:
        super().__init__(context)
        self.key, self.record = stage.generation, draw_record(context.store, stage.generation)
        self.threads = int(self.record.config["threads"])
        self.draw = sampler_of(self.store, self.record, context.config.body, device=self.device)
        self.pair = PairWorker(stage, context)

    def work(self, shard: Shard) -> ShardOutput:
        """Rows of `pairs`, sorted by instance; the scores are those of the table."""
        people = load_instances(self.store, self.record.reads, list(shard.ids))
        hypotheses = self.draw(people.ids, people.crops, people.crop_intrinsics, people.root_depth)
        scored = read(self.store, "scores", stage_keys=[self.key], ids=shard.ids, columns=["instance_id"])
        good = np.isin(people.ids, scored.column(0).to_pylist())
        known = Scored(np.empty((0, hypotheses.count)))
        if good.any():
            ids = np.array(people.ids)[good].tolist()
            known = read_scored(self.store, self.key, ids, np.arange(hypotheses.count))
        return _pairs(self.pair, people, hypotheses, known, good)


def _pairs(
    worker: PairWorker, people: Instances, hypotheses: Hypotheses, known: Scored, good: np.ndarray
) -> ShardOutput:
    """The pairs of those of N people who are `good` (N,), of whom this is `known`."""
    rows = np.flatnonzero(good)
    ids, datasets = (tuple(names[row] for row in rows.tolist()) for names in (people.ids, people.dataset))
    samples = np.arange(hypotheses.count, dtype=np.int32)
    made = worker.among(StoredHypotheses(ids, datasets, samples, hypotheses.take(rows)), known)
    absent = filtered(people.ids, ~good, NOT_DRAWN, "they are among the failures of the draw, with the reason")
    return replace(made, failures=[*made.failures, *absent])


def _in_pairs(pairs: pa.Table, people: Instances, kept: np.ndarray) -> np.ndarray:
    """Which of the hypotheses (N, M) of the people are a winner or a loser."""
    place = {name: row for row, name in enumerate(people.ids)}
    rows = np.array([place[name] for name in pairs.column("instance_id").to_pylist()], np.int64)
    for side in ("winner", "loser"):
        samples = pairs.column(side).to_numpy()
        drawn = samples >= 0  # a label is none of them
        kept[rows[drawn], samples[drawn]] = True
    return kept


def _given(made: ShardOutput, shard: Shard) -> ShardOutput:
    return made
