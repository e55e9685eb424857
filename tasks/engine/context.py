"""What every stage is called with: where things are kept, how they are configured, and who listens."""

from dataclasses import dataclass

from infra.store import Store
from schemas.config.engine import EngineConfig
from schemas.progress import SILENT, Progress
from schemas.tables.contracts import OUTSIDE_ROUNDS


@dataclass(frozen=True)
class Context:
    """Store, configuration and listener of a run. `round` is recorded and never part of a stage's key.

    Round 0 is no round of a campaign: what is done in it are single steps.
    """

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

    @property
    def campaign(self) -> str | None:
        """The campaign that a stage is recorded for; None for a single step."""
        return None if self.round == OUTSIDE_ROUNDS else self.config.campaign
