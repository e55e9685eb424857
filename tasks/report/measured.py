"""What the comparison measured, as rows of the page: held-out errors, diversity and drift beside their controls."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING

from infra.stages import find
from infra.store import Store
from models.statistics import Interval, bootstrap_mean, overall_spearman
from schemas.config.engine import EngineConfig
from schemas.ids import ModelDigest, Target
from tasks.measures.stage import Measures
from tasks.measures.table import NEW
from tasks.report.content import Better, Control, HeadlineGroup, HeadlineRow, NumberRow, ScoreAgainstError
from tasks.report.facts import RoundFacts
from tasks.report.numbers import format_number
from tasks.rows.calibrations import find_calibration
from tasks.rows.metrics import DIVERSITY, Metric, read_metrics

CONTROL_NAMES = {
    "random_pairs": "random pairs",
    "less_noise": "less noise",
    "all_labels": "all labels",
    "random_labels": "random labels",
    "own_labels": "own labels",
}
"""Roles of the comparison, and what the page calls them."""
_CLEANED = {
    "all_labels": "the same training on all pseudo-labels, none filtered out",
    "random_labels": "the same training on as many pseudo-labels, drawn at random",
    "own_labels": "the same training on the old policy's own zero-noise labels, filtered alike",
}
"""Controls of cleaning rounds, and what was done instead."""
_OF_MEASURES = "docs/measures.md says what each is; for reports, no gate reads them"
DEPTH_NOTE = "Errors are relative to the pelvis, whose depth comes from the label."
_FIGURES = (
    ("zero_noise", "zero-noise"),
    ("expected", "expected"),
    ("best_of_m", "best of {samples}"),
    ("selected", "selected"),
)
ERROR_NAMES = (("mpvpe", "MPVPE"), ("mpjpe", "MPJPE"), ("pa_mpjpe", "PA-MPJPE"))

if TYPE_CHECKING:
    from tasks.compare import EvaluationTable

Metrics = Mapping[tuple[str, str, Target], Metric]
"""By name, role and split."""
Evaluations = tuple[Mapping[Target, "EvaluationTable"], Mapping[Target, "EvaluationTable"]]
"""Of the policies before and after, by split; empty where there is none."""


def round_metrics(store: Store, facts: RoundFacts) -> Metrics:
    """What the round's comparison measured; nothing if it did not come to one."""
    key = facts.key("compare")
    return {} if key is None else {(m.name, m.role, m.target): m for m in read_metrics(store, key)}


def controls(facts: RoundFacts, config: EngineConfig) -> list[Control]:
    """What else was done to the same policy."""
    less = f"the old policy, started from noise of {config.evaluate.less_noise:g} times the size"
    if facts.kind == "dpo":
        trained = [Control("random pairs", "the same training, with winner and loser drawn at random")]
    else:
        trained = [Control(CONTROL_NAMES[role], _CLEANED[role]) for role in config.clean.controls]
    return [*trained, Control("less noise", less)]


def estimate_notice(config: EngineConfig) -> str:
    """What a reader must know of a DPO round's training; empty where preferences alone were trained on."""
    if not config.align.encoder_distillation or not config.align.optimiser.encoder_learning_rate:
        return ""
    weight = config.align.encoder_distillation
    return (
        f"Beside DPO, alignment has the term align.encoder_distillation (weight {weight:g}): a regression of the image "
        "encoder's own pose estimate on the winners, pushed away from the losers. It is no preference objective, "
        "and what it gains is not DPO's: on the first default that was nearly all of the gain (docs/recipe.md)."
    )


def headline(metrics: Metrics, config: EngineConfig) -> list[HeadlineGroup]:
    """The groups of headline rows; empty where nothing was compared."""
    if not metrics:
        return []
    samples = config.evaluate.generate.hypotheses - 1
    drawn = f"{samples} samples each and one from zero noise; for reports, no gate reads it. {DEPTH_NOTE}"
    groups = []
    for test in config.sources.targets("test"):
        spread = measure_row(metrics, DIVERSITY, "diversity", test, "higher", _share_note(metrics, test))
        groups += [
            HeadlineGroup(f"Held-out {test}", figure_rows(metrics, _FIGURES, test, samples, ERROR_NAMES), drawn),
            HeadlineGroup("Diversity", [spread] if spread else [], f"on {test}"),
        ]
    labelled = {target.dataset for target in config.sources.targets("labelled")}
    for drift in config.sources.targets("drift"):
        of_it = "" if drift.dataset in labelled else ", or would have been: none of it is among sources.labelled"
        learned = f"the kind of data that the first policy was trained on{of_it}"
        groups.append(
            HeadlineGroup(
                f"Drift on held-out {drift}", figure_rows(metrics, _FIGURES[:2], drift, samples), learned, "drift"
            )
        )
    for validation in config.sources.targets("validation"):
        on_validation = figure_rows(metrics, _FIGURES[:3], validation, samples)
        groups.append(HeadlineGroup(f"Held-out {validation}", on_validation, "what the gates read", "validation"))
    return [group for group in groups if group.rows]


