"""The scorer of a round: the campaign's, or one that goes with the policy."""

from flows.run.decision.judgement import scorers_people
from flows.run.runner import Runner
from schemas.ids import ModelDigest, StageKey
from tasks.rows.mix import Mix
from tasks.stages.published_scorer import CalibrateScorer
from tasks.stages.training import TrainScorer


def scorer_of_round(runner: Runner, people: Mix, scorer: ModelDigest, policy: ModelDigest) -> ModelDigest:
    """The campaign's `scorer`, or one trained on hypotheses that the round's `policy` draws for `people`, if
    `renew.scorer` says so; in a campaign's first round that is the one which the campaign trained."""
    config = runner.context.config
    if config.renew.scorer != "retrain":
        return scorer
    return runner.train({"renewed": TrainScorer(scorers_people(config, people).scorer, policy)})[0]


def recalibrate(runner: Runner, before: StageKey | None, scorer: ModelDigest) -> None:
    """Say anew what the scorer's score means, by an evaluation of the round's policy, if `renew.scorer` says so."""
    config = runner.context.config
    if config.renew.scorer == "never" or before is None:
        return
    for target in config.sources.targets("validation"):
        runner.run(CalibrateScorer(before, before, scorer, target), role=str(target))
