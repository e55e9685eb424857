"""What every measure on a page means, in a sentence each, and its name in words."""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from tasks.measures.table import NEW


class Definition(NamedTuple):
    """A measure and what it means."""

    measure: str
    text: str
    told_by: str = ""
    """Pattern that tells it in the title of a row; its name, if nothing else does."""

    @property
    def anchor(self) -> str:
        """Its name in the addresses of a page."""
        return "means-" + re.sub(r"\W+", "-", self.measure.lower()).strip("-")

    def stands_in(self, title: str) -> bool:
        """Whether the title of a row speaks of it."""
        words = self.told_by or re.escape(self.measure)
        return re.search(rf"(?<![\w-])(?:{words})(?!\w)", title, re.IGNORECASE) is not None


DEFINITIONS: Final = (
    Definition(
        "MPVPE", "mean distance of a mesh's vertices from the label's, in mm, after the pelvises are laid together."
    ),
    Definition("MPJPE", "the same of the 24 SMPL joints."),
    Definition(
        "PA-MPJPE", "MPJPE after the turn, scale and shift that bring a hypothesis's joints nearest to the label's."
    ),
    Definition(
        "zero-noise",
        "error, or score, of the sample that starts from noise of size zero: the policy's one answer.",
        "zero[- ]noise",
    ),
    Definition(
        "expected",
        "mean error, or score, of a person's M samples from random noise: what one of them is worth.",
    ),
    Definition(
        "best of M",
        "least error among these samples, found with the label: what a choice without mistakes would give.",
        "best of",
    ),
    Definition(
        "least of M",
        "by a published protocol: least error, found with the label, among the M hypotheses, their mean, and the mean "
        "of the best-scored.",
    ),
    Definition("mean of the best-scored", "by a published protocol: error of the mean of the five best-scored."),
    Definition("mean of M", "by a published protocol: error of the mean of all M hypotheses."),
    Definition("selected", "error of that one of these samples which the scorer prefers."),
    Definition(
        "diversity",
        "how far these samples lie apart: root mean square distance of a joint, relative to the pelvis, from its mean "
        "place, averaged over the 29 joints and over people, in mm.",
    ),
    Definition(
        "drift",
        "change of the error on held-out people of the kind that the first policy was trained for: above zero, "
        "something was forgotten.",
    ),
    Definition(
        "change", "mean after against mean before, of the same people, in %; below zero, an error became smaller."
    ),
    Definition(
        "Spearman",
        "correlation of ranks by score and by error, best first in both, within each person's samples, and its mean "
        "over people: 1 is the same order, 0 says nothing; over all samples together it is easier.",
    ),
    Definition("margin", "score of a pair's winner less that of its loser."),
    Definition(
        "AUC", "chance that the score of a label as it was is higher than that of a swapped one; 0.5 says nothing."
    ),
    Definition(
        "swapped",
        "given to another person on purpose, to see whether the filter notices.",
        "(?<!people )(?<!\\bor )swapped",  # pairs are swapped, too
    ),
    Definition("score", "what HMR-Scorer gives a body in a picture: between 0 and 1, higher is better.", "scores?"),
    Definition(
        "judge",
        "a second scorer that chose no pair, and decides where nobody has labels: by its scores of people who were set "
        "aside, whose pictures nothing was learned from. It measures no error, and shares what the scorer has wrong.",
        "(?:the )?judge(?:'s)?",
    ),
    Definition("joint limits", "how far a joint can be turned from the T-pose at most, by swing and twist."),
    Definition(
        "bone lengths",
        "those of the body that a hypothesis's betas give; its own joints in space miss them by so much of their sum.",
    ),
    Definition("kept share", "pseudo-labels that are trained on, of all that were scored.", "(pseudo-labels )?kept"),
    Definition(
        "dropped", "not trained on, as their score is below the least that is kept.", "(pseudo-labels )?dropped"
    ),
    Definition(
        "disagreement with the scorer",
        "share of the pairs whose loser people find better, of those in which they find one of the two better.",
        "disagreement with",
    ),
    Definition(
        "disagreement between hypotheses",
        "how far a person's own samples lie apart: what diversity is the mean of over people, in mm.",
        "disagreement(?! with)",
    ),
    Definition(
        "agreement between reviewers",
        "share of the couples of reviewers of one pair whose verdicts (accept, swap, reject) are the same.",
        "agreement",
    ),
    Definition(
        "kappa",
        "the same beyond what chance would give: 1 is always the same, 0 as often as by chance.",
        "(?:(?:Cohen's|Fleiss') )?kappa",
    ),
    Definition("pairs", "a winner and a loser each, both of the same person.", "(?<!random )pairs"),
    Definition("random pairs", "a control: the same training, on hypotheses that were paired whatever their scores."),
    Definition(
        "less noise", "a control: the policy before, whose samples start from smaller noise; nothing is trained."
    ),
    Definition("all labels", "a control: the same training, on all pseudo-labels."),
    Definition("random labels", "a control: the same training, on as many pseudo-labels, drawn at random."),
    Definition("own labels", "a control: the same training, on the old policy's zero-noise labels, filtered alike."),
    *(Definition(measure.title, f"{measure.text}.") for measure in NEW if not measure.name.startswith("best_of")),
    Definition("failed share", "units of a stage that could not be done, of all that went in."),
    Definition(
        "denoising error",
        "squared error of what the denoiser makes of a pose with noise; against the reference's: less that of the "
        "frozen policy that alignment measures against.",
    ),
    Definition(
        "preference accuracy",
        "share of the pairs whose winner's denoising error, against the reference's, is less than its loser's.",
    ),
    Definition("replay", "denoising error on labelled people who are trained on again beside the pairs."),
    Definition(
        "preference loss",
        "that of the comparisons alone; DPO's is log 2 for each of two terms, joints and twists, where nothing was "
        "learned.",
    ),
    Definition("loss", "what a training makes small: the weighted sum of its terms."),
)
"""In the order in which a reader meets them."""

_SUFFIXES: Final = {"_pa_mpjpe": "PA-MPJPE", "_pa_mpvpe": "PA-MPVPE", "_mpjpe": "MPJPE", "_mpvpe": "MPVPE"}
_WORDS: Final = {"zero_noise": "zero-noise", "spearman_within": "Spearman within a person,"}


def defined(titles: Iterable[str]) -> list[Definition]:
    """The definitions of all measures that the titles of rows speak of."""
    listed = list(titles)
    return [one for one in DEFINITIONS if any(one.stands_in(title) for title in listed)]


def in_words(name: str, samples: int) -> str:
    """The name of a row of `metrics` as a reader knows it; `samples` are M of the best of M."""
    figure, error = name, ""
    for suffix, spelled in _SUFFIXES.items():
        if name.endswith(suffix):
            figure, error = name.removesuffix(suffix), f" {spelled}"
            break
    words = _WORDS | {"best_of_m": f"best of {samples}"}
    return words.get(figure, figure.replace("_", " ")) + error
