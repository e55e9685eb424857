"""The gates with their inputs fetched: a flow names stages, the rules of `tasks.gates` want numbers."""

from infra.stages import find
from schemas.errors import DataError
from schemas.ids import StageKey
from schemas.splits import SOURCE_TEST, WILD_VALIDATION
from tasks.compare import evaluation_table, ranking
from tasks.engine.context import Context
from tasks.gates import GateVerdict, gates_before_promotion, gates_before_training, margins_of
from tasks.rows.metrics import read_metrics

RANKED_BY = "mpvpe"


def before_training(
    context: Context, pairs: StageKey, before: StageKey, made_from: tuple[StageKey, ...]
) -> tuple[GateVerdict, ...]:
    """Whether the pairs are worth training on. `before`: the current policy's evaluation; `made_from`: the stages that
    lead to the pairs, whose failed units are counted."""
    store, evaluation = context.store, context.config.evaluate
    table = evaluation_table(store, before)[WILD_VALIDATION]
    spearman, _ = ranking(table, RANKED_BY, evaluation.resamples, evaluation.seed)
    tallies = {}
    for key in (*made_from, pairs):
        record = find(store, key)
        if record is None:
            raise DataError(f"Stage {key[:12]}, which the gates look at, is not finished.")
        tallies[record.stage] = record.tally
    return gates_before_training(context.config.gates, margins_of(store, pairs), spearman, tallies)


def before_promotion(context: Context, compared: StageKey) -> tuple[GateVerdict, ...]:
    """Whether the new policy may become current, by the numbers of the comparison."""
    return gates_before_promotion(
        context.config.gates, read_metrics(context.store, compared), WILD_VALIDATION, SOURCE_TEST
    )
