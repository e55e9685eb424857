"""The curve doctor: the rules in their order, what each means, and the fields of the configuration that change it."""

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from schemas.config.engine import EngineConfig
from tasks.report.curves.findings import Cure, Diagnosis, Finding
from tasks.report.curves.rules import (
    Evidence,
    Lacks,
    Look,
    both_errors_rise,
    diversity_collapses,
    loss_is_stuck,
    margin_without_error,
    score_without_error,
    winners_error_rises,
)


class Rule(NamedTuple):
    """A rule, and what to do where it holds."""

    look: Look
    meaning: str
    cures: Mapping[str, str]
    """Fields of the configuration, by dotted name, and what to do with each."""


RULES: Final[Mapping[str, Rule]] = {
    "both denoising errors rise": Rule(
        both_errors_rise,
        "The margin may grow all the same, but the policy forgets what it could: winners get less likely, too.",
        {
            "align.beta": "lower it: a large one pays for losers that get worse, whatever becomes of winners",
            "align.anchor": "raise it, with the objective anchored_dpo: it holds the winner's own error",
            "align.replay": "raise it: labelled people hold what the policy knew",
        },
    ),
    "the winner's denoising error rises": Rule(
        winners_error_rises,
        "The policy moves away from what it is to learn, and the preference accuracy falls with it.",
        {
            "align.optimiser.learning_rate": "lower it: steps that are too long leave the winners",
            "align.anchor": "raise it, with the objective anchored_dpo: it holds the winner's own error",
            "align.objective": "sdpo scales the loser's gradient so that a step does not raise the winner's error",
        },
    ),
    "the preference loss is stuck at log 2 per term": Rule(
        loss_is_stuck,
        "The denoiser tells winners from losers no better than the reference does: it has learned nothing of the "
        "pairs. What changed comes from other terms.",
        {
            "align.optimiser.learning_rate": "raise it",
            "align.optimiser.steps": "raise it",
            "align.beta": "raise it: at a small one the errors' differences hardly count",
        },
    ),
    "the margin rises while the error is flat": Rule(
        margin_without_error,
        "The policy learns these pairs, and held-out people gain nothing: the pairs teach something else than errors, "
        "or are learned by heart.",
        {
            "pair.least_margin": "raise it: pairs whose scores are near teach the scorer's noise",
            "generate.hypotheses": "raise it: best and worst of more lie farther apart",
            "align.optimiser.steps": "lower it, if the margin rises early",
        },
    ),
    "the score rises while millimetres do not fall": Rule(
        score_without_error,
        "The policy has learned what the scorer has wrong (reward hacking).",
        {
            "gates.watch_score": "true keeps the old policy where this happens",
            "renew.scorer": "retrain makes a scorer that knows this policy's hypotheses",
            "align.optimiser.steps": "lower it: a shorter training goes less far where the scorer is wrong",
        },
    ),
    "diversity collapses": Rule(
        diversity_collapses,
        "Another round that takes as much would end below the limit of the gate: hypotheses become one answer, and "
        "pairs have nothing left to tell apart.",
        {
            "align.optimiser.steps": "lower it: a shorter training takes less",
            "align.replay": "raise it: labelled people hold the spread",
            "gates.min_diversity": "the limit; what lies below it is not promoted",
        },
    ),
}
"""By name, in the order of the page."""


def diagnose(seen: Evidence, config: EngineConfig) -> Diagnosis:
    """What the rules say of a round that ran with this configuration."""
    plain = config.model_dump(mode="json")
    findings: list[Finding] = []
    clear: list[str] = []
    unseen: list[tuple[str, str]] = []
    for name, rule in RULES.items():
        rows = rule.look(seen)
        if isinstance(rows, Lacks):
            unseen.append((name, rows.what))
        elif rows:
            cures = [Cure(field, _value(plain, field), advice) for field, advice in rule.cures.items()]
            findings.append(Finding(name, rule.meaning, rows, cures))
        else:
            clear.append(name)
    return Diagnosis(tuple(findings), tuple(clear), tuple(unseen))


def _value(plain: Any, field: str) -> str:
    for part in field.split("."):
        plain = plain[part]
    return plain if isinstance(plain, str) else json.dumps(plain)
