"""What a round measures beyond the mean errors that its gates read."""

from collections.abc import Mapping

from flows.run.runner import Runner
from schemas.ids import StageKey
from tasks.measures.stage import Measures


def measure(runner: Runner, before: StageKey, after: StageKey, controls: Mapping[str, StageKey]) -> None:
    """Measure the evaluations of a round by all measures, if `evaluate.measures` says so."""
    if runner.context.config.evaluate.measures:
        runner.run(Measures(before, after, controls))
