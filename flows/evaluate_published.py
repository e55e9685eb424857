"""evaluate-published and evaluate-scorer: models of files or of the store, measured as the papers measure them."""

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Final

from prefect import flow

from flows.run import parameters
from flows.run.configuration import Choices
from flows.run.decision.published import absolute_body
from flows.run.decision.unseen import check_unseen, notes_on_policy
from flows.run.models import model_named
from flows.run.round import current_policy
from flows.run.session import session
from infra.standing import newest_ingest
from infra.store import Store
from models.published_metrics import Order
from schemas.errors import ConfigError, DataError, named
from schemas.ids import StageKey, Target
from tasks.evaluation.scorer import given_hypotheses
from tasks.stages.evaluate import Evaluate
from tasks.stages.published import EvaluatePublished, MeasurePublished
from tasks.stages.published_scorer import EvaluateScorer, ScoreNoised
from tasks.stages.score import Score

PROTOCOLS: Final[Mapping[str, Order | None]] = {
    "published": None,
    "published-3dpw": "3dpw",
    "published-human36m": "human36m",
}
"""In which order each chooses and aligns joints; None: that goes by the data set."""
HYPOTHESES, NOISED_LABELS = 100, 10
_OTHER_NAMES: Final = {"h36m": "human36m", "pw3d": "3dpw", "human36m": "h36m", "3dpw": "pw3d"}
_ALIGNED_BY_17: Final = ("h36m", "human36m")


@flow(name="evaluate-published", flow_run_name=parameters.run_named("evaluate-published {data}"), persist_result=False)
def evaluate_published(
    data: str,
    store: parameters.OptionalText = None,
    profile: parameters.OptionalProfile = None,
    campaign: parameters.OptionalText = None,
    seed: parameters.OptionalSeed = None,
    policy: parameters.OptionalText = None,
    scorer: parameters.OptionalText = None,
    hypotheses: parameters.Count = HYPOTHESES,
    protocol: Annotated[str, parameters.one_of(PROTOCOLS)] = "published",
    body: parameters.OptionalText = None,
    changes: parameters.OptionalChanges = None,
    config: parameters.OptionalCampaignFile = None,
) -> str:
    """Measure a policy by a published protocol; gives the key of the evaluation, whose rows are in metrics.

    Args:
        data: data set that was ingested, or data set/split; the split is test if not given
        store: URL of the store; ADHMR_STORE or ./adhmr-store if not given
        profile: what to start from (tiny, micro, paper); the campaign file's, or tiny, if not given
        campaign: name of the sequence of rounds; the campaign file's, or the profile's own, if not given
        seed: seed of all stages; the campaign file's, or 0, if not given
        policy: checkpoint file, or digest in the store; the campaign's current policy if not given
        scorer: checkpoint file, or digest in the store; without one nothing is averaged or selected
        hypotheses: M, the zero-noise hypothesis among them
        protocol: published, whose alignment goes by the name of the data set; published-3dpw or published-human36m
        body: folder of published body files; the profile's body if not given
        changes: configuration fields that differ from the profile, dotted name to value
        config: campaign file: path or URL of YAML, or what it would hold; all else that is given here counts more
    """
    order = order_of(protocol, target_of(data).dataset)
    with session("an evaluation", store, Choices(profile, campaign, seed, changes, config)) as runner:
        context = runner.context
        target, people = ingested(context.store, target_of(data))
        chosen = model_named(context, policy, "policy") if policy else current_policy(context)
        model = model_named(context, scorer, "scorer") if scorer else None
        bodies = body or context.config.body
        measurement = MeasurePublished((people,), target, chosen, model, hypotheses, order, absolute_body(bodies))
        return runner.run(EvaluatePublished(measurement))


