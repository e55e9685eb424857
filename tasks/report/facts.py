"""What a flow knows of its round when it comes to report it: keys, digests, verdicts. Numbers are in the tables."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from schemas.ids import ModelDigest, StageKey
from tasks.gates import GateVerdict
from tasks.rows.drawn import DRAW
from tasks.rows.legs import leg_of


@dataclass(frozen=True)
class StageRun:
    """A stage of a run. `role` sets apart stages of one name ("before", "random pairs")."""

    name: str
    role: str
    key: StageKey
    state: str
    """run, resumed, reused, or stopped by its gate."""

    @property
    def title(self) -> str:
        return f"{self.name} ({self.role})" if self.role else self.name


@dataclass(frozen=True)
class RoundFacts:
    """A round that has been decided."""

    kind: Literal["dpo", "clean"]
    campaign: str
    number: int
    policy_before: ModelDigest
    policy_after: ModelDigest | None
    """None where no policy was trained."""
    reference: ModelDigest
    """The policy that the campaign began with."""
    scorer: ModelDigest
    runs: tuple[StageRun, ...]
    verdicts: tuple[GateVerdict, ...] = ()
    promoted: bool = False
    why: str = ""
    notices: tuple[str, ...] = ()
    judge: ModelDigest | None = None
    """The second scorer that decided, for want of labels; None where labels did, or nothing was to be decided."""
    said: Mapping[str, str] = field(default_factory=dict)
    """Where fields of the configuration were said, by dotted name; the others are the profile's."""

    @property
    def title(self) -> str:
        return f"{'DPO' if self.kind == 'dpo' else 'Cleaning'} round {self.number}"

    @property
    def report_name(self) -> str:
        """Where the page is, below the store's folder of reports."""
        return f"{self.campaign}-round-{self.number}.html"

    def key(self, name: str, role: str = "") -> StageKey | None:
        """The key of a stage of this round, or None if the round did not come to it."""
        return next((run.key for run in self.runs if (run.name, run.role) == (name, role)), None)

    @property
    def drawn(self) -> StageKey | None:
        """The stage that drew the hypotheses for pairs; it may have kept few of them."""
        return self.key("generate") or self.key(DRAW)

    @property
    def scored(self) -> StageKey | None:
        """The stage that scored them."""
        return self.key("score") or self.key(DRAW)

    def legs(self) -> list["RoundFacts"]:
        """The round as each of its legs has it, with the roles that a round without legs gives its stages; the first
        holds what no leg is named for, too."""
        runs: dict[int, list[StageRun]] = {}
        for run in self.runs:
            role, number = leg_of(run.role)
            runs.setdefault(number, []).append(replace(run, role=role))
        return [replace(self, runs=tuple(runs[number])) for number in sorted(runs)] or [self]

    def own_pairs(self) -> list[StageKey]:
        """The stages whose pairs the round made and was trained on, as people reviewed them if they did, by leg."""
        own = (leg.key("review") or leg.key("pair") for leg in self.legs())
        return [key for key in own if key is not None]

    def trained_pairs(self) -> list[StageKey]:
        """All stages whose pairs the round was trained on: its own first, then those of earlier rounds."""
        earlier = [run.key for run in self.runs if run.name == "review" and leg_of(run.role)[0]]
        return [*self.own_pairs(), *earlier]

    def distinct_runs(self) -> list[StageRun]:
        """Every stage once, in the order of the flow: two roles may share one (if the first policy is current)."""
        latest = {run.key: run for run in self.runs}
        first: dict[StageKey, StageRun] = {}
        for run in self.runs:
            first.setdefault(run.key, run)
        return [StageRun(run.name, latest[key].role, key, run.state) for key, run in first.items()]
