"""The people of a campaign: the ingest that each split of `sources` comes from, made first where it is missing."""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

from flows.run.campaign.opening import ingests_of_open_round
from flows.run.campaign.start import in_place
from flows.run.ingest_request import Request, request
from flows.run.runner import Runner
from infra.standing import newest_ingest
from schemas.config.engine import EngineConfig
from schemas.config.sources import ROLES, TRAIN, SourcesConfig
from schemas.errors import ConfigError, DataError
from schemas.ids import StageKey, Target
from schemas.splits import SYNTHETIC
from tasks.engine.context import Context
from tasks.ingest.annotated import IngestAnnotations
from tasks.ingest.stage import Ingest
from tasks.rows.mix import Mix
from tasks.stages.synthesize import Synthesize, synthetic_sources


class People(NamedTuple):
    """The people of each role (`schemas.config.sources`), as stages take them; no `scorer` where none is trained."""

    labelled: Mix
    scorer: Mix
    wild: Mix
    validation: Mix
    test: Mix
    drift: Mix
    ingests: Mapping[Target, StageKey]
    """Of every split."""

    @property
    def held_out(self) -> Mix:
        """All that a policy is measured on."""
        return _union(self.validation, self.test, self.drift)

    @property
    def reported(self) -> Mix:
        """What controls are measured on: for reports alone, or for want of that whatever is held out."""
        return self.test if self.test.targets else self.held_out


def find_people(runner: Runner) -> People:
    """The people of the campaign. An open round goes on with the ingests that it began with.

    Raises DataError, which names the command, for a data set that the store doesn't have and the configuration doesn't
    say how to get; ConfigError for one that is called as one of the engine's own.
    """
    config = runner.context.config
    sources = config.sources
    roles = roles_of(config)
    names = sources.targets(*roles)
    own = made_here(config)
    ingests = ingests_of_open_round(runner.context, names)
    if own:
        pictures = runner.run(Synthesize())
        synthetic = runner.run(Ingest(synthetic_sources(runner.context, pictures), made_by=pictures))
        ingests |= dict.fromkeys(own, synthetic)
    for target in names:
        if target not in ingests:
            origin = origin_of(runner.context, target)
            if isinstance(origin, Request):
                origin = runner.run(IngestAnnotations(origin.source, origin.bodies), role=str(target))
            ingests[target] = origin
    mixes = {role: _mix(sources, role, ingests) for role in roles}
    return People(**{"scorer": Mix((), ()), **mixes}, ingests={target: ingests[target] for target in names})


def roles_of(config: EngineConfig) -> list[str]:
    """The roles whose people a campaign needs."""
    judge = config.start.judge if config.has_judge else None
    trains = TRAIN in (config.start.scorer, judge) or config.renew.scorer == "retrain"
    return [role for role in ROLES if role != "scorer" or trains]


def made_here(config: EngineConfig) -> list[Target]:
    """The splits that the engine makes itself. ConfigError where a data set is called as one that it would make too."""
    given = {data.target for data in config.data}
    own = [
        target for target in config.sources.targets(*roles_of(config)) if target in SYNTHETIC and target not in given
    ]
    for data in config.data:
        if own and data.target in SYNTHETIC:
            raise ConfigError(
                f"data gives {data.target}, which the engine makes too, and {own[0]} is to be the engine's: give yours "
                "another name, or give that one too."
            )
    return own


def origin_of(context: Context, target: Target) -> StageKey | Request:
    """The newest ingest of a split; where there is none, what the configuration says to ingest.

    Raises DataError, which names the command, where it says nothing; ConfigError and DataError for what it can't mean.
    """
    data = next((data for data in context.config.data if data.target == target), None)
    try:
        return newest_ingest(context.store, target)
    except DataError as error:
        if data is None:
            command = f"adhmr ingest --format FORMAT --source FILE --dataset {target.dataset} --split {target.split}"
            raise DataError(
                f"{error} `{command}` takes it in; or let the campaign file say how, under `data`."
            ) from error
    words = data.format, data.source, *target, data.every, data.images, data.body, data.options
    asked = in_place(f"data: {target}", partial(request, *words))
    if asked.brings not in ("people", "pictures"):
        others = (
            "; as labels (options: {as: labels}) it brings people" if "people" in asked.format.ways.values() else ""
        )
        raise ConfigError(f"data: {target} comes from the format {data.format}, which brings {asked.brings}{others}.")
    return asked


def _union(*parts: Mix) -> Mix:
    return Mix(
        tuple(dict.fromkeys(key for part in parts for key in part.ingests)),
        tuple(dict.fromkeys(target for part in parts for target in part.targets)),
    )


def _mix(sources: SourcesConfig, role: str, ingests: Mapping[Target, StageKey]) -> Mix:
    chosen = getattr(sources, role)
    targets = tuple(source.target for source in chosen)
    keys = tuple(dict.fromkeys(ingests[target] for target in targets))
    return Mix(keys, targets, tuple(source.weight for source in chosen))
