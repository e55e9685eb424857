"""docs/evidence.md as text: every figure for every seed with its interval, means over the seeds and their spread."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import fmean

from infra.stages import StageRecord, find
from infra.store import Store
from schemas.config.engine import EngineConfig
from schemas.ids import StageKey, Target
from schemas.splits import SCORER_TRAIN, SOURCE_TEST, SOURCE_TRAIN, WILD_TEST, WILD_TRAIN, WILD_VALIDATION
from tasks.report.facts import RoundFacts
from tasks.report.measured import Metrics, round_metrics
from tasks.report.stage import read_facts
from tasks.rows.metrics import DIVERSITY, Metric, read_metrics
from tests.evidence.ablations import ablations
from tests.evidence.figures import cell, last_cells, line
from tests.evidence.goals import goal_lines
from tests.evidence.seal import Seal
from tests.profiles import load_profile

_Row = tuple[str, str, str, Target]
"""Title, metric, role, split."""
_ALIGNED: tuple[_Row, ...] = (
    ("zero-noise MPVPE", "zero_noise_mpvpe", "change", WILD_TEST),
    ("zero-noise MPJPE", "zero_noise_mpjpe", "change", WILD_TEST),
    ("zero-noise PA-MPJPE", "zero_noise_pa_mpjpe", "change", WILD_TEST),
    ("expected MPVPE", "expected_mpvpe", "change", WILD_TEST),
    ("expected MPJPE", "expected_mpjpe", "change", WILD_TEST),
    ("best of M MPVPE", "best_of_m_mpvpe", "change", WILD_TEST),
    ("best of M MPJPE", "best_of_m_mpjpe", "change", WILD_TEST),
    ("selected MPVPE", "selected_mpvpe", "change", WILD_TEST),
    ("diversity", DIVERSITY, "change", WILD_TEST),
    ("*random pairs*: zero-noise MPVPE", "zero_noise_mpvpe", "change_random_pairs", WILD_TEST),
    ("*random pairs*: expected MPVPE", "expected_mpvpe", "change_random_pairs", WILD_TEST),
    ("*random pairs*: best of M MPVPE", "best_of_m_mpvpe", "change_random_pairs", WILD_TEST),
    ("zero-noise MPVPE, minus random pairs' (points)", "zero_noise_mpvpe", "change_minus_random_pairs", WILD_TEST),
    ("*less noise*: expected MPVPE", "expected_mpvpe", "change_less_noise", WILD_TEST),
    ("*less noise*: best of M MPVPE", "best_of_m_mpvpe", "change_less_noise", WILD_TEST),
    ("diversity over the base's", DIVERSITY, "share_of_first", WILD_TEST),
    ("source drift, zero-noise MPVPE", "drift", "change", SOURCE_TEST),
    ("source drift, expected MPVPE", "drift_expected", "change", SOURCE_TEST),
    ("scorer's Spearman within an image, validation", "spearman_within_mpvpe", "before", WILD_VALIDATION),
    ("scorer's Spearman within an image, test", "spearman_within_mpvpe", "before", WILD_TEST),
)
_BASE: tuple[_Row, ...] = (
    ("zero-noise MPVPE", "zero_noise_mpvpe", "before", WILD_TEST),
    ("zero-noise MPJPE", "zero_noise_mpjpe", "before", WILD_TEST),
    ("expected MPVPE", "expected_mpvpe", "before", WILD_TEST),
    ("best of M MPVPE", "best_of_m_mpvpe", "before", WILD_TEST),
    ("diversity", DIVERSITY, "before", WILD_TEST),
    ("zero-noise MPVPE on source", "zero_noise_mpvpe", "before", SOURCE_TEST),
)
_CLEANED: tuple[_Row, ...] = (
    ("expected MPVPE, kept share", "expected_mpvpe", "change", WILD_TEST),
    ("expected MPVPE, all labels", "expected_mpvpe", "change_all_labels", WILD_TEST),
    ("expected MPVPE, kept minus all (points)", "expected_mpvpe", "change_minus_all_labels", WILD_TEST),
    ("zero-noise MPVPE, kept share", "zero_noise_mpvpe", "change", WILD_TEST),
    ("zero-noise MPVPE, all labels", "zero_noise_mpvpe", "change_all_labels", WILD_TEST),
    ("source drift, zero-noise MPVPE", "drift", "change", SOURCE_TEST),
)
_HISTORY = (
    f"- **{SOURCE_TRAIN}**: trains the base policy, and is replayed by every later training. **{SCORER_TRAIN}**: "
    f"trains the scorer. **{WILD_TRAIN}**: gives hypotheses, pairs and pseudo-labels; its labels are never read.",
    f"- **{WILD_VALIDATION}**: gates read it, and so did every choice of the recipe (docs/recipe.md), on low seeds.",
    f"- **{WILD_TEST}**: for pages like this one.",
    f"- **{SOURCE_TEST}**: drift, here and in the gates.",
)


@dataclass(frozen=True)
class SeedEvidence:
    """What one seed's store says."""

    seed: int
    config: EngineConfig
    aligned: RoundFacts
    cleaned: RoundFacts
    aligned_metrics: Metrics
    control_metrics: Metrics
    """Of the comparisons with all controls, those that a round does not train among them."""
    cleaned_metrics: Metrics
    filter_metrics: Mapping[str, Metric]
    records: tuple[tuple[str, StageRecord], ...]
    control_keys: tuple[StageKey, ...] = ()
    """The stages that `control_metrics` are of."""

    @staticmethod
    def read(
        store: Store, profile: str, seed: int, aligning: str, cleaning: str, controls: Sequence[StageKey]
    ) -> "SeedEvidence":
        """The first rounds of the two campaigns, and the stages `controls` that compare them with all controls.
        StoreError where a round was not reported."""
        config = load_profile(profile, seed, aligning)
        return SeedEvidence.of(store, config, read_facts(store, aligning, 1), read_facts(store, cleaning, 1), controls)

    @staticmethod
    def of(
        store: Store, config: EngineConfig, aligned: RoundFacts, cleaned: RoundFacts, controls: Sequence[StageKey] = ()
    ) -> "SeedEvidence":
        """What the tables say of these two rounds, and of the controls where their comparisons are named."""
        kept = cleaned.key("keep")
        records: dict[str, tuple[str, StageRecord]] = {}
        for prefix, facts in (("", aligned), ("cleaning: ", cleaned)):
            for run in facts.distinct_runs():
                record = find(store, run.key)
                if record is not None:
                    records.setdefault(run.key, (prefix + run.title, record))
        return SeedEvidence(
            config.seed,
            config,
            aligned,
            cleaned,
            round_metrics(store, aligned),
            {(m.name, m.role, m.target): m for key in controls for m in read_metrics(store, key)},
            round_metrics(store, cleaned),
            {metric.name: metric for metric in read_metrics(store, kept)} if kept else {},
            tuple(records.values()),
            tuple(controls),
        )


