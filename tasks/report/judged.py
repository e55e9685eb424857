"""What a judge found, as rows of the page: levels before and after, of which gates read the differences alone."""

from infra.store import Store
from schemas.ids import Target
from tasks.report.content import NumberRow
from tasks.report.facts import RoundFacts
from tasks.rows.metrics import BEYOND, BONES, EXPECTED, PREFERS, SCORE, read_metrics
from tasks.stages.judge import Judge

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
