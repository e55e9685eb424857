"""predict: ingest → generate → score → a new folder of bodies, overlays and meshes, for photographs without labels."""

from dataclasses import replace
from typing import Annotated

from prefect import flow

from flows.run import parameters
from flows.run.configuration import Choices
from flows.run.models import model_named
from flows.run.prediction import TAKES, prediction
from flows.run.round import current_policy
from flows.run.runner import Runner
from flows.run.session import single_step
from schemas.config.stages import GenerateConfig
from schemas.errors import DataError
from schemas.ids import ModelDigest
from tasks.engine.context import Context
from tasks.ingest.annotated import IngestAnnotations
from tasks.ingest.source.folder import Folder
from tasks.predict.bodies import Predicted
from tasks.predict.output import Written, nobody, somebody, unused, write_prediction
from tasks.rows.models import network_of
from tasks.stages.generate import Generate
from tasks.stages.score import Score


@flow(name="predict", flow_run_name=parameters.run_named("predict {images}"), persist_result=False)
def predict(
    images: str,
    out: str,
    store: parameters.OptionalText = None,
    profile: parameters.OptionalProfile = None,
    campaign: parameters.OptionalText = None,
    seed: parameters.OptionalSeed = None,
    policy: parameters.OptionalText = None,
    scorer: parameters.OptionalText = None,
    boxes: parameters.OptionalText = None,
    take: Annotated[parameters.OptionalText, parameters.one_of(["", *TAKES])] = None,
    options: parameters.OptionalWords = None,
    overlays: bool = True,
    meshes: bool = False,
    body: parameters.OptionalText = None,
    changes: parameters.OptionalChanges = None,
    config: parameters.OptionalCampaignFile = None,
) -> Written:
    """Write the bodies of the people in photographs to a new folder. What the store has of them already is reused.

    Nothing is promoted. People and pictures that can't be used are left out, and are in failures with their reason.

    Args:
        images: folder of photographs
        out: new folder for bodies.parquet, humandata.npz, overlays and meshes; a path or URL
        store: URL of the store; ADHMR_STORE or ./adhmr-store if not given
        profile: what to start from (tiny, micro, paper); the campaign file's, or tiny, if not given
        campaign: name of the sequence of rounds; the campaign file's, or the profile's own, if not given
        seed: seed of the noise; the campaign file's, or 0, if not given
        policy: checkpoint file, or digest in the store; the campaign's current policy if not given
        scorer: checkpoint file, or digest in the store
        boxes: table of people in the photographs (CSV, Parquet or JSON; path, x, y, w, h), or what a detector wrote
            (COCO results, folder of YOLO's texts, MOT); without it each picture is one person
        take: of each person the body from zero noise (zero), the one that the scorer prefers (selected), or all; if not
            given, selected with a scorer, else zero
        options: options of the format folder, name to value ("least_score": "0.3")
        overlays: draw the bodies over the photographs
        meshes: write the bodies as glTF, too (.glb)
        body: folder of published body files, or a file; the profile's body if not given
        changes: configuration fields that differ from the profile, dotted name to value ("generate.hypotheses": "50")
        config: campaign file: path or URL of YAML, or what it would hold; all else that is given here counts more
    """
    asked = prediction(images, out, scorer, boxes, take, options, meshes)
    changed = {**(changes or {}), **({"body": body} if body else {})}
    with single_step(store, Choices(profile, campaign, seed, changed, config), create=True) as runner:
        policy_digest = model_named(runner.context, policy, "policy") if policy else current_policy(runner.context)
        scorer_digest = model_named(runner.context, scorer, "scorer") if scorer else None
        runner.context = _as_the_models_see(runner, policy_digest, scorer_digest)
        context = runner.context

        # of one data set, whatever folder it is: the newest counts
        people = runner.run(IngestAnnotations(asked.source, allow_leakage=True, replace_source=True))
        if not somebody(context, people, asked.source.target):
            raise DataError(nobody(unused(context, [people])))
        drawn = _drawn(context.config.generate, asked.take == "zero" and scorer_digest is None)
        generation = runner.run(Generate((people,), (asked.source.target,), policy_digest, drawn))
        scores = runner.run(Score(generation, (people,), scorer_digest)) if scorer_digest else None

        predicted = Predicted(
            ingests=(people,),
            generation=generation,
            scores=scores,
            take=asked.take,
            target=asked.source.target,
            policy=policy_digest,
            scorer=scorer_digest,
        )
        return write_prediction(context, predicted, Folder(asked.source.url), asked.out, overlays, meshes)


def _as_the_models_see(runner: Runner, policy: ModelDigest, scorer: ModelDigest | None) -> Context:
    """The context with crops of the size that the models take, and in which one bad picture stops nobody else."""
    context, config = runner.context, runner.context.config
    models = filter(None, (policy, scorer))
    sizes = {digest: network_of(context.store, digest).condition.image_size for digest in models}
    if len(set(sizes.values())) > 1:
        told = " and ".join(f"{digest[:12]} crops of {size} px" for digest, size in sizes.items())
        raise DataError(f"Policy and scorer don't go together: {told}.")
    if sizes[policy] != config.ingest.crop_size_px:
        context.progress.say(f"crops are {sizes[policy]} px wide, as policy {policy[:12]} takes them")
    ingest = config.ingest.model_copy(update={"crop_size_px": sizes[policy]})
    gates = config.gates.model_copy(update={"max_failed_share": 1.0})
    return replace(context, config=config.model_copy(update={"ingest": ingest, "gates": gates}))


def _drawn(config: GenerateConfig, zero_alone: bool) -> GenerateConfig:
    """As few hypotheses as there can be, where only that from zero noise is looked at."""
    return config.model_copy(update={"hypotheses": 2}) if zero_alone else config
