"""The order of the foundations: synthesize → ingest → base policy → HMR-Scorer → evaluate."""

from flows.run.campaign.people import find_people
from flows.run.decision.judgement import find_judge, scorers_people
from flows.run.round import Foundations
from flows.run.runner import Runner
from tasks.stages.evaluate import Evaluate
from tasks.stages.training import TrainBase, TrainScorer


def lay_foundations(runner: Runner) -> Foundations:
    """The stages of the bootstrap; those that a commit covers are found and not done again."""
    config = runner.context.config
    people = find_people(runner)
    to_train = TrainBase(people.labelled)
    base = runner.start(config.start.policy, to_train)
    raw = runner.start(config.start.raw, to_train, "raw weights", raw=True) if config.start.raw else None
    trained = scorers_people(config, people.scorer)
    scorer = runner.start(config.start.scorer, TrainScorer(trained.scorer, base))
    judge = find_judge(runner, trained.judge, base, scorer)
    held_out = people.held_out
    if held_out.targets:
        evaluation = Evaluate(held_out.ingests, held_out.targets, base, scorer, config.evaluate)
        runner.run(evaluation, role="first policy")
    return Foundations(people, base, scorer, judge, raw)
