"""docs/evidence.md as text: every figure for every seed with its interval, means over the seeds and their spread."""

from collections.abc import Callable, Sequence
from statistics import fmean

from schemas.config.engine import EngineConfig
from schemas.ids import Target
from schemas.splits import SCORER_TRAIN, SOURCE_TEST, SOURCE_TRAIN, WILD_TEST, WILD_TRAIN, WILD_VALIDATION
from tasks.report.measured import Metrics
from tasks.rows.metrics import DIVERSITY
from tests.evidence.ablations import ablations
from tests.evidence.figures import cell, last_cells, line
from tests.evidence.goals import ENERGY, cleaning_goals, goal_lines, goals
from tests.evidence.results import SeedEvidence, Told
from tests.evidence.seal import Seal

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
    ("energy score", ENERGY, "before", WILD_TEST),
    ("diversity", DIVERSITY, "before", WILD_TEST),
    ("zero-noise MPVPE on source", "zero_noise_mpvpe", "before", SOURCE_TEST),
)
_CLEANED: tuple[_Row, ...] = (
    ("expected MPVPE, kept share", "expected_mpvpe", "change", WILD_TEST),
    ("expected MPVPE, all labels", "expected_mpvpe", "change_all_labels", WILD_TEST),
    ("expected MPVPE, kept minus all (points)", "expected_mpvpe", "change_minus_all_labels", WILD_TEST),
    ("zero-noise MPVPE, kept share", "zero_noise_mpvpe", "change", WILD_TEST),
    ("zero-noise MPVPE, all labels", "zero_noise_mpvpe", "change_all_labels", WILD_TEST),
    ("zero-noise MPVPE, kept minus all (points)", "zero_noise_mpvpe", "change_minus_all_labels", WILD_TEST),
    ("expected MPVPE, kept minus random (points)", "expected_mpvpe", "change_minus_random_labels", WILD_TEST),
    ("zero-noise MPVPE, kept minus random (points)", "zero_noise_mpvpe", "change_minus_random_labels", WILD_TEST),
    ("best of M MPVPE, kept share", "best_of_m_mpvpe", "change", WILD_TEST),
    ("diversity, kept share", DIVERSITY, "change", WILD_TEST),
    ("source drift, zero-noise MPVPE", "drift", "change", SOURCE_TEST),
)
_HISTORY = (
    f"- **{SOURCE_TRAIN}**: trains the base policy, and is replayed by every later training. **{SCORER_TRAIN}**: "
    f"trains the scorer. **{WILD_TRAIN}**: gives hypotheses, pairs and pseudo-labels; its labels are never read.",
    f"- **{WILD_VALIDATION}**: gates read it, and so did every choice of the recipe (docs/recipe.md), on low seeds.",
    f"- **{WILD_TEST}**: for pages like this one.",
    f"- **{SOURCE_TEST}**: drift, here and in the gates.",
)


