"""Judge: what a second scorer says of two policies on people whom neither learned from, where nobody has labels."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models.body_arrays import body_digest
from schemas.ids import StageKey
from tasks.engine.context import Context
from tasks.engine.stage import Rows, WholeStage


@dataclass(frozen=True)
class Judge(WholeStage):
    """Compares two generations by the scores of a judge and by plausibility -> table `metrics`.

    `before` and `after` are the generations, `scores_before` and `scores_after` what the judge says of each. People
    whom one of the four lacks are left out of all. DataError where nobody is left.
    """

    before: StageKey
    after: StageKey
    scores_before: StageKey
    scores_after: StageKey
    ingests: tuple[StageKey, ...]

    name = "judge"
    writes = ("metrics",)

    def key_config(self, context: Context) -> Mapping[str, Any]:
        return {
            **context.config.evaluate.bootstrap,
            "root_solver": context.config.root_solver,
            "body": body_digest(context.config.body),
        }

    def make(self, context: Context) -> Rows:
        from tasks.judge import judged

        return judged(self, context)
