"""README's table of the evidence: the default beside what could have beaten it, means over the seeds."""

from collections.abc import Sequence
from typing import Final

from schemas.config.engine import EngineConfig
from schemas.splits import WILD_TEST
from tasks.rows.metrics import DIVERSITY
from tests.evidence.controls import CONSTANT_OFFSET
from tests.evidence.figures import number, of_seeds
from tests.evidence.results import ENERGY, SeedEvidence
from tests.evidence.seal import Seal

SECTION: Final = "evidence"
"""The marks in README between which the table goes."""
_FIGURES: Final = ("zero_noise_mpvpe", "expected_mpvpe", "best_of_m_mpvpe", ENERGY, DIVERSITY)
_ROWS: Final = (
    ("*the policy before*", "before"),
    ("the default", "change"),
    ("the same on random pairs", "change_random_pairs"),
    ("without the preference term: anchor and replay", "change_no_preference"),
    ("winners alone (SFT)", "change_winners_alone"),
    ("what a denoiser draws that learned the scorer's labels", "change_distilled"),
    ("the scorer's labels used directly", "change_scorer_labels"),
    ("one constant offset for everybody", f"change_{CONSTANT_OFFSET}"),
    ("*ceiling*: their true labels, as many steps", "change_ceiling"),
)


def readme_table(found: Sequence[SeedEvidence], config: EngineConfig, sealed: Seal | None) -> str:
    """What README says of the evidence; rows of controls that were not trained are left out."""
    samples = config.evaluate.generate.hypotheses - 1
    kind = "sealed before anybody saw them" if sealed else "named by hand, **not sealed**"
    metrics = [one.all_metrics for one in found]
    lines = [
        f"Round 1 on {len(found)} seeds, {kind}, {config.synthesize.wild_test:,} held-out people ({WILD_TEST}) each:",
        "the policy before in mm, then changes in %, mean over the seeds, at zero noise with Student's 95 % interval.",
        "",
        f"| what is trained | zero-noise MPVPE | expected | best of {samples} | energy score | diversity |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for title, role in _ROWS:
        figures = [of_seeds(metrics, name, role, WILD_TEST) for name in _FIGURES]
        known = [figure for figure in figures if figure is not None]
        if len(known) < len(figures):
            continue
        zero_noise, *others = (number(figure.mean, figure.unit).replace(" %", "") for figure in known)
        if role != "before":
            zero_noise = known[0].told.replace(" %", "")
        lines.append(f"| {' | '.join([title, zero_noise, *others])} |")
    return "\n".join(lines)
