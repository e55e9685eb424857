"""Rounds whose scorer goes with the policy, watched by labels and by a judge that decides nothing; in one process."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pytest

from flows.cli.plan import plan_round
from flows.order.dpo import align_and_measure
from flows.order.foundations import lay_foundations
from flows.run.decision.renewal import scorer_of_round
from flows.run.decision.unseen import check_unseen, notes_on_policy
from flows.run.round import Candidate, Foundations, Round
from flows.run.runner import Runner
from infra.stages import StageRecord, find, records
from infra.store import Store
from schemas.errors import ConfigError
from schemas.ids import ModelDigest, StageKey
from schemas.splits import SCORER_TRAIN, SOURCE_TEST, SOURCE_TRAIN, WILD_VALIDATION
from tasks.engine.context import Context
from tasks.engine.stage import Stage, TrainingStage
from tasks.report.ancestry import ancestry, labelled_splits
from tasks.rows.calibrations import find_calibration
from tasks.rows.instances import instance_ids
from tasks.rows.models import model_of
from tasks.rows.part import JUDGES_HALF, SCORERS_HALF
from tests.faults.chain import CONFIG as SMALL
from tests.profiles import load_profile

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
_PEOPLE = ("source_train", "source_test", "scorer_train", "wild_train", "wild_validation", "wild_test")
CHANGES: dict[str, Any] = {
    **{f"synthesize.{name}": getattr(SMALL.synthesize, name) for name in _PEOPLE},
    "synthesize.scorer_train": 24,
    "generate.hypotheses": 3,
    "evaluate.generate.hypotheses": 3,
    "train_base.batch_images": 4,
    "train_scorer.batch_images": 4,
    "align.batch_crops": 4,
    "align.denoised_crops": 4,
    "align.replay_images": 4,
    "start.judge": "train",
    "gates.watch_score": True,
    "renew.scorer": "retrain",
}


class Straight(Runner):
    """Does each stage at once, without Prefect and Ray."""

    def run(self, stage: Stage, role: str = "") -> StageKey:
        return StageKey(stage.run(self.context).key)

    def train(self, stages: Mapping[str, TrainingStage]) -> tuple[ModelDigest, ...]:
        return tuple(self.model_made_by(self.run(stage)) for stage in stages.values())

    def judge(self, gates: Callable[..., Sequence[Any]], *inputs: Any) -> tuple[Any, ...]:
        return tuple(gates(self.context, *inputs))

    def note(self, path: str, data: bytes, *, once: bool = False) -> bytes:
        return data

    def model_made_by(self, key: StageKey) -> ModelDigest:
        return ModelDigest(model_of(self.context.store, key))


class Renewed(NamedTuple):
    """A store after two rounds, the second by a policy that the first has trained."""

    context: Context
    foundations: Foundations
    second: Foundations
    """With the scorer of the second round."""
    candidates: tuple[Candidate, Candidate]

    @property
    def judge(self) -> ModelDigest:
        assert self.foundations.judge is not None
        return self.foundations.judge

    def stages(self, name: str) -> list[StageRecord]:
        return [record for record in records(self.context.store) if record.stage == name]


@pytest.fixture(scope="module")
def rounds(tmp_path_factory: pytest.TempPathFactory) -> Renewed:
    store = Store.open(tmp_path_factory.mktemp("renewed") / "store")
    context = Context(store, load_profile("micro", changes=CHANGES), in_process=True)
    runner = Straight(context)
    first = lay_foundations(runner)
    foundations, policy, candidates = first, first.base, []
    for number in (1, 2):
        runner.in_round(number)
        scorer = scorer_of_round(runner, first.people.scorer, first.scorer, policy)
        foundations = first._replace(scorer=scorer)
        candidates.append(align_and_measure(runner, foundations, Round(number, policy, first.base)))
        assert candidates[-1].policy is not None
        policy = candidates[-1].policy
    return Renewed(context, first, foundations, (candidates[0], candidates[1]))


def test_the_first_round_finds_the_campaigns_scorer_and_the_second_trains_one(rounds: Renewed) -> None:
    scorers = {rounds.foundations.scorer: rounds.foundations.base, rounds.second.scorer: rounds.candidates[0].policy}
    assert len(scorers) == 2
    for scorer, policy in scorers.items():
        training = ancestry(rounds.context.store, scorer)[-1].stage
        assert training is not None
        assert training.models == (policy,)  # whose hypotheses it has learned to order
        assert labelled_splits(training)[1] == SCORERS_HALF
    assert len(rounds.stages("train_scorer")) == 3  # and the judge
    chose = [find(rounds.context.store, record.reads[1]) for record in rounds.stages("pair")]
    assert {record.models[-1] for record in chose if record is not None} == set(scorers)
    used = {scorer for record in rounds.stages("evaluate") for scorer in record.models[1:]}
    assert used == set(scorers)  # those that gates go by


def test_each_round_says_what_its_scorer_means(rounds: Renewed) -> None:
    for scorer in (rounds.foundations.scorer, rounds.second.scorer):
        found = find_calibration(rounds.context.store, scorer)
        assert found is not None
        assert (found.target, found.role) == (WILD_VALIDATION, "policy samples")


def test_score_judge_and_error_are_watched_in_every_round(rounds: Renewed) -> None:
    for candidate in rounds.candidates:
        assert [verdict.name for verdict in candidate.verdicts if "beside the score" in verdict.name] == [
            "zero-noise MPVPE beside the score",
            "judge's zero-noise score beside the score",
            "expected MPVPE beside the score",
            "judge's expected score beside the score",
        ]


def test_a_judge_chooses_no_pair_and_selects_nothing(rounds: Renewed) -> None:
    store, judge = rounds.context.store, rounds.judge
    training = ancestry(store, judge)[-1].stage
    assert training is not None
    assert labelled_splits(training)[1] == JUDGES_HALF
    assert not SCORERS_HALF.overlaps(JUDGES_HALF)
    by_judge = {record.stage_key: record for record in records(store) if judge in record.models}
    assert {record.stage for record in by_judge.values()} == {"score"}
    readers = {record.stage for record in records(store) if set(record.reads) & by_judge.keys()}
    assert readers == {"watch"}
    for candidate in rounds.candidates:
        assert candidate.policy is not None
        assert all(judge not in (*made.choosers, *made.parents) for made in ancestry(store, candidate.policy))
    # labels decide: nobody was set aside for it
    assert {verdict.name for verdict in rounds.candidates[0].verdicts}.isdisjoint({"people for the judge"})


def test_a_plan_knows_the_renewed_scorer(rounds: Renewed) -> None:
    looks = {look.title: look.verdict for look in plan_round(rounds.context).looks}
    assert looks["train_scorer"] == "reuse"
    assert looks["watch"] == "reuse"
    assert looks["calibrate_scorer (wild/validation)"] == "reuse"


def test_a_scorer_is_not_measured_on_people_whom_it_knows(rounds: Renewed) -> None:
    store, scorer, base = rounds.context.store, rounds.foundations.scorer, rounds.foundations.base
    people = rounds.foundations.people.ingests[SCORER_TRAIN]
    half = len(instance_ids(store, [people], [SCORER_TRAIN], SCORERS_HALF))
    assert 0 < half < 24
    said = f"Scorer {scorer[:12]} was trained on {half} of the 24 people of scorer/train."
    with pytest.raises(ConfigError, match="say --seen-too") as refused:
        check_unseen(store, scorer, people, SCORER_TRAIN)
    assert str(refused.value).startswith(said)
    assert check_unseen(store, scorer, people, SCORER_TRAIN, seen_too=True) == (said,)
    with pytest.raises(
        ConfigError, match=f"The policy {base[:12]}, which scorer {scorer[:12]} comes from, was trained on"
    ):
        check_unseen(store, scorer, people, SOURCE_TRAIN)
    assert check_unseen(store, scorer, people, SOURCE_TEST) == ()
    assert notes_on_policy(store, base, SOURCE_TEST) == ()
    assert "its samples of them are better" in notes_on_policy(store, base, SOURCE_TRAIN)[0]
    (unknown,) = check_unseen(store, base, people, SOURCE_TEST)
    assert "is not known to this store" in unknown
