"""A round in legs: the people in parts, each leg on the policy of the one before, and at one leg nothing new."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from flows.order.dpo import align_and_measure
from flows.order.legs import legs
from flows.run.campaign.people import People
from flows.run.round import Candidate, Foundations, Round
from flows.run.runner import Runner
from infra.store import Store
from schemas.config.engine import EngineConfig
from schemas.config.training import AlignConfig
from schemas.ids import ModelDigest, StageKey, Target
from schemas.profiles import paper
from tasks.engine.context import Context
from tasks.engine.stage import Stage, TrainingStage
from tasks.rows.mix import Mix
from tasks.rows.part import Part
from tasks.stages.generate import Generate
from tasks.stages.pair import Pair
from tasks.stages.score import Score
from tasks.stages.training import Align
from tests.profiles import load_profile

WILD = Mix((StageKey("i" * 64),), (Target("wild", "train"),))
PEOPLE = [f"wild/train/{number:04}#{number % 2}" for number in range(400)]


@pytest.mark.parametrize("part", [None, Part(0.2, 1.0)])
@pytest.mark.parametrize("count", [2, 3])
def test_everybody_is_in_one_leg(count: int, part: Part | None) -> None:
    people = WILD._replace(part=part)
    parts = [leg.people.part for leg in legs(people, count)]
    assert len(parts) == count
    inside = [each.of(PEOPLE) for each in parts if each is not None]
    assert sorted(name for names in inside for name in names) == sorted(part.of(PEOPLE) if part else PEOPLE)
    assert min(map(len, inside)) > 0.7 * sum(map(len, inside)) / count
    assert all(one.high == other.low for one, other in pairwise(each for each in parts if each is not None))


def test_one_leg_is_the_round_as_it_was() -> None:
    (only,) = legs(WILD, 1)
    assert only.people is WILD
    assert [only.role(), only.role("random pairs")] == ["", "random pairs"]
    assert AlignConfig().leg() == AlignConfig()


def test_a_leg_trains_its_share_of_the_steps() -> None:
    config = AlignConfig(legs=4)
    assert config.leg().optimiser.steps == config.optimiser.steps / 4
    assert config.leg().model_copy(update={"optimiser": config.optimiser}) == config
    with pytest.raises(ValidationError, match=r"legs=3 can't share optimiser\.steps=160 equally"):
        AlignConfig(legs=3)


def test_a_leg_has_the_whole_course_of_the_rate() -> None:
    """Half of the published steps would never come to the halving at step 2,205."""
    optimiser = paper().align.optimiser
    assert (optimiser.steps, optimiser.halved_at) == (3150, (2205,))
    leg = paper().align.model_copy(update={"legs": 2}).leg().optimiser
    assert (leg.steps, leg.halved_at) == (1575, (1102,))
    assert optimiser.in_steps(optimiser.steps) == optimiser
    steep = optimiser.model_copy(update={"steps": 100, "halved_at": (1, 2, 50)})
    assert steep.in_steps(10).halved_at == (1, 5), "each once, and none at step 0"


class Recorder(Runner):
    """Does nothing, and says of each stage that it is done."""

    def __init__(self, context: Context, refuse: int = 0) -> None:
        super().__init__(context)
        self.done: dict[str, Stage] = {}
        self.judged, self.refuse = 0, refuse
        self.ranked_by: list[StageKey | None] = []

    def run(self, stage: Stage, role: str = "") -> StageKey:
        title = f"{stage.name} ({role})" if role else stage.name
        self.done[title] = stage
        return StageKey(title)

    def train(self, stages: Mapping[str, TrainingStage]) -> tuple[ModelDigest, ...]:
        return tuple(ModelDigest(self.run(stage, role)) for role, stage in stages.items())

    def judge(self, gates: Callable[..., Sequence[Any]], *inputs: Any) -> tuple[Any, ...]:
        if gates.__name__ == "before_training":
            self.judged += 1
            self.ranked_by.append(inputs[1])
        return (Verdict(self.judged != self.refuse),)

    def note(self, path: str, data: bytes, *, once: bool = False) -> bytes:
        return data

    def model_made_by(self, key: StageKey) -> ModelDigest:
        return ModelDigest(key)


class Verdict:
    """What a gate says."""

    def __init__(self, passed: bool) -> None:
        self.passed = passed


def recorded(
    folder: Path,
    config: EngineConfig,
    refuse: int = 0,
    raw: ModelDigest | None = None,
    current: ModelDigest | None = None,
) -> tuple[Recorder, Candidate]:
    runner = Recorder(Context(Store.open(folder / "store"), config), refuse)
    held = WILD._replace(targets=(Target("wild", "validation"),))
    people = People(WILD, WILD, WILD, held, held, held, {})
    policy = ModelDigest("p")
    foundations = Foundations(people, policy, ModelDigest("s"), None, raw)
    return runner, align_and_measure(runner, foundations, Round(1, current or policy, policy))


def in_legs(count: int) -> EngineConfig:
    return load_profile("micro", changes={"align.legs": str(count)})


def test_each_leg_draws_from_the_policy_of_the_leg_before(tmp_path: Path) -> None:
    runner, made = recorded(tmp_path, in_legs(3))
    done = runner.done
    assert made.policy == "align (leg 3)"
    before, control = "p", "p"
    for leg in (1, 2, 3):
        name, random = (f" (leg {leg})", f" (random pairs, leg {leg})") if leg > 1 else ("", " (random pairs)")
        generate, score, pair, align, other = (
            done[f"{stage}{of}"]
            for stage, of in (("generate", name), ("score", name), ("pair", name), ("align", name), ("align", random))
        )
        assert isinstance(generate, Generate)
        assert isinstance(score, Score)
        assert isinstance(pair, Pair)
        assert isinstance(align, Align)
        assert isinstance(other, Align)
        assert generate.policy == align.policy == before
        assert other.policy == control
        assert align.reference == other.reference == "p"
        assert (score.generation, pair.generation, pair.scores) == (
            f"generate{name}",
            f"generate{name}",
            f"score{name}",
        )
        assert (align.pairs, other.pairs) == (f"pair{name}", f"pair{random}")
        assert align.people is not None
        assert generate.part == align.people.part
        before, control = f"align{name}", f"align{random}"
    assert len({stage.part for stage in done.values() if isinstance(stage, Generate)}) == 3
    # the gate on the scorer's ranks is about the policy that draws: that of a later leg was not evaluated
    assert runner.ranked_by == ["evaluate (before)", None, None]


def test_raw_weights_are_where_the_first_leg_of_the_first_policy_begins(tmp_path: Path) -> None:
    raw = ModelDigest("r")
    done = recorded(tmp_path, in_legs(2), raw=raw)[0].done
    drawn, begun, control, second = (
        done[name] for name in ("generate", "align", "align (random pairs)", "align (leg 2)")
    )
    assert isinstance(drawn, Generate)
    assert drawn.policy == "p"
    for align in (begun, control):
        assert isinstance(align, Align)
        assert (align.policy, align.reference, align.average) == ("r", "r", "p")
    assert isinstance(second, Align)
    assert (second.policy, second.reference, second.average) == ("align", "r", None)
    later = recorded(tmp_path, in_legs(1), raw=raw, current=ModelDigest("q"))[0].done["align"]
    assert isinstance(later, Align)
    assert (later.policy, later.reference, later.average) == ("q", "p", None)


def test_a_leg_whose_pairs_no_gate_lets_through_ends_the_round(tmp_path: Path) -> None:
    runner, made = recorded(tmp_path, in_legs(3), refuse=2)
    assert made.policy is None
    assert [verdict.passed for verdict in made.verdicts] == [True, False]
    assert "align" in runner.done
    assert "align (leg 2)" not in runner.done


def test_without_legs_the_stages_are_those_of_ever(tmp_path: Path) -> None:
    runner, made = recorded(tmp_path, in_legs(1))
    assert list(runner.done)[:7] == [
        "generate",
        "score",
        "pair",
        "evaluate (before)",
        "pair (random pairs)",
        "align",
        "align (random pairs)",
    ]
    assert made.policy == "align"
