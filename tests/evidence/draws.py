"""What earlier draws came to, for the page of the last: nobody should see the one that was good and not the others."""

from collections.abc import Sequence
from pathlib import Path

from schemas.ids import Target
from schemas.splits import SOURCE_TEST, WILD_TEST
from tasks.rows.metrics import DIVERSITY
from tests.evidence.figures import line, of_seeds
from tests.evidence.results import Sealing, SeedEvidence, read_result
from tests.evidence.seal import Seal

_FIGURES: Sequence[tuple[str, str, str, Target]] = (
    ("zero noise", "zero_noise_mpvpe", "change", WILD_TEST),
    ("best of M", "best_of_m_mpvpe", "change", WILD_TEST),
    ("diversity", DIVERSITY, "change", WILD_TEST),
    ("source drift", "drift", "change", SOURCE_TEST),
    ("zero noise, minus the scorer's knowledge distilled", "zero_noise_mpvpe", "change_minus_distilled", WILD_TEST),
)


def draw_lines(seals: Sequence[Seal], folder: Path) -> list[str]:
    """A table with a row for each draw whose seeds all have their results in `folder`, the last draw among them."""
    rows = [
        line("draw", "seeds", *(title for title, *_ in _FIGURES), "rounds promoted", "cleaning promoted"),
        line(*["---"] * (len(_FIGURES) + 4)),
    ]
    for seal in seals:
        found = _measured(seal, folder)
        if found:
            rows.append(line(f"{seal.drawn}, recipe {seal.recipe[:12]}", str(len(found)), *_told(found)))
    return rows


def _measured(seal: Seal, folder: Path) -> list[SeedEvidence]:
    sealing = Sealing(seal.recipe, seal.domains)
    found = [read_result(folder, seal.profile, seed, sealing) for seed in seal.seeds]
    known = [one for one in found if one is not None]
    return known if len(known) == len(found) else []


def _told(found: Sequence[SeedEvidence]) -> list[str]:
    metrics = [one.all_metrics for one in found]
    figures = [of_seeds(metrics, name, role, target) for _, name, role, target in _FIGURES]
    return [
        *("" if figure is None else figure.told for figure in figures),
        f"{sum(one.aligned.promoted for one in found)} of {len(found)}",
        f"{sum(one.cleaned.promoted for one in found)} of {len(found)}",
    ]
