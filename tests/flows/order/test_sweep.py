"""A sweep has the scorer and the people of the cleaning round that would follow, so that its shares carry over."""

from pathlib import Path

from flows.order.sweep import sweep_ratios
from flows.run.campaign.people import People
from flows.run.round import Foundations
from infra.store import Store
from schemas.ids import ModelDigest, Target
from tasks.engine.context import Context
from tasks.rows.part import Part
from tasks.stages.clean import PseudoLabel, ScoreLabels
from tasks.stages.training import TrainClean, TrainScorer
from tests.flows.order.test_legs import WILD, Recorder
from tests.profiles import load_profile


def swept(folder: Path, changes: dict[str, str], number: int) -> Recorder:
    runner = Recorder(Context(Store.open(folder / "store"), load_profile("micro", changes=changes)))
    held = WILD._replace(targets=(Target("wild", "validation"),))
    foundations = Foundations(People(WILD, WILD, WILD, held, held, held, {}), ModelDigest("p"), ModelDigest("s"))
    policy, first = ModelDigest("q"), ModelDigest("p")
    sweep_ratios(runner, foundations, policy, first, [0.5], number, train=True, at_random=False)
    return runner


def test_scorer_and_people_are_those_of_the_round_to_come(tmp_path: Path) -> None:
    changes = {"renew.scorer": "retrain", "rounds.people_parts": "2"}
    for number, part in ((2, Part(0.5, 1.0)), (3, Part(0.0, 0.5))):
        done = swept(tmp_path, changes, number).done
        renewed, labels, scores = done["train_scorer (renewed)"], done["pseudo_label"], done["score_labels"]
        trained = done["train_clean (0.5)"]
        assert isinstance(renewed, TrainScorer)
        assert isinstance(labels, PseudoLabel)
        assert isinstance(scores, ScoreLabels)
        assert isinstance(trained, TrainClean)
        assert renewed.policy == labels.policy == "q"
        assert scores.scorer == "train_scorer (renewed)"
        assert labels.part == part
        assert trained.people == WILD._replace(part=part)


def test_without_either_it_is_the_campaigns_scorer_and_everybody(tmp_path: Path) -> None:
    done = swept(tmp_path, {}, 2).done
    labels, scores = done["pseudo_label"], done["score_labels"]
    assert isinstance(labels, PseudoLabel)
    assert isinstance(scores, ScoreLabels)
    assert (labels.part, scores.scorer) == (None, "s")
