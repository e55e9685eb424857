"""Controls of alignment that `make evidence` trains beside a round: what else the same store could have been used for.

Each is the round's own training with one thing changed: same steps, batches, noise and replay. Together they say which
term of the objective makes the gain, and whether the scorer's knowledge is worth more when it is given directly.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

from prefect import flow

from flows.run.configuration import Choices
from flows.run.live import LiveRunner
from flows.run.session import session
from schemas.errors import ConfigError
from schemas.splits import SCORER_TRAIN, SOURCE_TRAIN, WILD_TEST, WILD_TRAIN
from tasks.engine.context import Context
from tasks.report.facts import RoundFacts
from tasks.report.stage import read_facts
from tasks.rows.mix import Mix
from tasks.rows.models import model_of
from tasks.stages.compare import Compare
from tasks.stages.evaluate import Evaluate
from tasks.stages.training import Align
from tests.evidence.targets import Targets

_NO_DPO: Mapping[str, Any] = MappingProxyType({"beta": 1e-9, "anchor": 0.0})


@dataclass(frozen=True)
class AlignControl:
    """A training beside the round's. `role` names it among metrics, `changes` are fields of `align`.

    `learns_from`: the round's pairs, or in their place the scorer's own estimates of the same people, or the labels
    that the scorer was trained on.
    """

    role: str
    title: str
    changes: Mapping[str, Any]
    learns_from: Literal["pairs", "estimates", "labels"] = "pairs"


CONTROLS = (
    AlignControl("estimate_alone", "the `estimate` term alone, no DPO (beta 1e-9, anchor 0)", _NO_DPO),
    AlignControl("dpo_alone", "DPO through the denoiser alone (`align.estimate=0`)", {"estimate": 0.0}),
    AlignControl("winners_alone", "winners alone (SFT), with `estimate`", {"objective": "sft"}),
    AlignControl("replay_alone", "replay alone", {**_NO_DPO, "estimate": 0.0}),
    AlignControl("scorer_estimate", "the scorer's own pose estimate as target, no pairs", _NO_DPO, "estimates"),
    AlignControl("scorer_labels", "the scorer's labels used directly", {"objective": "sft"}, "labels"),
)


@flow(name="controls", flow_run_name="controls, {profile}", persist_result=False)
def train_controls(store: str, profile: str, campaign: str, seed: int) -> str:
    """Train and measure what is missing of the controls of the campaign's first round; the key of their comparison.

    The round must be finished, as the same configuration made it.
    """
    with session("controls", store, Choices(profile, campaign, seed)) as runner:
        facts = read_facts(runner.context.store, campaign, 1)
        _refuse_other_training(runner.context, facts)
        runner.in_round(1)
        measured = {control.role: _measure(runner, facts, control) for control in CONTROLS}
        before, after = facts.key("evaluate", "before"), facts.key("evaluate", "after")
        return runner.run(Compare(before, after, measured), role="controls")


def _refuse_other_training(context: Context, facts: RoundFacts) -> None:
    """ConfigError where the round was trained in another way than this code and configuration would."""
    align = Align(_replayed(facts), facts.key("pair"), facts.policy_before, facts.reference)
    if align.key(context) != facts.key("align"):
        raise ConfigError(
            f"Round 1 of campaign {facts.campaign} in {context.store.url} was trained by another version or "
            "configuration of align than this one: its controls would compare nothing. Name a new folder."
        )


def _replayed(facts: RoundFacts) -> Mix:
    return Mix((facts.key("ingest"),), (SOURCE_TRAIN,))


def _measure(runner: LiveRunner, facts: RoundFacts, control: AlignControl) -> str:
    """The key of the control's evaluation on wild/test."""
    people, config = facts.key("ingest"), runner.context.config
    if control.learns_from == "pairs":
        pairs = facts.key("pair")
    else:
        target, scorer = (WILD_TRAIN, facts.scorer) if control.learns_from == "estimates" else (SCORER_TRAIN, None)
        pairs = runner.run(Targets((people,), target, scorer), role=control.learns_from)
    changed = config.align.model_copy(update=dict(control.changes))
    runner.context = replace(runner.context, config=config.model_copy(update={"align": changed}))
    try:
        key = runner.run(Align(_replayed(facts), pairs, facts.policy_before, facts.reference), role=control.role)
    finally:
        runner.context = replace(runner.context, config=config)
    policy = model_of(runner.context.store, key)
    return runner.run(Evaluate((people,), (WILD_TEST,), policy, None, config.evaluate), role=control.role)
