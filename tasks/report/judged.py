"""What a judge found, and what is watched beside the scorer, as rows of the page: levels before and after."""

from infra.store import Store
from schemas.ids import Target
from tasks.report.content import NumberRow
from tasks.report.facts import RoundFacts
from tasks.rows.metrics import (
    BEYOND,
    BONES,
    EXPECTED,
    PREFERS,
    SCORE,
    WATCHED_ERROR,
    WATCHED_FIGURES,
    WATCHED_JUDGE,
    WATCHED_SCORE,
    read_metrics,
)
from tasks.stages.judge import Judge
from tasks.stages.watch import Watch

_ROWS = (
    (SCORE, "judge's score, zero noise, {role}"),
    (EXPECTED, "judge's score, expected, {role}"),
    (BEYOND, "bodies beyond joint limits, {role}"),
    (BONES, "miss of bone lengths, {role}"),
)


def judge_rows(store: Store, facts: RoundFacts) -> list[NumberRow]:
    """The figures of every split that was set aside for the judge; none in a round that was decided by labels."""
    key = facts.key(Judge.name)
    if key is None:
        return []
    metrics = {(one.name, one.role, one.target): one for one in read_metrics(store, key)}
    targets: list[Target] = sorted({target for _, _, target in metrics})
    rows = []
    for target in targets:
        for name, title in _ROWS:
            for role in ("before", "after"):
                one = metrics[name, role, target]
                unit = "none" if one.unit == "score" else one.unit
                rows.append(NumberRow.of(title.format(role=role), unit, one, f"{target}, people set aside"))
        liked = metrics[PREFERS, "after", target]
        name = "share of people for whom the judge prefers the body after"
        rows.append(NumberRow.of(name, "none", liked, f"{target}, people set aside; 0.5: neither"))
    return rows


def watch_rows(store: Store, facts: RoundFacts) -> list[NumberRow]:
    """How the scorer's score changed, and beside it a judge's and the true error; none where nothing was watched."""
    key = facts.key(Watch.name)
    metrics = [] if key is None else [one for one in read_metrics(store, key) if one.role == "change"]
    rows = []
    for target in sorted({one.target for one in metrics}):
        for figure in WATCHED_FIGURES:
            for name, title in (
                (WATCHED_SCORE, "scorer's score"),
                (WATCHED_JUDGE, "judge's score"),
                (WATCHED_ERROR, "MPVPE"),
            ):
                for one in metrics:
                    if (one.name, one.target) == (f"{name}_{figure}", target):
                        unit = "none" if one.unit == "score" else one.unit
                        words = f"{title}, {figure.replace('_', ' ')}, change"
                        rows.append(NumberRow.of(words, unit, one, f"{target}; watched"))
    return rows