@flow(name="evaluate-scorer", flow_run_name=parameters.run_named("evaluate-scorer {data}"), persist_result=False)
def evaluate_scorer(
    scorer: str,
    data: str,
    store: parameters.OptionalText = None,
    profile: parameters.OptionalProfile = None,
    campaign: parameters.OptionalText = None,
    seed: parameters.OptionalSeed = None,
    policy: parameters.OptionalText = None,
    seen_too: bool = False,
    hypotheses: parameters.Count = NOISED_LABELS,
    body: parameters.OptionalText = None,
    changes: parameters.OptionalChanges = None,
    config: parameters.OptionalCampaignFile = None,
) -> str:
    """Correlate a scorer's scores with errors, and say what a score means in millimetres.

    On real samples, where a policy is given; else on hypotheses with errors, where the split has some (ingested from
    the format scorer-eval); else on noised labels. Gives the key of the evaluation, whose rows are in metrics.

    Args:
        scorer: checkpoint file, or digest in the store
        data: data set that was ingested, or data set/split; the split is test if not given
        store: URL of the store; ADHMR_STORE or ./adhmr-store if not given
        profile: what to start from (tiny, micro, paper); the campaign file's, or tiny, if not given
        campaign: name of the sequence of rounds; the campaign file's, or the profile's own, if not given
        seed: seed of all stages, and of the noise; the campaign file's, or 0, if not given
        policy: checkpoint file, or digest in the store, whose random samples are scored and measured
        seen_too: measure on people whom the scorer was trained on, too, and say so; else they are refused
        hypotheses: how often each label is noised, the first time not at all; or random samples of each person
        body: folder of published body files that labels are posed with; the profile's body if not given
        changes: configuration fields that differ from the profile, dotted name to value
        config: campaign file: path or URL of YAML, or what it would hold; all else that is given here counts more
    """
    with session("an evaluation", store, Choices(profile, campaign, seed, changes, config)) as runner:
        context = runner.context
        target, model = target_of(data), model_named(context, scorer, "scorer")
        given = None if policy else given_hypotheses(context.store, target)
        scoring: ScoreNoised | Score | Evaluate
        if given is not None:
            people, scoring = given, Score(given, (given,), model)
        else:
            target, people = ingested(context.store, target)
            bodies = absolute_body(body or context.config.body)
            scoring = ScoreNoised((people,), target, model, hypotheses, bodies)
        notes = check_unseen(context.store, model, people, target, seen_too)
        if policy:
            drawing, settings = model_named(context, policy, "policy"), context.config.evaluate
            drawn = settings.generate.model_copy(update={"hypotheses": hypotheses + 1})
            settings = settings.model_copy(update={"generate": drawn})
            scoring = Evaluate((people,), (target,), drawing, model, settings)
            notes += notes_on_policy(context.store, drawing, target)
        for note in notes:
            context.progress.say(note)
        evaluation = EvaluateScorer(target, scoring)
        key = runner.run(evaluation)
        runner.run(evaluation.calibration(context))
        return key


def target_of(data: str) -> Target:
    """The split that DATASET/SPLIT or DATASET names. Raises ConfigError."""
    dataset, sign, split = data.partition("/")
    if not dataset or (sign and not split) or "/" in split:
        raise ConfigError(f"--data {data}: give a data set that was ingested, such as 3dpw or 3dpw/test.")
    return Target(dataset, split or "test")


def ingested(store: Store, target: Target) -> tuple[Target, StageKey]:
    """The split and the newest ingest of it; Human3.6M and 3DPW are found under their other usual name too.

    Raises DataError, which names what there is, where there is none.
    """
    try:
        return target, newest_ingest(store, target)
    except DataError:
        renamed = target._replace(dataset=_OTHER_NAMES.get(target.dataset, target.dataset))
        with suppress(DataError):
            return renamed, newest_ingest(store, renamed)
        raise


def order_of(protocol: str, dataset: str) -> Order:
    """In which order joints are chosen and aligned: Human3.6M's evaluation aligns 17, all others 14.

    Raises ConfigError for a protocol that there isn't.
    """
    plain = re.sub(r"[^a-z0-9]", "", dataset.lower())
    by_data: Order = "human36m" if plain.startswith(_ALIGNED_BY_17) else "3dpw"
    return named(PROTOCOLS, protocol, "protocol") or by_data
