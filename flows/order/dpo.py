"""The order of a DPO round: generate → score → pair → (review) → align (DPO) → evaluate → compare."""

from functools import partial

from flows.run.decision.gates import before_promotion, before_training, without_labels
from flows.run.decision.judgement import set_aside
from flows.run.decision.published import compare_as_published
from flows.run.decision.reviewed import ask, honour
from flows.run.round import Candidate, Foundations, Round
from flows.run.runner import Runner
from schemas.config.stages import PairConfig
from tasks.gates import all_passed
from tasks.ingest.annotated import IngestAnnotations
from tasks.ingest.people.annotations import AnnotationSource
from tasks.rows.mix import Mix
from tasks.stages.compare import Compare
from tasks.stages.evaluate import Evaluate
from tasks.stages.generate import Generate
from tasks.stages.pair import Pair
from tasks.stages.score import Score
from tasks.stages.training import Align


def align_and_measure(
    runner: Runner, foundations: Foundations, opened: Round, own: AnnotationSource | None = None
) -> Candidate:
    """The stages of a round, on the campaign's in-the-wild people or on a folder of the user's own pictures."""
    config, people = runner.context.config, foundations.people
    wild = people.wild
    if own is not None:
        # of one data set, whatever folder it is: the newest counts
        ingest = IngestAnnotations(own, replace_source=True)
        wild = Mix((runner.run(ingest, role="your pictures"),), (own.target,))

    wild, hearing = set_aside(runner, foundations.judge, wild, opened.policy)

    generate = Generate(wild.ingests, wild.targets, opened.policy, config.generate, opened.number, wild.part)
    hypotheses = runner.run(generate)
    scores = runner.run(Score(hypotheses, wild.ingests, foundations.scorer))
    pairs = runner.run(Pair(hypotheses, scores, config.pair, wild.ingests))
    waiting = ask(runner, opened.number, pairs)
    if waiting is not None:
        return Candidate(None, waiting=waiting)

    measured, reported = people.held_out, people.reported
    held_out = partial(Evaluate, measured.ingests, measured.targets, scorer=foundations.scorer, config=config.evaluate)
    before = runner.run(held_out(policy=opened.policy), role="before") if measured.targets else None
    reviewed = honour(runner, opened.number, pairs, wild)
    ready = runner.judge(before_training, pairs, before, (hypotheses, scores), reviewed.trained)
    ready += hearing.is_worth_it(runner) if hearing else ()
    if not all_passed(ready):
        return Candidate(None, ready, reviewed.notices)

    at_random = runner.run(Pair(hypotheses, scores, _at_random(config.pair)), role="random pairs")
    align = partial(Align, people.labelled, policy=opened.policy, reference=opened.reference, people=wild)
    aligned, control = runner.train(
        {"": align(pairs=reviewed.pairs, earlier=reviewed.earlier), "random pairs": align(pairs=at_random)}
    )

    ready += hearing.decide(runner, aligned) if hearing else ()
    if before is None:
        return Candidate(aligned, ready if hearing else ready + runner.judge(without_labels), reviewed.notices)
    after = runner.run(held_out(policy=aligned), role="after")
    first = runner.run(held_out(policy=opened.reference), role="first policy")
    controlled = partial(Evaluate, reported.ingests, reported.targets, scorer=None, config=config.evaluate)
    less_noise = controlled(policy=opened.policy, temperature=config.evaluate.less_noise)
    controls = {
        "random_pairs": runner.run(controlled(policy=control), role="random pairs"),
        "less_noise": runner.run(less_noise, role="less noise"),
    }
    compare_as_published(runner, people, opened.policy, aligned, foundations.scorer)
    compared = runner.run(Compare(before, after, controls, first, people.drift.targets))
    return Candidate(aligned, ready + runner.judge(before_promotion, compared), reviewed.notices)


def _at_random(config: PairConfig) -> PairConfig:
    return config.model_copy(update={"strategy": "random", "least_margin": 0.0, "label_wins_share": 0.0})
