"""plan: what the next round would reuse, resume and run. It goes through what a round does, with a dry runner."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from flows.cost.estimate import Estimate, estimate
from flows.order.clean import clean_and_measure
from flows.order.dpo import align_and_measure
from flows.order.foundations import lay_foundations
from flows.run.campaign.copies import copies_in_words
from flows.run.decision.judgement import about_judge
from flows.run.decision.renewal import scorer_of_round
from flows.run.dry import DryRunner, Look
from flows.run.round import Foundations, Kind, coming_round
from flows.run.runner import Runner
from infra import rounds
from schemas.layers import Configured
from tasks.engine.context import Context
from tasks.ingest.people.annotations import AnnotationSource


@dataclass(frozen=True)
class Plan:
    """The next round, stage by stage."""

    number: int
    resumed: bool
    looks: tuple[Look, ...]
    notes: tuple[str, ...]
    estimate: Estimate


def plan_round(
    context: Context,
    kind: Kind = "dpo",
    own: AnnotationSource | None = None,
    labels: str | None = None,
    configured: Configured | None = None,
) -> Plan:
    """What `adhmr run` (dpo) or `adhmr clean` would do now with the same options. `configured` says, as for runners,
    who said what of the context's configuration."""
    runner = DryRunner(context, configured)
    foundations = lay_foundations(runner)
    state = rounds.state(context.store, context.config.campaign)
    opened, resumed = coming_round(state, kind, foundations.base)
    runner.in_round(opened.number)
    work: Callable[[Runner, Foundations, Any], Any] = (
        partial(align_and_measure, own=own) if kind == "dpo" else partial(clean_and_measure, own=own, labels=labels)
    )
    scorer = scorer_of_round(runner, foundations.people.scorer, foundations.scorer, opened.policy)
    foundations = foundations._replace(scorer=scorer)
    candidate = work(runner, foundations, opened)
    runner.notes += about_judge(context.config)
    own_target = own.target if own is not None else None
    runner.notes += copies_in_words(context.store, context.config, foundations.people.ingests, own_target)
    if candidate.waiting is not None:
        runner.notes.append(f"the round {candidate.waiting}: a run ends after pair, and the round stays open.")
    elif kind == "dpo" and candidate.policy is None:
        runner.notes.append("a gate before training does not hold: the round will end there and keep its policy.")
    if candidate.waiting is None:
        runner.looks["report"] = Look("report", "run", "every round ends with it", None)
    looks = tuple(runner.looks.values())
    models = (foundations.base, foundations.scorer, opened.policy)
    costs = estimate(runner.context, looks, runner.stages, models)
    return Plan(opened.number, resumed, looks, tuple(runner.notes), costs)
