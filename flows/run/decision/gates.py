"""The gates with their inputs fetched: a flow names stages, the rules of `tasks.gates` want numbers."""

import math
from collections import Counter
from collections.abc import Sequence

from infra.stages import find
from schemas.errors import DataError
from schemas.ids import StageKey, Target, split_of
from tasks.engine.context import Context
from tasks.gates import (
    BEFORE_PROMOTION,
    PAIRS,
    GateVerdict,
    all_passed,
    gates_before_promotion,
    gates_before_training,
    gates_for_a_judge,
    gates_of_a_judge,
    gates_of_a_watch,
    gates_of_kept_labels,
    margins_of,
)
from tasks.rows.hypotheses import generated_ids
from tasks.rows.metrics import read_metrics
from tasks.stages.clean import Keep

RANKED_BY = "mpvpe"


def before_training(
    context: Context,
    pairs: StageKey,
    before: StageKey | None,
    made_from: tuple[StageKey, ...],
    trained: tuple[StageKey, ...],
) -> tuple[GateVerdict, ...]:
    """Whether the pairs are worth training on. `before`: the current policy's evaluation, if there is one; `made_from`:
    the stages that lead to the pairs, whose failed units are counted; `trained`: those that the pairs are read from,
    which people may have reviewed: margins are the scorer's, whatever they said."""
    store, evaluation = context.store, context.config.evaluate
    spearman = None
    if before is not None and (validation := context.config.sources.targets("validation")):
        from tasks.compare import evaluation_table, ranking

        tables = evaluation_table(store, before)
        ranked = (ranking(tables[on], RANKED_BY, **evaluation.bootstrap)[0] for on in validation)
        spearman = min(ranked, key=lambda interval: -math.inf if math.isnan(interval.value) else interval.value)
    tallies = {}
    for key in (*made_from, pairs):
        record = find(store, key)
        if record is None:
            raise DataError(f"Stage {key[:12]}, which the gates look at, is not finished.")
        tallies[record.stage] = record.tally
    count = sum(record.rows.get("pairs", 0) for key in trained if (record := find(store, key)) is not None)
    return gates_before_training(context.config.gates, margins_of(store, pairs), spearman, tallies, count)


def before_reviews(
    context: Context, pairs: StageKey, before: StageKey | None, made_from: tuple[StageKey, ...]
) -> tuple[GateVerdict, ...]:
    """The verdicts on pairs that people are to judge, where one says no whatever they say; else none: nobody looks at
    pairs which nothing is trained on. Arguments as of `before_training`."""
    verdicts = before_training(context, pairs, before, made_from, (pairs,))
    # only how many there are depends on reviews: those of earlier rounds may add some
    return () if all_passed([verdict for verdict in verdicts if verdict.name != PAIRS]) else verdicts


def of_kept_labels(context: Context, stage: Keep, kept: StageKey) -> tuple[GateVerdict, ...]:
    """Whether there is a label to train on; `kept` is the key of the `stage`."""
    record = find(context.store, kept)
    count = record.rows.get("labels", 0) if record is not None else 0
    return gates_of_kept_labels(count, why_none_kept(context, stage, kept))


def why_none_kept(context: Context, stage: Keep, kept: StageKey) -> str:
    """Why the filter kept no label; empty if it kept some."""
    from tasks.clean.filtering import why_none

    return why_none(stage, context, kept)


def before_promotion(context: Context, compared: StageKey) -> tuple[GateVerdict, ...]:
    """Whether the new policy may become current, by the numbers of the comparison."""
    sources = context.config.sources
    validation, drift = sources.targets("validation"), sources.targets("drift")
    if not validation and not context.config.is_judged:
        return without_labels(context)
    return gates_before_promotion(context.config.gates, read_metrics(context.store, compared), validation, drift)


def for_a_judge(context: Context, shown: StageKey, targets: Sequence[Target]) -> tuple[GateVerdict, ...]:
    """Whether a judge sees enough people of these splits; `shown`: hypotheses of those who are set aside for it."""
    people = Counter(map(split_of, generated_ids(context.store, shown)))
    return gates_for_a_judge(context.config.gates, {target: people[target] for target in targets})


def of_the_judge(context: Context, judged: StageKey, targets: Sequence[Target]) -> tuple[GateVerdict, ...]:
    """Whether the new policy may become current, by what a judge found on people of these splits."""
    return gates_of_a_judge(context.config.gates, read_metrics(context.store, judged), targets)


def of_the_watch(context: Context, watched: StageKey, targets: Sequence[Target]) -> tuple[GateVerdict, ...]:
    """Whether what is watched on people of these splits follows the scorer's score."""
    return gates_of_a_watch(read_metrics(context.store, watched), targets)


def without_labels(context: Context) -> tuple[GateVerdict, ...]:
    """What is said where no labelled people are held out for gates: nothing is promoted."""
    limit = "at least 1 data set under sources.validation"
    return (GateVerdict("held-out labelled people", BEFORE_PROMOTION, 0, "data sets", limit, passed=False),)
