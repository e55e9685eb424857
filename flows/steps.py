"""Single steps, each a flow of its own: train-scorer, generate, score, pair, keep and align, on anything in the store.

They run the stages of the rounds, under the same keys, so that what a round has done is found and not done again. They
belong to no campaign, and promote nothing.
"""

from prefect import flow

from flows.order.labels import Guessed, kept_of
from flows.progress.artifacts import log_in_current_run
from flows.run import parameters
from flows.run.configuration import Choices
from flows.run.decision.gates import why_none_kept
from flows.run.live import LiveRunner
from flows.run.session import single_step
from flows.run.steps import asked
from flows.run.steps.ended import ended
from schemas.errors import DataError
from schemas.ids import StageKey
from tasks.clean.swapped import SwapLabels
from tasks.engine.stage import Stage
from tasks.stages.clean import ScoreLabels

_EVERYWHERE = """store: URL of the store; ADHMR_STORE or ./adhmr-store if not given
        profile: what to start from (tiny, micro, paper); the campaign file's, or tiny, if not given
        seed: seed of all stages; the campaign file's, or 0, if not given
        changes: configuration fields that differ from the profile, dotted name to value
        config: campaign file: path or URL of YAML, or what it would hold; all else that is given here counts more"""
_FILE_OR_DIGEST = "checkpoint file, or digest in the store, or its beginning"


@flow(name="train-scorer", flow_run_name=parameters.run_named("train-scorer"), persist_result=False)
@parameters.saying(everywhere=_EVERYWHERE, model=_FILE_OR_DIGEST)
def train_scorer(
    data: parameters.SomeText,
    policy: str,
    store: parameters.OptionalText = None,
    profile: parameters.OptionalProfile = None,
    seed: parameters.OptionalSeed = None,
    changes: parameters.OptionalChanges = None,
    config: parameters.OptionalCampaignFile = None,
) -> str:
    """Train HMR-Scorer on labelled people and on what a policy draws for them; gives the key of the training.

    Args:
        data: labelled splits that were ingested, such as gta-human2/train; or with a weight, gta-human2/train=2
        policy: {model}
        {everywhere}
    """
    with single_step(store, Choices(profile, None, seed, changes, config)) as runner:
        return _one(runner, asked.scorer_training(runner.context, data, policy))


@flow(name="generate", flow_run_name=parameters.run_named("generate"), persist_result=False)
@parameters.saying(everywhere=_EVERYWHERE, model=_FILE_OR_DIGEST)
def generate(
    data: parameters.SomeText,
    policy: str,
    store: parameters.OptionalText = None,
    profile: parameters.OptionalProfile = None,
    seed: parameters.OptionalSeed = None,
    noise_of_round: parameters.OptionalRound = None,
    scorer: parameters.OptionalText = None,
    changes: parameters.OptionalChanges = None,
    config: parameters.OptionalCampaignFile = None,
) -> str:
    """Draw hypotheses of a policy; gives the key of the stage, whose rows are in hypotheses.

    Args:
        data: splits that were ingested, such as 3dpw/train
        policy: {model}
        noise_of_round: number of a round of a campaign whose noise is drawn; noise of no round if not given
        scorer: {model}; scores them in the same pass, where hypotheses.keep says that not all are kept
        {everywhere}
    """
    with single_step(store, Choices(profile, None, seed, changes, config)) as runner:
        return _one(runner, asked.generation(runner.context, data, policy, noise_of_round, scorer))


@flow(name="score", flow_run_name=parameters.run_named("score {hypotheses}"), persist_result=False)
@parameters.saying(everywhere=_EVERYWHERE, model=_FILE_OR_DIGEST)
def score(
    hypotheses: str,
    scorer: str,
    store: parameters.OptionalText = None,
    profile: parameters.OptionalProfile = None,
    seed: parameters.OptionalSeed = None,
    changes: parameters.OptionalChanges = None,
    config: parameters.OptionalCampaignFile = None,
) -> str:
    """Score hypotheses that were generated or ingested; gives the key of the stage, whose rows are in scores.

    Args:
        hypotheses: key of the stage that left them, or its beginning
        scorer: {model}
        {everywhere}
    """
    with single_step(store, Choices(profile, None, seed, changes, config)) as runner:
        return _one(runner, asked.scoring(runner.context, hypotheses, scorer))


