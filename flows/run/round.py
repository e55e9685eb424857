"""The frame of a round: opened or resumed, decided, reported, closed. What happens in between is the flow's own."""

from collections.abc import Callable
from typing import Literal, NamedTuple

from flows.bootstrap import Ground
from flows.run import pipeline
from flows.run.round_artifacts import name_run, show_round
from flows.run.runner import Line, Running
from infra import rounds
from schemas.errors import EngineError, GateError
from tasks.gates import GateVerdict, why_not
from tasks.report.facts import RoundFacts

Kind = Literal["dpo", "clean"]
COMMANDS: dict[Kind, str] = {"dpo": "adhmr run", "clean": "adhmr clean"}


class Opened(NamedTuple):
    """The round at hand. `policy` was current when it was opened; `reference` is the campaign's first policy."""

    number: int
    policy: str
    reference: str


class Proposal(NamedTuple):
    """What a round found: a policy to promote, if one was trained, and what the gates said."""

    policy: str | None
    verdicts: tuple[GateVerdict, ...] = ()


def coming_round(seen: rounds.CampaignState, kind: Kind, base: str) -> tuple[Opened, bool]:
    """The round that a run of this kind would work on, and whether that means resuming it. `base` begins a campaign.

    Raises EngineError if a round of the other kind is open.
    """
    first = seen.first_policy or base
    if not seen.is_open:
        return Opened(seen.next_round, seen.policy or base, first), False
    opening = next(event for event in seen.events if event.round == seen.round and event.event == "opened")
    if opening.why != _opening(kind):
        other: Kind = "clean" if kind == "dpo" else "dpo"
        raise EngineError(
            f"Round {seen.round} of campaign {seen.campaign} is an unfinished {other} round: finish it first with "
            f"`{COMMANDS[other]}` and the options that it began with, or end it with `adhmr close --why TEXT`."
        )
    # a round that was killed after its promotion must still measure against the policy that it began with
    return Opened(seen.round, opening.policy or base, first), True


def work_through(
    line: Running, ground: Ground, kind: Kind, work: Callable[[Line, Ground, Opened], Proposal], notices: list[str]
) -> RoundFacts:
    """Open or resume the round, do its `work`, promote or keep, report, close. A gate that stops it ends it as well."""
    store, config, progress = line.context.store, line.context.config, line.context.progress
    opened, resumed = coming_round(rounds.state(store, config.campaign), kind, ground.base)
    rounds.open_round(store, config.campaign, opened.number, why=_opening(kind))
    progress.say(f"round {opened.number} of campaign {config.campaign} {'goes on' if resumed else 'begins'}")
    name_run(kind, opened.number, config.campaign, opened.policy)
    line.in_round(opened.number)
    try:
        proposal = work(line, ground, opened)
        why = why_not(proposal.verdicts)
    except GateError as stop:
        proposal, why = Proposal(None), str(stop)
    line.may_go_on()
    compared = next((run.key for run in line.ran if run.name == pipeline.COMPARE.name), None)
    if proposal.policy is not None and not why:
        rounds.promote(store, config.campaign, opened.number, proposal.policy, "all gates hold", compared)
    else:
        rounds.keep(store, config.campaign, opened.number, why, compared)
    # what stands in the log counts: an earlier run may have decided, and been killed before it could report
    decision = rounds.state(store, config.campaign).decision(opened.number)
    assert decision is not None
    promoted = decision.event == "promoted"
    progress.say(f"round {opened.number}: {decision.event} ({decision.why})")
    facts = RoundFacts(
        kind=kind,
        campaign=config.campaign,
        number=opened.number,
        policy_before=opened.policy,
        policy_after=proposal.policy,
        reference=opened.reference,
        scorer=ground.scorer,
        runs=tuple(line.ran),
        verdicts=proposal.verdicts,
        promoted=promoted,
        why=decision.why,
        notices=tuple(notices),
    )
    line.do(pipeline.REPORT, facts)
    rounds.close_round(store, config.campaign, opened.number, "promoted" if promoted else "kept")
    show_round(store, config, facts)
    return facts


def _opening(kind: Kind) -> str:
    """What the log says of a round's kind."""
    return f"{kind} round"
