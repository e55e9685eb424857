"""Controls of alignment that `make evidence` trains beside a round: what else the same store could have been used for.

Each is the round's own training with one thing changed: same steps, batches, noise and replay. Together they say which
term of the objective makes the gain, whether the scorer's knowledge is worth more when it is given directly, and, by
two diagnostics, whether the problem can show anything: the ceiling (the denoiser trained on the true labels of the
people whose pairs are learned from) and the constant offset (`tests.evidence.offset`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

from prefect import flow

from flows.run.configuration import Choices
from flows.run.live import LiveRunner
from flows.run.session import session
from schemas.config.engine import EngineConfig
from schemas.config.training import AlignConfig
from schemas.errors import ConfigError
from schemas.ids import ModelDigest, StageKey
from schemas.splits import SCORER_TRAIN, SOURCE_TRAIN, WILD_TEST, WILD_TRAIN
from tasks.diagnostics.targets import Targets
from tasks.engine.context import Context
from tasks.measures.stage import Measures
from tasks.report.facts import RoundFacts
from tasks.report.stage import read_facts
from tasks.rows.mix import Mix
from tasks.rows.models import model_of
from tasks.stages.compare import Compare
from tasks.stages.evaluate import Evaluate
from tasks.stages.training import Align
from tests.evidence.offset import measure_offset

_NO_DPO: Mapping[str, Any] = MappingProxyType({"beta": 1e-9, "anchor": 0.0})
_SUPERVISED: Mapping[str, Any] = MappingProxyType({"objective": "sft"})
_DENOISER_ALONE: Mapping[str, Any] = MappingProxyType(
    {
        **_SUPERVISED,
        "encoder_distillation": 0.0,
        "optimiser.encoder_learning_rate": 0.0,
        "optimiser.learning_rate": 1e-3,
    }
)

_OF_THE_ROUND: Mapping[str, str] = MappingProxyType({"random_pairs": "random pairs", "less_noise": "less noise"})
"""Controls that every round has: among metrics, and among its stages."""
CONSTANT_OFFSET = "constant_offset"
"""Role of the diagnostic that trains nothing."""


@dataclass(frozen=True)
class AlignControl:
    """A training beside the round's. `role` names it among metrics, `changes` are fields of `align`.

    `learns_from`: the round's pairs, or in their place the scorer's own estimates of the same people, or the labels
    that the scorer was trained on, or what a policy that learned those (`scorer_labels`) draws of the same people, or
    their true labels. `where`: whether the round's encoder learns from its estimate (`distilled`) or not (`not
    distilled`); without it, everywhere.
    """

    role: str
    title: str
    changes: Mapping[str, Any]
    learns_from: Literal["pairs", "estimates", "labels", "teacher", "truth"] = "pairs"
    where: Literal["distilled", "not distilled", "everywhere"] = "everywhere"

    def align(self, config: AlignConfig) -> AlignConfig:
        """The round's configuration with the changes."""
        plain = config.model_dump()
        for name, value in self.changes.items():
            section, _, leaf = name.rpartition(".")
            (plain[section] if section else plain)[leaf] = value
        return AlignConfig.model_validate(plain)


_CONTROLS = (
    AlignControl(
        "estimate_alone", "encoder distillation alone, no DPO (beta 1e-9, anchor 0)", _NO_DPO, where="distilled"
    ),
    AlignControl(
        "dpo_alone",
        "DPO through the denoiser alone (`align.encoder_distillation=0`)",
        {"encoder_distillation": 0.0},
        where="distilled",
    ),
    AlignControl(
        "no_preference", "no preference term: anchor and replay (beta 1e-9)", {"beta": 1e-9}, where="not distilled"
    ),
    AlignControl("winners_alone", "winners alone (SFT), with encoder distillation", _SUPERVISED, where="distilled"),
    AlignControl("winners_alone", "winners alone (SFT)", _SUPERVISED, where="not distilled"),
    AlignControl("replay_alone", "replay alone", {**_NO_DPO, "encoder_distillation": 0.0}),
    AlignControl(
        "scorer_estimate",
        "the scorer's own pose estimate as target, no pairs",
        _NO_DPO,
        "estimates",
        where="distilled",
    ),
    AlignControl("scorer_labels", "the scorer's labels used directly", _SUPERVISED, "labels"),
    AlignControl(
        "distilled",
        "the scorer's knowledge distilled: targets from a denoiser that learned its labels",
        _SUPERVISED,
        "teacher",
        where="not distilled",
    ),
    AlignControl(
        "ceiling",
        "*ceiling*: the denoiser on the true labels of the same people in as many steps, encoder frozen, rate 1e-3",
        _DENOISER_ALONE,
        "truth",
    ),
)
TITLES: Mapping[str, str] = MappingProxyType(
    {CONSTANT_OFFSET: "*constant offset* for everybody: mean winner − loser times the best alpha on validation"}
)
"""Of what is measured beside the trainings, by role."""


def controls_of(config: EngineConfig) -> tuple[AlignControl, ...]:
    """The controls that a round of this configuration has; a teacher comes after what it is."""
    distilled = config.align.encoder_distillation > 0 and config.align.optimiser.encoder_learning_rate > 0
    here = "distilled" if distilled else "not distilled"
    return tuple(control for control in _CONTROLS if control.where in (here, "everywhere"))


@flow(name="controls", flow_run_name="controls, {profile}", persist_result=False)
def train_controls(store: str, profile: str, campaign: str, seed: int) -> list[StageKey]:
    """Train and measure what is missing of the controls of the campaign's first round; the keys of the stages that
    compare them with it and with the round's own controls: mean errors, then all other measures.

    The round must be finished, as the same configuration made it.
    """
    with session("controls", store, Choices(profile, campaign, seed)) as runner:
        facts = read_facts(runner.context.store, campaign, 1)
        _refuse_other_training(runner.context, facts)
        runner.in_round(1)
        policies: dict[str, ModelDigest] = {}
        measured = {role: facts.key("evaluate", title) for role, title in _OF_THE_ROUND.items()}
        for control in controls_of(runner.context.config):
            policies[control.role] = _trained(runner, facts, control, policies)
            measured[control.role] = _measured(runner, facts, policies[control.role], control.role)
        people, pairs = facts.key("ingest"), facts.key("pair")
        measured[CONSTANT_OFFSET] = measure_offset(runner, people, facts.policy_before, pairs)
        before, after = facts.key("evaluate", "before"), facts.key("evaluate", "after")
        return [
            runner.run(Compare(before, after, measured), role="controls"),
            runner.run(Measures(before, after, measured), role="controls"),
        ]


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


def _trained(
    runner: LiveRunner, facts: RoundFacts, control: AlignControl, earlier: Mapping[str, ModelDigest]
) -> ModelDigest:
    """The policy of a control; `earlier` has those that were trained before it."""
    people, config = (facts.key("ingest"),), runner.context.config
    targets = {
        "estimates": Targets(people, WILD_TRAIN, facts.scorer),
        "labels": Targets(people, SCORER_TRAIN, None),
        "teacher": Targets(people, WILD_TRAIN, None, teacher=earlier.get("scorer_labels")),
        "truth": Targets(people, WILD_TRAIN, None, truth=True),
    }
    learned = targets.get(control.learns_from)
    pairs = facts.key("pair") if learned is None else runner.run(learned, role=control.learns_from)
    changed = config.model_copy(update={"align": control.align(config.align)})
    runner.context = replace(runner.context, config=changed)
    try:
        key = runner.run(Align(_replayed(facts), pairs, facts.policy_before, facts.reference), role=control.role)
    finally:
        runner.context = replace(runner.context, config=config)
    return model_of(runner.context.store, key)


def _measured(runner: LiveRunner, facts: RoundFacts, policy: ModelDigest, role: str) -> StageKey:
    """The key of a policy's evaluation on wild/test."""
    config = runner.context.config.evaluate
    return runner.run(Evaluate((facts.key("ingest"),), (WILD_TEST,), policy, None, config), role=role)
