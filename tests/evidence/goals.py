"""What the default has to show before it may be said that preferences earn its gain, and whether the seeds show it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from schemas.splits import SOURCE_TEST, WILD_TEST, WILD_VALIDATION
from tasks.report.measured import Metrics
from tasks.rows.metrics import DIVERSITY
from tests.evidence.figures import OfSeeds, line, number, of_seeds, together
from tests.evidence.results import SeedEvidence

ENERGY: Final = "energy_score"
ZERO_NOISE, BEST = "zero_noise_mpvpe", "best_of_m_mpvpe"
FOUND: Final = 0.9
"""Least AUC of the score for swapped labels."""

OTHERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "random_pairs": "random pairs",
        "replay_alone": "replay alone",
        "constant_offset": "the constant offset",
        "distilled": "the scorer's knowledge distilled",
    }
)
"""Controls that the default must beat with intervals apart, at zero noise."""


@dataclass(frozen=True)
class Goal:
    """A goal, what the seeds came to, and whether that reaches it."""

    text: str
    told: str
    is_reached: bool


def goals(found: Sequence[Metrics]) -> Iterator[Goal]:
    """Those that can be told from what the seeds have; `found` are their metrics, the controls' among them."""
    yield from _gains(found)
    yield from _costs(found)
    yield from _apart(found)
    yield from _causes(found)


def cleaning_goals(found: Sequence[SeedEvidence]) -> Iterator[Goal]:
    """What the cleaning round has to show, of whose labels a share was swapped."""
    promoted, seeds = sum(one.cleaned.promoted for one in found), len(found)
    yield Goal("promoted on four of five seeds, or more", f"{promoted} of {seeds}", 5 * promoted >= 4 * seeds)
    auc = together([one.filter_metrics.get("auc") for one in found])
    if auc is not None:
        yield Goal("swapped labels found with an AUC of .9 or more on each seed", auc.told, min(auc.values) >= FOUND)
    metrics = [one.cleaned_metrics for one in found]
    for control, title in (("all_labels", "all labels"), ("random_labels", "as many at random")):
        for name, words in ((ZERO_NOISE, "zero noise"), ("expected_mpvpe", "expected")):
            apart = of_seeds(metrics, name, f"change_minus_{control}", WILD_TEST)
            if apart is not None:
                text = f"{words}: the kept better than {title}, the interval over seeds below 0"
                yield Goal(text, apart.told, apart.ends[1] < 0)


def goal_lines(found: Iterable[Goal]) -> list[str]:
    """The same as a table."""
    rows = [line("goal", "came to", ""), line("---", "---", "---")]
    for goal in found:
        rows.append(line(goal.text, goal.told, "reached" if goal.is_reached else "**not reached**"))
    return rows


def _gains(found: Sequence[Metrics]) -> Iterator[Goal]:
    for name, title, least, below in ((ZERO_NOISE, "zero noise", 5.0, -4.0), (BEST, "best of M", 4.0, -3.0)):
        change = of_seeds(found, name, "change", WILD_TEST)
        if change is not None:
            reached = change.mean <= -least and change.ends[1] < below
            text = f"MPVPE at {title} better by {least:g} % or more, the interval over seeds below {number(below, '%')}"
            yield Goal(text, change.told, reached)
    energy = of_seeds(found, ENERGY, "change", WILD_TEST)
    if energy is not None:
        yield Goal("energy score better, the interval below 0", energy.told, energy.ends[1] < 0)


def _costs(found: Sequence[Metrics]) -> Iterator[Goal]:
    diversity = of_seeds(found, DIVERSITY, "change", WILD_TEST)
    if diversity is not None:
        yield Goal("95 % of the policy's diversity kept, or more", diversity.told, diversity.mean >= -5)
    drift = of_seeds(found, "drift", "change", SOURCE_TEST)
    if drift is not None:
        yield Goal("source drift of 2.5 % at most", drift.told, drift.mean <= 2.5)
    ranked = of_seeds(found, "spearman_within_mpvpe", "before", WILD_VALIDATION)
    if ranked is not None:
        yield Goal("the scorer's Spearman within an image .35 or more, on samples", ranked.told, ranked.mean >= 0.35)


def _apart(found: Sequence[Metrics]) -> Iterator[Goal]:
    own = of_seeds(found, ZERO_NOISE, "change", WILD_TEST)
    winners = of_seeds(found, ZERO_NOISE, "change_minus_winners_alone", WILD_TEST)
    if winners is not None:
        text = "at zero noise better than the winners alone (SFT) by 2.5 points or more, the interval below 0"
        yield Goal(text, winners.told, winners.mean <= -2.5 and winners.ends[1] < 0)
    for role, title in OTHERS.items():
        other = of_seeds(found, ZERO_NOISE, f"change_{role}", WILD_TEST)
        if own is not None and other is not None:
            told = f"{own.told} and {other.told}{_by_seed(found, role)}"
            yield Goal(f"at zero noise better than {title}, intervals over seeds apart", told, is_below(own, other))
    expected = of_seeds(found, "expected_mpvpe", "change", WILD_TEST)
    less = of_seeds(found, "expected_mpvpe", "change_less_noise", WILD_TEST)
    if expected is not None and less is not None:
        told = f"{expected.told} and {less.told}"
        text = "expected error better than with less noise, intervals over seeds apart"
        yield Goal(text, told, is_below(expected, less))


def _by_seed(found: Sequence[Metrics], role: str) -> str:
    """The difference of each seed, in points: seeds that are hard are so for both, which two intervals don't show."""
    minus = of_seeds(found, ZERO_NOISE, f"change_minus_{role}", WILD_TEST)
    return "" if minus is None else f"; the difference seed by seed {minus.told}"


def _causes(found: Sequence[Metrics]) -> Iterator[Goal]:
    own = of_seeds(found, ZERO_NOISE, "change", WILD_TEST)
    if own is None:
        return
    without = of_seeds(found, ZERO_NOISE, "change_no_preference", WILD_TEST)
    if without is not None:
        text = "without the preference term two thirds of the gain go, or more"
        yield Goal(text, f"{without.told} of {own.told} stay", own.mean < 0 and without.mean >= own.mean / 3)
    constant = of_seeds(found, ZERO_NOISE, "change_constant_offset", WILD_TEST)
    if constant is not None:
        text = "the constant offset gives less than a quarter of the gain"
        yield Goal(text, f"{constant.told} of {own.told}", own.mean < 0 and constant.mean > own.mean / 4)


def is_below(lower: OfSeeds, upper: OfSeeds) -> bool:
    """Whether two intervals over seeds are apart; never for one seed alone."""
    return lower.ends[1] < upper.ends[0]
