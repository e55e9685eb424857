"""Measures: how two policies differ beyond mean errors, as rows of `metrics`, with what `compare` doesn't have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from models.body_arrays import body_digest
from schemas.ids import StageKey
from tasks.engine.context import Context
from tasks.engine.stage import Rows, WholeStage


@dataclass(frozen=True)
class Measures(WholeStage):
    """Measures the evaluations `before` and `after`, with controls by name, by `tasks.measures.table.NEW` -> `metrics`.

    Roles as of `compare`: before, after and each control hold the figures, change and change_<control> how they differ
    from before, change_minus_<control> how the two changes differ: in % for errors, else as differences. People whom
    one of the evaluations lacks are left out of all; of a measure those who have no number of it, too. DataError where
    two evaluations drew different numbers of samples.
    """

    before: StageKey
    after: StageKey
    controls: Mapping[str, StageKey]

    name: ClassVar[str] = "measures"
    writes: ClassVar[tuple[str, ...]] = ("metrics",)

    def key_config(self, context: Context) -> Mapping[str, Any]:
        return {
            "controls": sorted(self.controls),
            "body": body_digest(context.config.body),
            **context.config.evaluate.bootstrap,
        }

    def reads(self, context: Context) -> Sequence[StageKey]:
        return (self.before, self.after, *(self.controls[name] for name in sorted(self.controls)))

    def make(self, context: Context) -> Rows:
        from tasks.measures.work import measures_of

        return measures_of(self, context)
