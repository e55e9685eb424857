"""The order of the foundations: synthesize → ingest → base policy → HMR-Scorer → evaluate."""

from flows.run.campaign.people import find_people
from flows.run.campaign.start import check_first_policy
from flows.run.decision.judgement import find_judge, scorers_people
from flows.run.round import Foundations
from flows.run.runner import Runner
from tasks.stages.evaluate import Evaluate
from tasks.stages.training import TrainBase, TrainScorer


def lay_foundations(runner: Runner) -> Foundations:
    """The stages of the bootstrap; those that a commit covers are found and not done again."""
    foundations = find_foundations(runner)
    held_out = foundations.people.held_out
    if held_out.targets:
        config = runner.context.config.evaluate
        evaluation = Evaluate(held_out.ingests, held_out.targets, foundations.base, foundations.scorer, config)
        runner.run(evaluation, role="first policy")
    return foundations


def find_foundations(runner: Runner) -> Foundations:
    """The same without a look at held-out people. ConfigError where the campaign began with another policy."""
    config = runner.context.config
    people = find_people(runner)
    to_train = TrainBase(people.labelled)
    base = runner.start(config.start.policy, to_train)
    runner.look_up(check_first_policy, base, otherwise=None)  # before a scorer is trained on what it draws
    raw = runner.start(config.start.raw, to_train, "raw weights", raw=True) if config.start.raw else None
    trained = scorers_people(config, people.scorer)
    scorer = runner.start(config.start.scorer, TrainScorer(trained.scorer, base))
    judge = find_judge(runner, trained.judge, base, scorer)
    return Foundations(people, base, scorer, judge, raw)