def evidence_page(
    found: Sequence[SeedEvidence],
    config: EngineConfig,
    sealed: Seal | None = None,
    draws: Sequence[str] = (),
    came_to: Sequence[str] = (),
) -> str:
    """The page of seeds of the profile `config`. Nothing on it was typed by hand. `draws` are all that were sealed, in
    words, and `came_to` a table of what they came to."""
    samples = config.evaluate.generate.hypotheses - 1
    lines = [
        "# Evidence",
        "",
        "Written by `make evidence`; do not edit. Errors in mm, root-relative, on held-out labels; changes in % "
        "against the policy before, with 95 % paired-bootstrap intervals over "
        f"{config.evaluate.resamples:,} resamples; M = {samples} samples. The depth of the pelvis is taken from the "
        "label: errors say nothing of where a person stands. A column is of one store; the last two hold the mean over "
        "the seeds with Student's 95 % interval, and the smallest and the largest.",
        "",
        f"Profile {config.profile}. {_where(found)}",
        "",
        _seal_in_words(sealed),
        "",
        f"## DPO round 1, change on {WILD_TEST}",
        "",
        *_table(found, _ALIGNED, lambda one: one.aligned_metrics),
        "",
        *_verdicts(found, lambda one: one.aligned),
        "",
        *_controlled(found, config),
        "## The policy before",
        "",
        *_table(found, _BASE, lambda one: one.all_metrics),
        "",
        f"## Cleaning round with {100 * _swapped(found):.0f} % of the pseudo-labels swapped between pictures",
        "",
        "What it has to show; goals were set before the draw:",
        "",
        *goal_lines(cleaning_goals(found)),
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
        "- Of the draw of 2026-11-29 the commit's name was put in by hand: a wheel had slipped into that commit, which "
        "was written again without it when the first seed had made its pictures, and nothing was measured yet. "
        "Digests, seeds and people are as they were drawn. On its first three seeds labels of others were cleaned on "
        "wild/test, too, after it had been measured (cleaning.md).",
        "- The draw of 2026-11-30 was measured twice: what had been measured, three of the five seeds, was lost with "
        "its machine, and so was the commit that it was made at; the one that is named here has the same recipe. Seeds "
        "and people are as they were drawn. Those three, in their order, had come to −11.5, −11.1 and −12.5 % at zero "
        "noise on another processor, and the first of their rounds was refused there, too, by a drift of 3.05 %. The "
        "goals of cleaning were set before that draw; their commit was lost as well, and they are written again here.",
        "- Before there were draws: after figures of seed 0 on wild/test had been published (commit f42f92e), the "
        "synthetic domains were changed (commit 0d7edd6) because these figures were too small; profile tiny was then "
        "measured on seeds 10 to 14, of which no choice had been made (evidence-first.md); that was another problem.",
        "",
        *(["What each came to, on its own seeds; the last is this page's:", "", *came_to, ""] if came_to else []),
        "Other results have pages of their own: what was tried on the way and a campaign of three rounds (recipe.md), "
        "labels of others (cleaning.md), the scorer with one thing changed (scorer.md), objectives compared "
        "(study-objectives.md).",
        "",
        "## Where it stands",
        "",
        "All figures are rows of `metrics` in the stores that `make evidence` leaves, by these stages; policies and "
        "scorers are named by the digests of their weights.",
        "",
        *_digests(found),
        "",
        "## Wall time of the stages of both rounds (s), without those of the controls",
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


def _controlled(found: Sequence[SeedEvidence], config: EngineConfig) -> list[str]:
    metrics = [one.all_metrics for one in found]
    return [
        "## What it has to show",
        "",
        "Means over the seeds with Student's 95 % interval. Goals were set before the draw.",
        "",
        *goal_lines(goals(metrics)),
        "",
        *ablations(metrics, [one.seed for one in found], config),
    ]


def _where(found: Sequence[SeedEvidence]) -> str:
    """When, at which commit and on what each seed was measured."""
    seeds: dict[str, list[str]] = {}
    for one in found:
        machine = "; ".join(f"{name} {text}" for name, text in one.machine.items())
        seeds.setdefault(f"{one.measured}, commit {one.commit}; {machine}", []).append(str(one.seed))
    return " ".join(f"Seeds {', '.join(of)}: {told}." for told, of in seeds.items())


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


def _verdicts(found: Sequence[SeedEvidence], told: Callable[[SeedEvidence], Told]) -> list[str]:
    return [f"- seed {one.seed}: {'promoted' if told(one).promoted else 'kept'}; {told(one).why}" for one in found]


def _digests(found: Sequence[SeedEvidence]) -> list[str]:
    rows: dict[str, list[str | None]] = {
        "policy before": [one.aligned.policy_before for one in found],
        "policy after": [one.aligned.policy_after for one in found],
        "scorer": [one.aligned.scorer for one in found],
        "pairs": [one.aligned.pairs for one in found],
        "comparison of the round": [one.aligned.comparison for one in found],
        "with all controls": [" ".join(key[:12] for key in one.controls) for one in found],
        "policy after the cleaning round": [one.cleaned.policy_after for one in found],
        "comparison of the cleaning round": [one.cleaned.comparison for one in found],
    }
    heads = ["", *(f"seed {one.seed}" for one in found)]
    lines = [line(*heads), line(*["---"] * len(heads))]
    return lines + [line(title, *map(_names, names)) for title, names in rows.items()]


def _names(digests: str | None) -> str:
    return " ".join(f"`{one[:12]}`" for one in (digests or "").split())


def _times(found: Sequence[SeedEvidence]) -> list[str]:
    by_seed = [one.seconds for one in found]
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