def scorer_rows(facts: RoundFacts, metrics: Metrics, config: EngineConfig) -> list[NumberRow]:
    """How well the scorer ranks real hypotheses."""
    tests = config.sources.targets("test")
    rows = [
        NumberRow.of(
            f"scorer's Spearman within an instance, {target}", "none", metric, "hypotheses of the policy before"
        )
        for target in (*config.sources.targets("validation"), *tests)
        if (metric := metrics.get(("spearman_within_mpvpe", "before", target))) is not None
    ]
    for test, control in product(tests, ["random_pairs"] if facts.kind == "dpo" else config.clean.controls):
        apart = metrics.get(("zero_noise_mpvpe", f"change_minus_{control}", test))
        if apart is not None:
            name = f"change of zero-noise MPVPE minus that of {CONTROL_NAMES[control]}"
            rows.append(
                NumberRow.of(name, "none", apart, f"percentage points, {test}; below 0: better than the control")
            )
    return rows


def meaning_rows(store: Store, scorer: ModelDigest) -> list[NumberRow]:
    """The error that is to be expected of hypotheses with a low, a middling and a high score, if it was calibrated."""
    found = find_calibration(store, scorer)
    if found is None:
        return []
    curve, cells = found.curve, len(found.curve.score)
    return [
        NumberRow(
            f"{found.error.upper()} to expect of a score of {curve.score[cell]:.3f}",
            "mm",
            float(curve.expected_mm[cell]),
            float(curve.low_mm[cell]),
            float(curve.high_mm[cell]),
            found.people,
            f"calibrated on {found.role} of {found.target}; single ones scatter by {curve.spread_mm[cell]:.0f} mm",
        )
        for cell in sorted({0, cells // 2, cells - 1})
    ]


def notices(facts: RoundFacts, config: EngineConfig) -> tuple[str, ...]:
    """What a reader must know before the numbers."""
    term = estimate_notice(config) if facts.kind == "dpo" and facts.policy_after is not None else ""
    return (*facts.notices, *filter(None, [term]))


def evaluations(store: Store, facts: RoundFacts) -> Evaluations:
    """What the evaluations of the policies before and after measured, by split; empty where there is none any more."""
    from tasks.compare import evaluation_table

    keys = (facts.key("evaluate", role) for role in ("before", "after"))
    before, after = (
        evaluation_table(store, key) if key is not None and find(store, key) is not None else {} for key in keys
    )
    return before, after


def score_changes(evaluated: Evaluations, config: EngineConfig) -> dict[Target, Interval]:
    """By split the scorer's score of the zero-noise sample, after less before, paired over people."""
    before, after = evaluated
    changes = {}
    for target in before.keys() & after.keys():
        sides = before[target], after[target]
        ids = sorted(set(sides[0].ids) & set(sides[1].ids))
        old, new = (side.among(ids).scores for side in sides)
        if old is not None and new is not None and ids:
            changes[target] = bootstrap_mean(new[:, 0] - old[:, 0], **config.evaluate.bootstrap)
    return changes


def scores_against_errors(
    before: Mapping[Target, "EvaluationTable"], facts: RoundFacts, config: EngineConfig
) -> ScoreAgainstError | None:
    """Scores and errors of the old policy's random samples on the first split of validation."""
    validation = config.sources.targets("validation")
    table = before.get(validation[0]) if validation else None
    if table is None or table.scores is None:
        return None
    from tasks.compare import ranking

    within, used = ranking(table, "mpvpe", **config.evaluate.bootstrap)
    scores, errors = table.scores[:, 1:], table.errors["mpvpe"][:, 1:]
    return ScoreAgainstError(
        scores,
        errors,
        within,
        overall_spearman(scores, errors),
        len(table.ids) - used,
        f"MPVPE (mm) of the old policy's random samples on {validation[0]}, scorer {facts.scorer[:12]}",
    )


def sentence(metrics: Metrics, config: EngineConfig) -> str:
    """The headline in words, of the first split of test; empty where nothing was compared on one."""
    parts, test = [], next(iter(config.sources.targets("test")), None)
    if test is None:
        return ""
    for name, words in (("zero_noise_mpvpe", "zero-noise MPVPE"), ("best_of_m_mpvpe", "best of M")):
        change = metrics.get((name, "change", test))
        if change is not None:
            parts.append(f"{words} {_in_words(change)}")
    return f"On held-out {test}, {' and '.join(parts)}." if parts else ""


def _in_words(change: Metric) -> str:
    """A change in % as a verb; as the table says it, one whose interval has 0 in it is none."""
    if change.low is not None and change.high is not None and change.low <= 0 <= change.high:
        return f"did not clearly change ({change.value:+.1f} %)"
    return f"{'fell' if change.value < 0 else 'rose'} by {abs(change.value):.1f} %"


def figure_rows(
    metrics: Metrics,
    figures: Sequence[tuple[str, str]],
    target: Target,
    samples: int,
    errors: Sequence[tuple[str, str]] = ERROR_NAMES[:1],
) -> list[HeadlineRow]:
    """A row for each figure and error that was measured on a split before and after. `figures` and `errors` are names
    of metrics and what the page calls them."""
    rows = (
        measure_row(metrics, f"{figure}_{error}", f"{words.format(samples=samples)} {spelled}", target)
        for figure, words in figures
        for error, spelled in errors
    )
    return [row for row in rows if row is not None]


def measure_row(
    metrics: Metrics, name: str, title: str, target: Target, better: Better = "lower", note: str = ""
) -> HeadlineRow | None:
    """The row of a metric that was measured on a split before and after; None where it wasn't."""
    before, after = metrics.get((name, "before", target)), metrics.get((name, "after", target))
    if before is None or after is None:
        return None
    beside = {
        words: interval
        for role, words in CONTROL_NAMES.items()
        if not (role == "less_noise" and name.startswith("zero_noise"))  # 0 by construction: no noise can be less
        and (interval := _interval(metrics.get((name, f"change_{role}", target)))) is not None
    }
    return HeadlineRow(
        title,
        before.unit,
        before.value,
        after.value,
        _interval(metrics.get((name, "change", target))),
        before.n,
        note,
        beside,
        better,
    )


def _interval(metric: Metric | None) -> Interval | None:
    if metric is None or metric.low is None or metric.high is None:
        return None
    return Interval(metric.value, metric.low, metric.high)


def _share_note(metrics: Metrics, test: Target) -> str:
    share = metrics.get((DIVERSITY, "share_of_first", test))
    return "" if share is None else f"after: {100 * share.value:.0f} % of the campaign's first policy"


def measure_groups(store: Store, facts: RoundFacts) -> list[HeadlineGroup]:
    """A group for each split, of the measures that change in %; none where the round did not measure them."""
    metrics = _all_measures(store, facts)
    groups = []
    for target in sorted({target for _, _, target in metrics}):
        rows = [
            row
            for measure in NEW
            if measure.is_relative
            and (row := measure_row(metrics, measure.name, measure.title, target, measure.better)) is not None
        ]
        groups.append(HeadlineGroup(f"Further measures on {target}", rows, _OF_MEASURES))
    return [group for group in groups if group.rows]


def measure_numbers(store: Store, facts: RoundFacts) -> list[NumberRow]:
    """The measures that change by a difference: shares, ratios, and what is often 0."""
    metrics, rows = _all_measures(store, facts), []
    for target in sorted({target for _, _, target in metrics}):
        for measure in NEW:
            roles = ("before", "after", "change")
            before, after, change = (metrics.get((measure.name, role, target)) for role in roles)
            if measure.is_relative or before is None or after is None or change is None:
                continue
            unit = {"1": "none", "percentage points": "%"}.get(change.unit, change.unit)
            levels = " to ".join(format_number(one.value, unit) for one in (before, after))
            rows.append(NumberRow.of(f"{measure.title}, difference", unit, change, f"{target}; from {levels}"))
    return rows


def _all_measures(store: Store, facts: RoundFacts) -> Metrics:
    key = facts.key(Measures.name)
    return {} if key is None else {(one.name, one.role, one.target): one for one in read_metrics(store, key)}
