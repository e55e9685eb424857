"""The judge of a campaign without held-out labels: who it is, whom it sees, what it finds, and what is said of it."""

from dataclasses import dataclass
from typing import NamedTuple

from flows.run.decision.gates import for_a_judge, of_the_judge
from flows.run.decision.watching import watch_aside
from flows.run.runner import Runner
from infra import rounds
from infra.stages import find
from infra.store import Store
from schemas.config.engine import EngineConfig
from schemas.config.sources import TRAIN
from schemas.errors import ConfigError
from schemas.ids import ModelDigest, StageKey
from tasks.gates import GateVerdict
from tasks.report.ancestry import ancestry, labelled_splits, learned_from
from tasks.rows.instances import instance_ids
from tasks.rows.mix import Mix
from tasks.rows.part import JUDGES_HALF, SCORERS_HALF, Part
from tasks.stages.generate import Generate
from tasks.stages.judge import Judge
from tasks.stages.score import Score
from tasks.stages.training import TrainScorer


class Scorers(NamedTuple):
    """Who trains HMR-Scorer, and who a judge."""

    scorer: Mix
    judge: Mix


def scorers_people(config: EngineConfig, people: Mix) -> Scorers:
    """The people of `sources.scorer`; where a judge is trained beside HMR-Scorer, a half for each."""
    if not config.has_judge or config.start.judge != TRAIN:
        return Scorers(people, people)
    return Scorers(people._replace(part=SCORERS_HALF), people._replace(part=JUDGES_HALF))


def find_judge(runner: Runner, people: Mix, base: ModelDigest, scorer: ModelDigest) -> ModelDigest | None:
    """The judge that the campaign asks, trained or imported first; None where labels alone decide, or nothing does.

    Raises ConfigError for one that chooses the pairs, or has chosen some that the current policy was trained on, and
    for one that would be trained on people whom, as the store knows, the scorer was trained on.
    """
    context, said = runner.context, runner.context.config.start.judge
    if not context.config.has_judge or said is None:
        return None
    if said == TRAIN:
        _check_apart(context.store, people, scorer)
    judge = runner.start(said, TrainScorer(people, base), "judge")
    if judge == scorer:
        raise ConfigError(
            f"start.judge is {judge[:12]}, and so is start.scorer: a scorer would find better what it chose itself. "
            "Give another one, or say train."
        )
    current = rounds.state(context.store, context.config.campaign).policy or base
    chose = [made.digest for made in ancestry(context.store, ModelDigest(current)) if judge in made.choosers]
    if chose:
        raise ConfigError(
            f"start.judge is {judge[:12]}, and pairs or labels that policy {chose[-1][:12]} was trained on were chosen "
            "by its scores: give a scorer that has chosen none."
        )
    return judge


def _check_apart(store: Store, people: Mix, scorer: ModelDigest) -> None:
    """Raise ConfigError where the scorer was trained on some of these people."""
    training = ancestry(store, scorer)[-1].stage
    if training is None or people.part is None:
        return
    splits, part = labelled_splits(training)
    shared = splits & set(map(str, people.targets))
    if shared and (part is None or part.overlaps(people.part)):
        raise ConfigError(
            f"start.judge=train would train on people of {', '.join(sorted(shared))}, as start.scorer {scorer[:12]} "
            "was: let both be trained, or give a judge that was trained on others."
        )


class Shown(NamedTuple):
    """What a policy makes of the people who were set aside, and what the judge says of it."""

    hypotheses: StageKey
    scores: StageKey


@dataclass(frozen=True)
class Hearing:
    """A judge, the people who were set aside for it, and what it says of the policy before."""

    judge: ModelDigest
    aside: Mix
    before: Shown

    def is_worth_it(self, runner: Runner) -> tuple[GateVerdict, ...]:
        """What the gates say before anything is trained."""
        return runner.judge(for_a_judge, self.before.hypotheses, self.aside.targets)

    def decide(self, runner: Runner, policy: ModelDigest, scorer: ModelDigest) -> tuple[GateVerdict, ...]:
        """What the gates say of `policy`, which was trained on what the `scorer` chose."""
        before, after = self.before, _show(runner, self.judge, self.aside, policy, "after")
        found = Judge(before.hypotheses, after.hypotheses, before.scores, after.scores, self.aside.ingests)
        verdicts = runner.judge(of_the_judge, runner.run(found), self.aside.targets)
        shown, judged = (before.hypotheses, after.hypotheses), (before.scores, after.scores)
        return verdicts + watch_aside(runner, shown, judged, self.aside, scorer)


def set_aside(runner: Runner, judge: ModelDigest | None, wild: Mix, policy: ModelDigest) -> tuple[Mix, Hearing | None]:
    """Those of `wild` who are learned from, and the hearing of the others; where no judge decides all, and none."""
    if judge is None or not runner.context.config.is_judged:
        return wild, None
    share = runner.context.config.gates.judged_share
    aside = wild._replace(part=Part(0.0, share))
    _refuse_if_learned_from(runner.context.store, aside, policy)
    return wild._replace(part=Part(share, 1.0)), Hearing(judge, aside, _show(runner, judge, aside, policy, "before"))


def _refuse_if_learned_from(store: Store, aside: Mix, policy: ModelDigest) -> None:
    """Raise ConfigError where people for the judge are those that the current policy learned from already."""
    if any(find(store, key) is None for key in aside.ingests):
        return  # they are still to be ingested, so nobody has learned from them
    people = instance_ids(store, aside.ingests, aside.targets, aside.part)
    known = learned_from(store, policy).intersection(people)
    if known:
        raise ConfigError(
            f"{len(known)} of the {len(people)} people who are set aside for the judge are people that policy "
            f"{policy[:12]} was trained on, in a round before there was a judge or with a smaller gates.judged_share: "
            "name another campaign (--campaign), whose rounds set them aside from the first."
        )


def _show(runner: Runner, judge: ModelDigest, aside: Mix, policy: ModelDigest, role: str) -> Shown:
    """Hypotheses as an evaluation draws them, and their scores by the judge."""
    drawn = Generate(aside.ingests, aside.targets, policy, runner.context.config.evaluate.generate, part=aside.part)
    hypotheses = runner.run(drawn, role=f"judge, {role}")
    return Shown(hypotheses, runner.run(Score(hypotheses, aside.ingests, judge), role=f"judge, {role}"))


def decided_by(config: EngineConfig, judge: ModelDigest) -> str:
    """How the reason begins that the log and the report give for a round that the judge decided."""
    sources = config.sources
    for_this = " for this decision" if sources.test else ""
    but_drift = " but that of drift" if sources.drift else ""
    return f"{rounds.WITHOUT_ERRORS}{for_this}{but_drift}, the judge {judge[:12]} decided: "


def about_judge(config: EngineConfig) -> tuple[str, ...]:
    """What a plan and a report say of the judge, if the configuration names one."""
    if config.gates.without_labels != "judge":
        return ()
    if not config.is_judged:
        watches = "only watches" if config.gates.watch_score else "is not asked"
        return (f"sources.validation is not empty: its labels decide, and start.judge {watches}.",)
    return (
        f"No labelled people are held out for gates, so a judge decides, by {100 * config.gates.judged_share:g} % of "
        "the in-the-wild pictures, which nothing is learned from. It measures no error: what it has wrong in common "
        "with the scorer it can't find.",
    )
