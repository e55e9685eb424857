"""The order of a DPO round: generate → score → pair → (review) → align, in one leg or several → evaluate → compare."""

from functools import partial

from flows.order.hypotheses import draw_and_score
from flows.order.legs import legs, of_round
from flows.run.decision.gates import before_promotion, before_reviews, before_training, without_labels
from flows.run.decision.judgement import set_aside
from flows.run.decision.measures import measure
from flows.run.decision.published import compare_as_published
from flows.run.decision.renewal import recalibrate
from flows.run.decision.reviewed import ask, honour
from flows.run.decision.watching import watch_labelled
from flows.run.round import Candidate, Foundations, Round
from flows.run.runner import Runner
from tasks.gates import GateVerdict, all_passed
from tasks.ingest.annotated import IngestAnnotations
from tasks.ingest.people.annotations import AnnotationSource
from tasks.rows.mix import Mix
from tasks.stages.compare import Compare
from tasks.stages.evaluate import Evaluate
from tasks.stages.pair import control_of
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
    wild = of_round(wild, config.rounds.people_parts, opened.number)

    measured, reported = people.held_out, people.reported
    held_out = partial(Evaluate, measured.ingests, measured.targets, scorer=foundations.scorer, config=config.evaluate)
    before = None
    ready: tuple[GateVerdict, ...] = ()
    raw = foundations.raw if opened.policy == opened.first else None
    aligned = control = opened.policy
    for leg in legs(wild, config.align.legs):
        mine, role = leg.people, leg.role
        scored = draw_and_score(runner, mine, aligned, foundations.scorer, opened.number, role())
        pairs = runner.run(scored.pair(config.pair), role=role())
        scores = scored.hypotheses, scored.scores
        if leg.number == 1 and measured.targets:
            before = runner.run(held_out(policy=opened.policy), role="before")
            recalibrate(runner, before, foundations.scorer)
        # of the policy that the round began with: a later leg's has no evaluation to rank the scorer by
        ranked_by = before if leg.number == 1 else None
        waiting = ask(runner, opened.number, pairs)
        if waiting is not None:
            hopeless = runner.judge(before_reviews, pairs, ranked_by, scores)
            return Candidate(None, hopeless) if hopeless else Candidate(None, waiting=waiting)

        reviewed = honour(runner, opened.number, pairs, mine)
        verdicts = runner.judge(before_training, pairs, ranked_by, scores, reviewed.trained)
        if leg.number == 1 and hearing:
            verdicts += hearing.is_worth_it(runner)
        if leg.number == 1 or not all_passed(verdicts):
            ready += verdicts
        if not all_passed(verdicts):
            return Candidate(None, ready, reviewed.notices)

        at_random = runner.run(scored.pair(control_of(config.pair)), role=role("random pairs"))
        align = partial(Align, people.labelled, reference=raw or opened.reference(config.rounds), people=mine)
        moved, moved_control, average = aligned, control, None
        if raw is not None and leg.number == 1:
            moved, moved_control, average = raw, raw, aligned
        aligned, control = runner.train(
            {
                role(): align(pairs=reviewed.pairs, policy=moved, earlier=reviewed.earlier, average=average),
                role("random pairs"): align(pairs=at_random, policy=moved_control, average=average),
            }
        )

    ready += hearing.decide(runner, aligned, foundations.scorer) if hearing else ()
    if before is None:
        return Candidate(aligned, ready if hearing else ready + runner.judge(without_labels), reviewed.notices)
    after = runner.run(held_out(policy=aligned), role="after")
    first = runner.run(held_out(policy=opened.first), role="first policy")
    controlled = partial(Evaluate, reported.ingests, reported.targets, scorer=None, config=config.evaluate)
    less_noise = controlled(policy=opened.policy, temperature=config.evaluate.less_noise)
    controls = {
        "random_pairs": runner.run(controlled(policy=control), role="random pairs"),
        "less_noise": runner.run(less_noise, role="less noise"),
    }
    compare_as_published(runner, people, opened.policy, aligned, foundations.scorer)
    compared = runner.run(Compare(before, after, controls, first, people.drift.targets))
    measure(runner, before, after, controls)
    ready += runner.judge(before_promotion, compared)
    return Candidate(
        aligned, ready + watch_labelled(runner, before, after, measured, foundations.judge), reviewed.notices
    )
