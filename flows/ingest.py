"""ingest: people, pairs or hypotheses of the user, in any of the formats, into the tables of the store."""

from typing import Annotated

from prefect import flow

from flows.run import parameters
from flows.run.configuration import Choices
from flows.run.ingest_request import request
from flows.run.session import session
from infra.standing import newest_ingest
from tasks.ingest.annotated import IngestAnnotations
from tasks.ingest.formats.registry import formats
from tasks.ingest.hypotheses.bodies import IngestBodies
from tasks.ingest.hypotheses.stage import IngestHypotheses
from tasks.ingest.pairs.stage import IngestPairs


@flow(name="ingest", flow_run_name="ingest {dataset}/{split} from {format}", persist_result=False)
@parameters.saying(formats=parameters.in_words(formats()))
def ingest(
    format: Annotated[str, parameters.one_of(formats())],
    source: str,
    dataset: str,
    split: str,
    store: parameters.OptionalText = None,
    profile: parameters.OptionalProfile = None,
    campaign: parameters.OptionalText = None,
    every: parameters.Count = 1,
    images: parameters.OptionalText = None,
    body: parameters.OptionalText = None,
    options: parameters.OptionalWords = None,
    allow_leakage: bool = False,
    replace: bool = False,
    changes: parameters.OptionalChanges = None,
    follow_links: parameters.OptionalText = None,
    config: parameters.OptionalCampaignFile = None,
) -> str:
    """Take a source into the store; gives the key of the ingest, whose rows are in images, instances, labels, failures.

    Done again, only what is new or changed is ingested. Rows that can't be used end in failures, each with its reason.

    Args:
        format: {formats}
        source: path or URL of the file, or of the folder that the format is
        dataset: name that the data set gets; for dpo-json, the one that the pairs' people were ingested as
        split: train, validation, test, ...; for dpo-json as dataset
        store: URL of the store; ADHMR_STORE or ./adhmr-store if not given
        profile: what to start from (tiny, micro, paper); the campaign file's, or tiny, if not given
        campaign: name of the sequence of rounds that the ingest is noted under; the file's or profile's if not given
        every: take every N-th row of the file (of Human3.6M and videos, every N-th frame)
        images: folder of pictures that the file's paths start from; if not given, where the format has them. Of a
            video, the folder that its frames are written to
        body: folder of published body files to pose labels with, which parameters of bodies need; or tiny or full, the
            free body, for files that were written from it
        options: the format's own options, name to value ("zero_betas": "true")
        allow_leakage: take pictures too that another split of the data set has
        replace: take the place of another source that was ingested as this split
        changes: configuration fields that differ from the profile, dotted name to value
        follow_links: follow links among the pictures, as far as they lead to this folder or below it
        config: campaign file: path or URL of YAML, or what it would hold; all else that is given here counts more
    """
    asked = request(format, source, dataset, split, every, images, body, options, allow_leakage, replace, follow_links)
    with session("an ingest", store, Choices(profile, campaign, changes=changes, config=config)) as runner:
        match asked.brings:
            case "pairs":
                people = newest_ingest(runner.context.store, asked.source.target)
                return runner.take_in(IngestPairs(asked.source, (people,), asked.source.target))
            case "hypotheses":
                return runner.take_in(IngestHypotheses(asked.source, asked.allow_leakage))
            case "bodies":
                return runner.take_in(IngestBodies(asked.source, asked.bodies, asked.allow_leakage))
        annotations = IngestAnnotations(asked.source, asked.bodies, asked.allow_leakage, asked.replace)
        return runner.take_in(annotations)
