"""Evaluate as published: the four columns of the published tables, from what `measure_published` has measured.

Metrics are published_min, published_select, published_zero_noise and published_hypotheses_mean, each with suffix
_mpvpe, _mpjpe or _pa_mpjpe (mm); their role is the protocol. What is published as "select" is always the mean of the
five best-scored hypotheses, and "min" ranges over it and the mean of all too. Without a scorer nothing is averaged or
selected, and "hypotheses_mean" is the last hypothesis, as published.
"""

from collections.abc import Iterator, Sequence

import torch

from infra.repair import find_or_mend
from infra.stages import StageSpec, commit_rows, now
from models.published_metrics import Order, PublishedAggregates, published_columns
from models.statistics import bootstrap_mean
from tasks.engine.context import Context, Target
from tasks.engine.sharded import StageResult
from tasks.evaluation.measure_published import candidate_errors, measure_published, measure_published_spec
from tasks.rows.metrics import Metric, metrics_table

NAME, VERSION = "evaluate_published", 1


def evaluate_published_spec(
    context: Context,
    ingest_keys: Sequence[str],
    target: Target,
    policy: str,
    scorer: str | None,
    hypotheses: int,
    protocol: Order,
    bodies: str,
) -> StageSpec:
    """What `evaluate_published` with these arguments is going to do."""
    measured = measure_published_spec(context, ingest_keys, target, policy, scorer, hypotheses, protocol, bodies)
    evaluation = context.config.evaluate
    decisive = {"resamples": evaluation.resamples, "seed": evaluation.seed}
    return context.spec(NAME, VERSION, decisive, reads=[measured.key], models=measured.models)


def evaluate_published(
    context: Context,
    ingest_keys: Sequence[str],
    target: Target,
    policy: str,
    scorer: str | None,
    hypotheses: int,
    protocol: Order,
    bodies: str,
) -> StageResult:
    """Measure the policy (a digest) on the labelled split `target` as published -> table `metrics`.

    `scorer`: digest of HMR-Scorer or ScoreHypo's ScoreNet, or None. `hypotheses`: M, sample 0 from zero noise.
    `bodies`: the folder of published bodies, or any body (see `tasks.evaluation.bodies` for what differs).

    An instance without a gt label, or with one of SMPL-X, is filtered; one for which a model gives a number that is
    not finite fails. DataError where no instance is left. Run again, it goes on from the shards that are done.
    """
    arguments = (context, ingest_keys, target, policy, scorer, hypotheses, protocol, bodies)
    spec = evaluate_published_spec(*arguments)
    record = find_or_mend(context.store, spec, context.progress.say)
    if record is not None:
        context.progress.say(f"{NAME}: reused ({spec.key[:12]})")
        return StageResult(record, reused=True)
    started_at = now()
    measured = measure_published(*arguments).key
    found = list(_figures(context, measured, target, policy, protocol, scored=scorer is not None))
    record = commit_rows(context.store, spec, {"metrics": metrics_table(found, spec)}, started_at=started_at)
    return StageResult(record, reused=False)


def _figures(
    context: Context, measure_key: str, target: Target, policy: str, protocol: Order, scored: bool
) -> Iterator[Metric]:
    config = context.config.evaluate
    for name, errors in candidate_errors(context.store, measure_key, scored).items():
        preferred = None
        if scored:  # the mean of the best is always preferred, whatever the scores are
            preferred = torch.zeros(errors.shape)
            preferred[:, 0] = 1
        columns = published_columns(torch.from_numpy(errors.copy()), preferred)
        for figure, values in zip(PublishedAggregates._fields, columns, strict=True):
            if not bool(values.isnan().any()):
                mean = bootstrap_mean(values.numpy(), resamples=config.resamples, seed=config.seed)
                yield Metric(
                    f"{figure}_{name}", protocol, target, "mm", mean.value, len(errors), mean.low, mean.high, policy
                )
