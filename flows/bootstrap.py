"""bootstrap: synthesize → ingest → base policy → HMR-Scorer → evaluate; then the campaign has its first policy."""

from typing import NamedTuple

from prefect import flow

from flows.run import pipeline
from flows.run.parameters import OptionalChanges, OptionalText, ProfileName, Seed
from flows.run.runner import Line
from flows.run.session import session
from infra import rounds
from tasks.engine.context import Target
from tasks.synthesize.stage import synthetic_sources

WILD_TRAIN = Target("wild", "train")
WILD_TEST = Target("wild", "test")
HELD_OUT = (Target("wild", "validation"), WILD_TEST, Target("source", "test"))


class Ground(NamedTuple):
    """What rounds stand on: key of the ingested synthetic people, digests of base policy and scorer."""

    people: str
    base: str
    scorer: str


def lay_ground(line: Line) -> Ground:
    """The stages of the bootstrap; those that a commit covers are found and not done again."""
    pictures = line.do(pipeline.SYNTHESIZE)
    people = line.do(pipeline.INGEST, synthetic_sources(line.context, pictures), reads=(pictures,))
    base = line.model(pipeline.TRAIN_BASE, people)
    scorer = line.model(pipeline.TRAIN_SCORER, people, base)
    line.do(pipeline.EVALUATE, (people,), HELD_OUT, base, scorer, line.context.config.evaluate, role="first policy")
    return Ground(people, base, scorer)


@flow(name="bootstrap", flow_run_name="bootstrap, {profile}", persist_result=False)
def bootstrap(
    store: OptionalText = None,
    profile: ProfileName = "tiny",
    campaign: OptionalText = None,
    seed: Seed = 0,
    changes: OptionalChanges = None,
) -> Ground:
    """Make what rounds stand on, as far as it isn't there yet, and give the campaign its first policy.

    Args:
        store: URL of the store; ADHMR_STORE or ./adhmr-store if not given
        profile: configuration to start from (tiny, micro, paper)
        campaign: name of the sequence of rounds; the profile's own if not given
        seed: seed of all stages
        changes: configuration fields that differ from the profile, dotted name to value ("align.beta": "10")
    """
    with session("bootstrap", store, profile, campaign, seed, changes) as line:
        ground = lay_ground(line)
        context = line.context
        if rounds.begin(context.store, context.config.campaign, ground.base):
            context.progress.say(f"campaign {context.config.campaign} begins with policy {ground.base[:12]}")
        return ground
