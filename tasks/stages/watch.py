"""Watch: whether a judge and the true error follow where the scorer's score rises, so that a scorer's faults show."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from schemas.ids import StageKey
from tasks.engine.context import Context
from tasks.engine.stage import Rows, WholeStage


@dataclass(frozen=True)
class Watch(WholeStage):
    """Compares two policies by the scorer that chose, by a judge, and by true errors -> table `metrics`.

    `before` and `after` are evaluations, or generations without errors; `scores_before` and `scores_after` what the
    scorer says of their hypotheses, `judged_before` and `judged_after` what the judge says, if there is one. People
    whom one of these lacks are left out of all. DataError where nobody is left.
    """

    before: StageKey
    after: StageKey
    scores_before: StageKey
    scores_after: StageKey
    judged_before: StageKey | None = None
    judged_after: StageKey | None = None

    name = "watch"
    writes = ("metrics",)

    def key_config(self, context: Context) -> Mapping[str, Any]:
        return context.config.evaluate.bootstrap

    def make(self, context: Context) -> Rows:
        from tasks.watch import watched

        return watched(self, context)
