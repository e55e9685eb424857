"""The order of a campaign's rounds: DPO rounds and, every so often, a cleaning round, until there are enough of them or
the gates say no too often in a row. What is done stands in the campaign's log, so a run that was killed goes on there.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple

from flows.run.campaign.course import decided_rounds, refusals
from flows.run.decision.reviewed import Waiting
from flows.run.round import Kind, kind_of_open_round
from infra import rounds
from infra.rounds import CampaignState
from schemas.config.engine import EngineConfig
from schemas.config.rounds import RoundsConfig
from schemas.ids import StageKey
from tasks.report.facts import RoundFacts
from tasks.stages.compare import Compare

if TYPE_CHECKING:
    from flows.run.live import LiveRunner


class Turn(NamedTuple):
    """The round whose turn it is."""

    number: int
    kind: Kind


class Ended(NamedTuple):
    """How a campaign came to an end, for now."""

    how: Literal["done", "refused", "waiting"]
    why: str


class Course(NamedTuple):
    """How it ended, and the comparison of the campaign's first policy with the current one, if that is another."""

    ended: Ended
    compared: StageKey | None


def rounds_in_turn(runner: "LiveRunner", do: Mapping[Kind, Callable[[], RoundFacts | Waiting]]) -> Course:
    """Round after round, each by `do` of its kind, from the policy that is current then; an open one goes on first."""
    context = runner.context
    store, config = context.store, context.config
    while isinstance(turn := whose_turn(rounds.state(store, config.campaign), config.rounds), Turn):
        context.progress.say(_announced(turn, config))
        runner.begin_round()
        done = do[turn.kind]()
        if isinstance(done, Waiting):
            turn = Ended("waiting", f"round {done.number} {done}")
            break
    context.progress.say(f"campaign {config.campaign} ends: {turn.why}")
    runner.begin_round()
    return Course(turn, _compared(runner))


def whose_turn(state: CampaignState, config: RoundsConfig) -> Turn | Ended:
    """The next round of a campaign, or why there is none."""
    if state.is_open:
        return Turn(state.round, kind_of_open_round(state))
    refused, done = refusals(state), len(decided_rounds(state))
    if config.stop_after and refused >= config.stop_after:
        return Ended("refused", f"the last {refused} rounds promoted nothing (rounds.stop_after={config.stop_after})")
    if done >= config.count:
        return Ended("done", f"{done} rounds are done (rounds.count={config.count})")
    number = state.next_round
    return Turn(number, "clean" if config.clean_every and number % config.clean_every == 0 else "dpo")


def _announced(turn: Turn, config: EngineConfig) -> str:
    """A round and what it may cost, in words."""
    train, parts = (config.align if turn.kind == "dpo" else config.train_clean), config.rounds.people_parts
    whom = "all in-the-wild people" if parts == 1 else f"one part in {parts} of the in-the-wild people"
    each = f"{config.generate.hypotheses} hypotheses" if turn.kind == "dpo" else "a pseudo-label"
    what = "DPO" if turn.kind == "dpo" else "cleaning"
    return f"round {turn.number} ({what}): {whom}, {each} each; {train.optimiser.steps} steps"


def _compared(runner: "LiveRunner") -> StageKey | None:
    """The campaign's first policy and the current one on the same people; None where that is the first, or no labels
    measured it."""
    context = runner.context
    state = rounds.state(context.store, context.config.campaign)
    made = [one for one in decided_rounds(state) if one.event == "promoted" and one.policy == state.policy]
    evaluations = made[-1].evaluations(context.store) if made else None
    if evaluations is None:
        return None
    drift = context.config.sources.targets("drift")
    return runner.run(Compare(evaluations.first, evaluations.after, {}, drift=drift), role="whole campaign")
