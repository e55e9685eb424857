"""What every stage is called with: where things are kept, how they are configured, and who listens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydantic import BaseModel

from infra.stages import StageSpec
from infra.store import Store
from schemas.config.engine import EngineConfig
from schemas.progress import SILENT, Progress
from schemas.tables.contracts import OUTSIDE_ROUNDS


class Target(NamedTuple):
    """One split of a data set."""

    dataset: str
    split: str

    def __str__(self) -> str:
        return f"{self.dataset}/{self.split}"


@dataclass(frozen=True)
class Context:
    """Store, configuration and listener of a run. `round` is recorded and never part of a stage's key."""

    store: Store
    config: EngineConfig
    progress: Progress = SILENT
    round: int | None = None
    in_process: bool = False
    """Work here instead of in Ray's workers: for unit tests."""

    @property
    def partition(self) -> int:
        """The value of the `round` column of rows that are written now."""
        return OUTSIDE_ROUNDS if self.round is None else self.round

    def spec(
        self,
        name: str,
        version: int,
        config: BaseModel | Mapping[str, Any],
        reads: Sequence[str] = (),
        models: Sequence[str] = (),
    ) -> StageSpec:
        """The spec of a stage of this run: campaign and round are recorded, and do not count towards the key."""
        return StageSpec(
            name,
            version,
            config,
            reads=tuple(reads),
            models=tuple(models),
            campaign=self.config.campaign,
            in_round=self.round,
        )