def evidence_page(
    found: Sequence[SeedEvidence],
    machine: Mapping[str, str],
    commit: str,
    made_at: datetime,
    sealed: Seal | None = None,
    draws: Sequence[str] = (),
) -> str:
    """The page. Nothing on it was typed by hand. `draws` are all that were sealed, in words."""
    config = found[0].config
    samples = config.evaluate.generate.hypotheses - 1
    measured_on = "; ".join(f"{name} {text}" for name, text in machine.items())
    lines = [
        "# Evidence",
        "",
        "Written by `make evidence`; do not edit. Errors in mm, root-relative, on held-out labels; changes in % "
        "against the policy before, with 95 % paired-bootstrap intervals over "
        f"{config.evaluate.resamples:,} resamples; M = {samples} samples. The depth of the pelvis is taken from the "
        "label: errors say nothing of where a person stands. A column is of one store; the last two hold the mean over "
        "the seeds with Student's 95 % interval, and the smallest and the largest.",
        "",
        f"Commit {commit}, {made_at:%Y-%m-%d}; profile {config.profile}; {measured_on}.",
        "",
        _seal_in_words(sealed),
        "",
        f"## DPO round 1, change on {WILD_TEST}",
        "",
        *_table(found, _ALIGNED, lambda one: one.aligned_metrics),
        "",
        *_verdicts(found, lambda one: one.aligned),
        "",
        *_controlled(found),
        "## The policy before",
        "",
        *_table(found, _BASE, lambda one: one.aligned_metrics),
        "",
        f"## Cleaning round with {100 * _swapped(found):.0f} % of the pseudo-labels swapped between pictures",
        "",
        *_table(found, _CLEANED, lambda one: one.cleaned_metrics),
        *_filter_rows(found),
        "",
        *_verdicts(found, lambda one: one.cleaned),
        "",
        "## What each split was used for",
        "",
        *_HISTORY,
        "",
        "## Draws that were sealed",
        "",
        "A draw is made by `make seal` after recipe and domains are committed, and opened once by `make evidence`; who "
        "changes either needs a new one.",
        "",
        *(draws or ["- none yet"]),
        "- Before there were draws: after figures of seed 0 on wild/test had been published (commit f42f92e), the "
        "synthetic domains were changed (commit 0d7edd6) because these figures were too small; profile tiny was then "
        "measured on seeds 10 to 14, of which no choice had been made (evidence-first.md); that was another problem.",
        "",
        "## Where it stands",
        "",
        "All figures are rows of `metrics` in the stores that `make evidence` leaves, by these stages; policies and "
        "scorers are named by the digests of their weights.",
        "",
        *_digests(found),
        "",
        "## Wall time of the stages (s)",
        "",
        *_times(found),
    ]
    return "\n".join(lines) + "\n"


