"""The frame of a round: opened or resumed, decided, reported, closed. What happens in between is the flow's own."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NamedTuple

from flows.run.campaign.copies import copies_in_words
from flows.run.campaign.opening import note_opening
from flows.run.campaign.people import People
from flows.run.decision.judgement import about_judge, decided_by
from flows.run.decision.renewal import scorer_of_round
from flows.run.decision.reviewed import Waiting
from flows.run.runner import Runner
from infra import rounds
from schemas.config.sources import SourcesConfig
from schemas.errors import DataError, EngineError, GateError
from schemas.ids import ModelDigest, Target
from tasks.engine.context import Context
from tasks.gates import GateVerdict, why_not
from tasks.report.facts import RoundFacts
from tasks.stages.compare import Compare
from tasks.stages.judge import Judge

if TYPE_CHECKING:
    from flows.run.live import LiveRunner

Kind = Literal["dpo", "clean"]
COMMANDS: dict[Kind, str] = {"dpo": "adhmr run", "clean": "adhmr clean"}


class Foundations(NamedTuple):
    """What rounds are built on: the ingested people, the first policy and the scorer."""

    people: People
    base: ModelDigest
    scorer: ModelDigest
    judge: ModelDigest | None = None
    """Who decides about promotions where no labels do, or watches beside labels."""
    raw: ModelDigest | None = None
    """What alignment of the first policy begins with in its place."""


class Round(NamedTuple):
    """The round at hand. `policy` was current when it was opened; `reference` is the campaign's first policy."""

    number: int
    policy: ModelDigest
    reference: ModelDigest


class Candidate(NamedTuple):
    """What a round comes to: a policy to promote, if one was trained, and what the gates said."""

    policy: ModelDigest | None
    verdicts: tuple[GateVerdict, ...] = ()
    notices: tuple[str, ...] = ()
    """What a reader must know of how it was trained."""
    waiting: Waiting | None = None
    """What the round waits for, if it does not come to an end now."""


def current_policy(context: Context) -> ModelDigest:
    """The campaign's current policy. DataError where it has none yet."""
    campaign = context.config.campaign
    policy = rounds.state(context.store, campaign).policy
    if policy is None:
        raise DataError(f"Campaign {campaign} has no policy yet: name one with --policy, or `adhmr run` makes one.")
    return ModelDigest(policy)


def coming_round(state: rounds.CampaignState, kind: Kind, base: ModelDigest) -> tuple[Round, bool]:
    """The round that a run of this kind would work on, and whether that means resuming it. `base` begins a campaign.

    Raises EngineError if a round of the other kind is open.
    """
    first = ModelDigest(state.first_policy or base)
    if not state.is_open:
        return Round(state.next_round, ModelDigest(state.policy or base), first), False
    opening = state.first(state.round, "opened")
    assert opening is not None
    if opening.why != _opening(kind):
        other: Kind = "clean" if kind == "dpo" else "dpo"
        raise EngineError(
            f"Round {state.round} of campaign {state.campaign} is an unfinished {other} round: finish it first with "
            f"`{COMMANDS[other]}` and the options that it began with, or end it with `adhmr close --why TEXT`."
        )
    # a round that was killed after its promotion must still measure against the policy that it began with
    return Round(state.round, ModelDigest(opening.policy or base), first), True


def work_through(
    runner: "LiveRunner",
    foundations: Foundations,
    kind: Kind,
    work: Callable[[Runner, Foundations, Round], Candidate],
    own: Target | None = None,
) -> RoundFacts | Waiting:
    """Open or resume the round, do its `work`, promote or keep, report, close. A gate that stops it ends it as well.
    One that waits for people stays open.

    `own` is a split that is learned from in the place of `sources.wild`.
    """
    from flows.run.round_artifacts import name_run, show_round
    from tasks.report.stage import Report

    store, config, progress = runner.context.store, runner.context.config, runner.context.progress
    opened, resumed = coming_round(rounds.state(store, config.campaign), kind, foundations.base)
    if not resumed:
        note_opening(store, config.campaign, opened.number, runner.configured, foundations.people.ingests)
    rounds.open_round(store, config.campaign, opened.number, why=_opening(kind))
    progress.say(f"round {opened.number} of campaign {config.campaign} {'goes on' if resumed else 'begins'}")
    name_run(kind, opened.number, config.campaign, opened.policy)
    runner.in_round(opened.number)
    try:
        scorer = scorer_of_round(runner, foundations.people.scorer, foundations.scorer, opened.policy)
        foundations = foundations._replace(scorer=scorer)
        candidate = work(runner, foundations, opened)
        why = why_not(candidate.verdicts)
    except GateError as stop:
        candidate, why = Candidate(None), str(stop)
    runner.may_go_on()
    if candidate.waiting is not None:
        progress.say(f"round {opened.number} {candidate.waiting}; it stays open")
        return candidate.waiting
    judge = foundations.judge if candidate.policy is not None and config.is_judged else None
    by = decided_by(config, judge) if judge is not None else ""
    keys = {run.name: run.key for run in runner.ran}
    compared = keys.get(Compare.name) or keys.get(Judge.name)
    if candidate.policy is not None and not why:
        rounds.promote(store, config.campaign, opened.number, candidate.policy, f"{by}all gates hold", compared)
    else:
        why = f"{by}{why}"
        rounds.keep(store, config.campaign, opened.number, why, compared)
    # the log counts: an earlier run may have decided, and been killed before it could report
    decision = rounds.state(store, config.campaign).decision(opened.number)
    assert decision is not None
    promoted = decision.event == "promoted"
    progress.say(f"round {opened.number}: {decision.event} ({decision.why})")
    notices = (
        *candidate.notices,
        *about_judge(config),
        *copies_in_words(store, config, foundations.people.ingests, own),
    )
    if candidate.policy is not None:
        notices += _notices(config.sources, own)
    facts = RoundFacts(
        kind=kind,
        campaign=config.campaign,
        number=opened.number,
        policy_before=opened.policy,
        policy_after=candidate.policy,
        reference=opened.reference,
        scorer=foundations.scorer,
        judge=judge,
        runs=tuple(runner.ran),
        verdicts=candidate.verdicts,
        promoted=promoted,
        why=decision.why,
        notices=notices,
        said=dict(runner.configured.origins),
    )
    runner.run(Report(facts))
    rounds.close_round(store, config.campaign, opened.number, "promoted" if promoted else "kept")
    show_round(store, config, facts)
    return facts


def _notices(sources: SourcesConfig, own: Target | None) -> tuple[str, ...]:
    """What to say where errors are measured on people of other data sets than those that are learned from."""
    wild = sources.targets("wild") if own is None else (own,)
    measured = sources.held_out
    unmeasured = [str(target) for target in wild if target.dataset not in {held_out.dataset for held_out in measured}]
    if not unmeasured or not measured:
        return ()
    return (
        f"This round learns from people of {', '.join(unmeasured)}. All errors on this page were measured on held-out "
        f"people of other data sets ({', '.join(map(str, measured))}): they say nothing certain about the former.",
    )


def _opening(kind: Kind) -> str:
    """What the log says of a round's kind."""
    return f"{kind} round"
