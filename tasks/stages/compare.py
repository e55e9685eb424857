"""Compare: evaluations side by side, as rows of `metrics`; the same instances in all of them, the same resamples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.ids import StageKey, Target
from schemas.splits import SOURCE_TEST
from tasks.engine.context import Context
from tasks.engine.stage import Rows, WholeStage


@dataclass(frozen=True)
class Compare(WholeStage):
    """Compares the evaluations `before` and `after`, with controls by name -> table `metrics`.

    `first` is the evaluation of the campaign's first policy (default: `before`); the change on the splits `drift` is
    drift. Instances that one of the evaluations lacks are left out of all. A control is left out on splits that it was
    not measured on; DataError where another evaluation lacks a split.
    """

    before: StageKey
    after: StageKey
    controls: Mapping[str, StageKey]
    first: StageKey | None = None
    drift: tuple[Target, ...] = (SOURCE_TEST,)

    name = "compare"
    writes = ("metrics",)

    def key_config(self, context: Context) -> Mapping[str, Any]:
        return {
            "controls": sorted(self.controls),
            "source": SOURCE_TEST.dataset if self.drift == (SOURCE_TEST,) else [str(target) for target in self.drift],
            **context.config.evaluate.bootstrap,
        }

    def reads(self, context: Context) -> Sequence[StageKey]:
        controls = (self.controls[name] for name in sorted(self.controls))
        return (self.before, self.after, self.first or self.before, *controls)

    def make(self, context: Context) -> Rows:
        from tasks.compare import compared

        return compared(self, context)
