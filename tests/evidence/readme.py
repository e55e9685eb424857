"""README's table of the evidence: the default beside what could have beaten it, means over the seeds."""

from collections.abc import Sequence
from typing import Final

from schemas.splits import WILD_TEST
from tasks.rows.metrics import DIVERSITY
from tests.evidence.controls import CONSTANT_OFFSET
from tests.evidence.page import SeedEvidence, all_metrics, mean_of, spread_of
from tests.evidence.seal import Seal

SECTION: Final = "evidence"
"""The marks in README between which the table goes."""
_FIGURES: Final = ("zero_noise_mpvpe", "expected_mpvpe", "best_of_m_mpvpe", DIVERSITY)
_ROWS: Final = (
    ("*the policy before*", "before"),
    ("the default", "change"),
    ("the same on random pairs", "change_random_pairs"),
    ("without the preference term: anchor and replay", "change_no_preference"),
    ("winners alone (SFT)", "change_winners_alone"),
    ("what a denoiser draws that learned the scorer's labels", "change_distilled"),
    ("the scorer's labels used directly", "change_scorer_labels"),
    ("one constant offset for everybody", f"change_{CONSTANT_OFFSET}"),
    ("*ceiling*: the true labels of the same people", "change_ceiling"),
)


def readme_table(found: Sequence[SeedEvidence], sealed: Seal | None) -> str:
    """What README says of the evidence; rows of controls that were not trained are left out."""
    config = found[0].config
    samples = config.evaluate.generate.hypotheses - 1
    kind = "that were sealed before anybody saw them" if sealed else "named by hand, **not sealed**"
    lines = [
        f"Round 1 of {len(found)} stores, of seeds {kind}, each measured on {config.synthesize.wild_test:,}",
        f"held-out in-the-wild people ({WILD_TEST}). MPVPE and diversity: the policy before in mm, then changes in %,",
        "mean over the seeds [smallest, largest].",
        "",
        f"| what is trained | zero-noise | expected | best of {samples} | diversity |",
        "| --- | --- | --- | --- | --- |",
    ]
    for title, role in _ROWS:
        columns = [[all_metrics(one).get((name, role, WILD_TEST)) for one in found] for name in _FIGURES]
        if any(None in values for values in columns):
            continue
        zero_noise, *others = (mean_of(values).replace(" %", "") for values in columns)
        if role != "before":
            zero_noise += f" [{spread_of(columns[0]).replace(' %', '')}]"
        lines.append(f"| {' | '.join([title, zero_noise, *others])} |")
    return "\n".join(lines)