@flow(name="pair", flow_run_name=parameters.run_named("pair {scores}"), persist_result=False)
@parameters.saying(everywhere=_EVERYWHERE)
def pair(
    scores: str,
    store: parameters.OptionalText = None,
    profile: parameters.OptionalProfile = None,
    seed: parameters.OptionalSeed = None,
    changes: parameters.OptionalChanges = None,
    config: parameters.OptionalCampaignFile = None,
) -> str:
    """Choose winners and losers among scored hypotheses; gives the key of the stage, whose rows are in pairs.

    Args:
        scores: key of the stage that left them, or its beginning
        {everywhere}
    """
    with single_step(store, Choices(profile, None, seed, changes, config)) as runner:
        return _one(runner, asked.pairing(runner.context, scores))


@flow(name="keep", flow_run_name=parameters.run_named("keep"), persist_result=False)
@parameters.saying(everywhere=_EVERYWHERE, model=_FILE_OR_DIGEST)
def keep(
    data: parameters.SomeText,
    scorer: str,
    store: parameters.OptionalText = None,
    profile: parameters.OptionalProfile = None,
    seed: parameters.OptionalSeed = None,
    policy: parameters.OptionalText = None,
    labels: parameters.OptionalText = None,
    changes: parameters.OptionalChanges = None,
    config: parameters.OptionalCampaignFile = None,
) -> str:
    """Keep what clean.filter finds good of labels; gives the key of the stage, whose rows are in labels.

    Args:
        data: splits that were ingested, such as photographs/train
        scorer: {model}
        policy: {model}; its bodies are the labels, those of zero noise unless clean.label says otherwise
        labels: Parquet table of labels with the columns of the table labels, or "ingested", those that the people were
            ingested with, in the place of a policy's
        {everywhere}
    """
    with single_step(store, Choices(profile, None, seed, changes, config)) as runner:
        wanted = asked.keeping(runner.context, data, scorer, policy, labels)
        guessed, ingests = runner.run(wanted.labels), wanted.labels.ingests
        if wanted.swapped is not None:
            guessed = runner.run(SwapLabels(guessed, ingests, *wanted.swapped))
        scores = runner.run(ScoreLabels(guessed, ingests, wanted.scorer))
        stage = kept_of(runner.context.config, Guessed(guessed, scores, wanted.calibration))
        key = runner.run(stage)
        why = why_none_kept(runner.context, stage, key)
        if why:
            raise DataError(why)
        return _told(runner, key)


@flow(name="align", flow_run_name=parameters.run_named("align {pairs}"), persist_result=False)
@parameters.saying(everywhere=_EVERYWHERE, model=_FILE_OR_DIGEST)
def align(
    pairs: str,
    policy: str,
    store: parameters.OptionalText = None,
    profile: parameters.OptionalProfile = None,
    seed: parameters.OptionalSeed = None,
    reference: parameters.OptionalText = None,
    replay: parameters.OptionalTexts = None,
    changes: parameters.OptionalChanges = None,
    config: parameters.OptionalCampaignFile = None,
) -> str:
    """Train a policy on pairs; gives the key of the training. No campaign has the new policy, and nothing is promoted.

    Args:
        pairs: key of the stage that left them, or its beginning
        policy: {model}
        reference: policy that the new one is measured against, named likewise; the policy itself if not given
        replay: labelled splits that are replayed, so that the policy keeps what it knows; align.replay=0 needs none
        {everywhere}
    """
    with single_step(store, Choices(profile, None, seed, changes, config)) as runner:
        return _one(runner, asked.alignment(runner.context, pairs, policy, reference, replay or ()))


def _one(runner: LiveRunner, stage: Stage) -> str:
    """The key of the last stage of a step, done and told of."""
    return _told(runner, runner.run(stage))


def _told(runner: LiveRunner, key: StageKey) -> str:
    """The key of a step that is done, which is told of."""
    for line in ended(runner.context, key).lines():
        log_in_current_run(line)
    return key