def _seal_in_words(sealed: Seal | None) -> str:
    if sealed is None:
        return "**Not sealed**: the seeds were named by hand, and may have been looked at before."
    return (
        f"Sealed on {sealed.drawn} at commit {sealed.commit}, after the recipe ({sealed.recipe[:12]}) and the domains "
        f"({sealed.domains[:12]}); held-out people {sealed.people}; opened {sealed.opened}."
    )


def _table(
    found: Sequence[SeedEvidence], rows: Sequence[_Row], metrics: Callable[[SeedEvidence], Metrics]
) -> list[str]:
    lines = _head(found)
    for title, name, role, target in rows:
        values = [metrics(one).get((name, role, target)) for one in found]
        lines.append(line(title, *map(cell, values), *last_cells(values)))
    return lines


def _head(found: Sequence[SeedEvidence], *last: str) -> list[str]:
    titles = ["", *(f"seed {one.seed}" for one in found), *(last or ("mean", "spread"))]
    return [line(*titles), line(*["---"] * len(titles))]


def _controlled(found: Sequence[SeedEvidence]) -> list[str]:
    if not all(one.control_metrics for one in found):
        return []
    metrics = [all_metrics(one) for one in found]
    return [
        "## What it has to show",
        "",
        "Means over the seeds with Student's 95 % interval. Goals were set before the draw.",
        "",
        *goal_lines(metrics),
        "",
        *ablations(metrics, [one.seed for one in found], found[0].config),
    ]


def all_metrics(one: SeedEvidence) -> Metrics:
    """Of the round, and of the controls beside it."""
    return {**one.aligned_metrics, **one.control_metrics}


def _filter_rows(found: Sequence[SeedEvidence]) -> list[str]:
    lines = []
    for title, name in (
        ("AUC of the score for swapped labels", "auc"),
        ("swapped labels among all", "swapped_share"),
        ("swapped labels among the kept", "swapped_among_kept"),
        ("kept", "kept_share"),
    ):
        values = [one.filter_metrics.get(name) for one in found]
        lines.append(line(title, *map(cell, values), *last_cells(values)))
    return lines


def _swapped(found: Sequence[SeedEvidence]) -> float:
    shares = [one.filter_metrics["swapped_share"].value for one in found if "swapped_share" in one.filter_metrics]
    return fmean(shares) if shares else 0.0


def _verdicts(found: Sequence[SeedEvidence], facts: Callable[[SeedEvidence], RoundFacts]) -> list[str]:
    return [f"- seed {one.seed}: {'promoted' if facts(one).promoted else 'kept'}; {facts(one).why}" for one in found]


def _digests(found: Sequence[SeedEvidence]) -> list[str]:
    rows: dict[str, list[str | None]] = {
        "policy before": [one.aligned.policy_before for one in found],
        "policy after": [one.aligned.policy_after for one in found],
        "scorer": [one.aligned.scorer for one in found],
        "pairs": [one.aligned.key("pair") for one in found],
        "comparison of the round": [one.aligned.key("compare") for one in found],
        "with all controls, mean errors": [_at(one.control_keys, 0) for one in found],
        "with all controls, other measures": [_at(one.control_keys, 1) for one in found],
        "policy after the cleaning round": [one.cleaned.policy_after for one in found],
        "comparison of the cleaning round": [one.cleaned.key("compare") for one in found],
    }
    heads = ["", *(f"seed {one.seed}" for one in found)]
    lines = [line(*heads), line(*["---"] * len(heads))]
    return lines + [line(title, *(f"`{name[:12]}`" if name else "" for name in names)) for title, names in rows.items()]


def _at(keys: Sequence[StageKey], place: int) -> str | None:
    return keys[place] if place < len(keys) else None


def _times(found: Sequence[SeedEvidence]) -> list[str]:
    by_seed = [{title: record.seconds for title, record in one.records} for one in found]
    titles = list(dict.fromkeys(title for times in by_seed for title in times))
    lines = _head(found, "mean")
    for title in titles:
        seconds = [times.get(title) for times in by_seed]
        lines.append(line(title, *("" if s is None else f"{s:.1f}" for s in seconds), _plain_mean(seconds)))
    totals = [sum(times.values()) for times in by_seed]
    lines.append(line("**all stages**", *(f"{total:.1f}" for total in totals), _plain_mean(totals)))
    return lines


def _plain_mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{fmean(known):.1f}" if known else ""
