"""The watch for reward hacking: what of a round is watched, and where its figures come from."""

from flows.run.decision.gates import of_the_watch
from flows.run.runner import Runner
from schemas.ids import ModelDigest, StageKey
from tasks.gates import GateVerdict
from tasks.rows.mix import Mix
from tasks.stages.score import Score
from tasks.stages.watch import Watch


def watch_labelled(
    runner: Runner, before: StageKey, after: StageKey, measured: Mix, judge: ModelDigest | None
) -> tuple[GateVerdict, ...]:
    """What the watch says of two evaluations of held-out people, whom a judge that only watches sees as well."""
    config = runner.context.config
    validation = config.sources.targets("validation")
    if not config.gates.watch_score or not validation:
        return ()
    judged: tuple[StageKey, ...] = ()
    if judge is not None and not config.is_judged:
        judged = tuple(
            runner.run(Score(key, measured.ingests, judge), role=f"judge, {role}")
            for key, role in ((before, "before"), (after, "after"))
        )
    return runner.judge(of_the_watch, runner.run(Watch(before, after, before, after, *judged)), validation)


def watch_aside(
    runner: Runner,
    hypotheses: tuple[StageKey, StageKey],
    judged: tuple[StageKey, StageKey],
    aside: Mix,
    scorer: ModelDigest,
) -> tuple[GateVerdict, ...]:
    """What it says of hypotheses, before and after, of people without labels whom a judge decides by."""
    if not runner.context.config.gates.watch_score:
        return ()
    (before, after), scores = hypotheses, []
    for key, role in ((before, "before"), (after, "after")):
        scores.append(runner.run(Score(key, aside.ingests, scorer), role=f"people set aside, {role}"))
    watched = runner.run(Watch(before, after, scores[0], scores[1], *judged))
    return runner.judge(of_the_watch, watched, aside.targets)
