"""The constant offset of evidence: alpha is chosen on validation, and what it gives is measured on test."""

from typing import Any

from flows.run.runner import Runner
from schemas.ids import ModelDigest, StageKey
from schemas.splits import WILD_TEST, WILD_VALIDATION
from tasks.compare import evaluation_table
from tasks.diagnostics.offset import ALPHAS, EvaluateOffset
from tasks.stages.evaluate import Evaluate


def measure_offset(runner: Runner, people: StageKey, policy: ModelDigest, pairs: StageKey) -> StageKey:
    """The evaluation on test of the offset whose zero-noise MPVPE on validation is least."""
    config = runner.context.config.evaluate
    brief = config.model_copy(update={"generate": config.generate.model_copy(update={"hypotheses": 2})})

    def moved(target: Any, settings: Any, alpha: float) -> Evaluate:
        return EvaluateOffset((people,), (target,), policy, None, settings, pairs=pairs, alpha=alpha)

    errors = {}
    for alpha in ALPHAS:
        key = runner.run(moved(WILD_VALIDATION, brief, alpha), role=f"offset {alpha:g}")
        table = evaluation_table(runner.context.store, key)[WILD_VALIDATION]
        errors[alpha] = float(table.figures()["zero_noise_mpvpe"].mean())
    best = min(errors, key=errors.__getitem__)
    runner.context.progress.say(f"constant offset: alpha {best:g} is best on {WILD_VALIDATION}")
    return runner.run(moved(WILD_TEST, config, best), role=f"constant offset {best:g}")
