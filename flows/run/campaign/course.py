"""The course of a campaign, read from the store: which rounds are decided, and what came of them, as a table."""

import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from flows.run.campaign.opening import opening_of
from infra import rounds
from infra.rounds import CampaignState
from infra.stages import find
from infra.store import Store
from schemas.config.sources import SourcesConfig
from schemas.ids import StageKey, Target
from tasks.report.numbers import format_number
from tasks.rows.metrics import DIVERSITY, Metric, read_metrics
from tasks.stages.compare import Compare

ZERO_NOISE, BEST, SPEARMAN = "zero_noise_mpvpe", "best_of_m_mpvpe", "spearman_within_mpvpe"
WIDTH = 80
_TITLES = ("round", "", "mm", "zero", "best", "spread", "drift", "rank", "gates")
LEGEND = (
    "mm, zero: zero-noise MPVPE and its change; best: of M; spread: diversity; rank:",
    "the scorer's Spearman within an image. Changes in %, against the policy before.",
)
"""What the titles of the table mean."""


class Evaluations(NamedTuple):
    """What a round's comparison read: the current policy, the new one, and the campaign's first."""

    before: StageKey
    after: StageKey
    first: StageKey


@dataclass(frozen=True)
class DecidedRound:
    """A round that was decided; `policy` is current after it, and `compared` the stage by which it was decided."""

    number: int
    kind: str
    event: str
    policy: str | None
    why: str
    compared: StageKey | None

    def evaluations(self, store: Store) -> Evaluations | None:
        """None where no labels decided it."""
        record = None if self.compared is None else find(store, self.compared)
        if record is None or record.stage != Compare.name:
            return None
        return Evaluations(*map(StageKey, record.reads[:3]))


@dataclass(frozen=True)
class Row:
    """A line of the table: what a round changed against the policy before it, in %; None where it was not measured."""

    name: str
    kind: str
    zero_noise: Metric | None
    zero_noise_change: Metric | None
    best_change: Metric | None
    diversity_change: Metric | None
    drift: Metric | None
    spearman: Metric | None
    word: str


def decided_rounds(state: CampaignState) -> list[DecidedRound]:
    """The rounds that were decided, in their order; the campaign's first policy is none."""
    found = []
    for event in state.events:
        if event.event in ("promoted", "kept") and event.round:
            opening = state.first(event.round, "opened")
            kind = opening.why.removesuffix(" round") if opening else ""
            key = None if event.stage_key is None else StageKey(event.stage_key)
            found.append(DecidedRound(event.round, kind, event.event, event.policy, event.why, key))
    return found


def refusals(state: CampaignState) -> int:
    """How many rounds in a row have promoted nothing, up to the last one. Whoever rolls back begins the count anew."""
    count = 0
    for event in state.events:
        if event.event == "kept":
            count += 1
        elif event.event in ("promoted", "rolled_back"):
            count = 0
    return count


def course_of(store: Store, campaign: str, whole: StageKey | None = None) -> list[Row]:
    """The rounds of a campaign that are decided; behind them all of it, where `whole` is the comparison of its first
    policy with the current one. Figures are those of the first split of `sources.validation`, which gates read."""
    state, rows = rounds.state(store, campaign), []
    sources = SourcesConfig()
    for one in decided_rounds(state):
        opening = opening_of(store, campaign, one.number)
        sources = opening.sources if opening is not None else sources
        word = "promoted" if one.event == "promoted" else f"kept: {one.why}"
        rows.append(_row(store, str(one.number), one.kind, one.compared, sources, word))
    if whole is not None:
        rows.append(_row(store, "all", "", whole, sources, "first to current"))
    return rows


def measured_on(store: Store, campaign: str) -> tuple[Target | None, Target | None]:
    """The splits that a table's figures and its drift are of; None where there is none."""
    opening = opening_of(store, campaign, rounds.state(store, campaign).round)
    sources = opening.sources if opening is not None else SourcesConfig()
    return _splits(sources)


def table(rows: Sequence[Row]) -> Iterator[str]:
    """The table as plain lines of at most 80 characters; what the gates say goes on below where it is long."""
    cells = [_TITLES, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_TITLES) - 1)]
    room = WIDTH - sum(widths) - 2 * len(widths)
    for number, line in enumerate(cells):
        fixed = [
            cell.ljust(width) if column < 2 or not number else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line[:-1], widths, strict=True))
        ]
        words = textwrap.wrap(line[-1], room) or [""]
        yield "  ".join([*fixed, words[0]]).rstrip()
        for more in words[1:]:
            yield " " * (WIDTH - room) + more


def _row(store: Store, name: str, kind: str, key: StageKey | None, sources: SourcesConfig, word: str) -> Row:
    measured = {} if key is None else {(m.name, m.role, m.target): m for m in read_metrics(store, key)}
    on, drift = _splits(sources)

    def of(metric: str, role: str, target: Target | None) -> Metric | None:
        return None if target is None else measured.get((metric, role, target))

    return Row(
        name,
        kind,
        of(ZERO_NOISE, "after", on),
        of(ZERO_NOISE, "change", on),
        of(BEST, "change", on),
        of(DIVERSITY, "change", on),
        of("drift", "change", drift),
        of(SPEARMAN, "before", on),
        word,
    )


def _splits(sources: SourcesConfig) -> tuple[Target | None, Target | None]:
    return (
        next(iter(sources.targets("validation", "test")), None),
        next(iter(sources.targets("drift")), None),
    )


def _cells(row: Row) -> tuple[str, ...]:
    zero = "" if row.zero_noise is None else format_number(row.zero_noise.value, "mm")
    changes = (row.zero_noise_change, row.best_change, row.diversity_change, row.drift)
    spearman = "" if row.spearman is None or math.isnan(row.spearman.value) else f"{row.spearman.value:.2f}"
    return (row.name, row.kind, zero, *map(_percent, changes), spearman, row.word)


def _percent(metric: Metric | None) -> str:
    if metric is None or math.isnan(metric.value):
        return ""
    sign = "+" if metric.value > 0 else ""
    return f"{sign}{format_number(metric.value, '%')}"
