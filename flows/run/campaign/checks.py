"""What a campaign's configuration names, looked at before a round opens: models, data sets, bodies, room on the disk.

What would end the round hours later, when its stage is reached, is said here: all of it at once (`check_all`).
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import lru_cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow.compute as pc

from flows.run.campaign.aside import enough_are_set_aside, enough_may_be_set_aside
from flows.run.campaign.opening import ingests_of_open_round
from flows.run.campaign.people import made_here, origin_of, roles_of
from flows.run.campaign.room import Split, disk_has_room, machine_has_resources
from flows.run.campaign.start import Known, fitting, in_place, look_at_encoder, look_at_model
from flows.run.ingest_request import Request
from infra.standing import read_standing
from infra.store import Store
from models.body_arrays import body_digest
from schemas.config.engine import EngineConfig
from schemas.config.networks import ScorerConfig
from schemas.config.sources import StartConfig
from schemas.errors import ConfigError, DataError
from schemas.ids import StageKey, Target
from tasks.engine.context import Context
from tasks.ingest.formats.registry import reader_of
from tasks.ingest.people.annotations import AnnotationSource
from tasks.pairing.strategies import strategy_named
from tasks.rows.instances import of_target


def campaign_checks(
    context: Context, machine: bool = True, own_pictures: bool = False
) -> Iterator[Callable[[], object]]:
    """The checks of a campaign's configuration; those of this `machine` only where the work is to be done on it. With
    `own_pictures` nothing is learned from the campaign's in-the-wild people."""
    config = context.config
    yield partial(in_place, "body", lambda: body_digest(config.body))
    for source in config.sources.test:
        if source.protocol is not None:  # which regresses joints that no other stage needs
            yield partial(in_place, f"sources.test: {source.data}", partial(_regresses_joints, config.body))
    models: dict[str, Known] = {}
    yield partial(look_at_encoder, context)
    for name in StartConfig.model_fields:
        if name != "encoder":
            yield partial(look_at_model, context, name, models)
    yield from fitting(context, models)
    yield partial(scorer_has_heads, config, models)
    yield partial(made_here, config)
    splits: list[Split] = []
    for role in roles_of(config):
        for target in config.sources.targets(role):
            judged = role == "wild" and config.is_judged and not own_pictures
            yield partial(_find_split, context, role, target, models, splits, judged)
    if machine:
        yield partial(disk_has_room, context, models, splits)
        yield partial(machine_has_resources, context)


def _regresses_joints(body: str) -> None:
    """Raise DataError for a body that a published protocol can't measure with."""
    from tasks.evaluation.bodies import smpl_with_joints

    smpl_with_joints(body)


def scorer_has_heads(config: EngineConfig, models: dict[str, Known]) -> None:
    """Raise ConfigError where pairs are to be chosen by how much the scorer's heads differ, and it has one."""
    chosen = (config.pair.strategy, *([config.pair.other_strategy] if config.pair.other_share else []))
    asking = [name for name in chosen if strategy_named(name).by_heads]
    scorers = [models["scorer"].config] if "scorer" in models else []
    scorers += [config.scorer] if config.renew.scorer == "retrain" else []
    if asking and any(isinstance(scorer, ScorerConfig) and scorer.score_heads == 1 for scorer in scorers):
        raise ConfigError(
            f"The pair strategy {asking[0]} goes by how much the heads of the scorer differ, and the scorer has one: "
            "set scorer.score_heads above 1 for one that is trained, give a scorer with several, or set another "
            "pair.strategy."
        )


def _find_split(
    context: Context, role: str, target: Target, models: dict[str, Known], splits: list[Split], judged: bool
) -> None:
    """Look at the people of a split: where they come from, and whether they can play this role; `judged`, whether a
    part of them is set aside for a judge."""
    config, policy = context.config, models.get("policy")
    opened = ingests_of_open_round(context, config.sources.targets(*roles_of(config)))
    if target not in opened and target in _own(config):
        _crops_fit(f"sources.{role}: {target}", (config.ingest.crop_size_px,), policy)
        return
    find = partial(origin_of, context, target)
    given = any(data.target == target for data in config.data)
    origin = opened.get(target) or (find() if given else in_place(f"sources.{role}", find))
    if isinstance(origin, Request):
        _crops_fit(f"sources.{role}: {target}", (config.ingest.crop_size_px,), policy)
        if "://" not in origin.source.url:  # else it would be fetched twice
            people = in_place(f"data: {target}", partial(people_in, origin.source))
            if judged and people is not None:
                enough_may_be_set_aside(config, target, people)
        return
    split = _split(context.store, target, origin)
    splits.append(split)
    if judged:
        enough_are_set_aside(context, target, origin)
    _crops_fit(f"sources.{role}: {target}", split.crop_sizes, policy)
    if role in ("labelled", "scorer") and split.embodied < split.people:
        raise DataError(
            f"sources.{role}: {split.people - split.embodied} of {split.people} people of {target} have no label of a "
            "body, and training needs one of each."
        )
    if role in ("validation", "test", "drift") and not split.embodied:
        raise DataError(f"sources.{role}: nobody of {target} has a label of a body, so nothing can be measured.")


def _own(config: EngineConfig) -> list[Target]:
    try:
        return made_here(config)
    except ConfigError:  # which is said already
        return []


def _crops_fit(place: str, sizes: tuple[int, ...], policy: Known | None) -> None:
    takes = policy.config.condition.image_size if policy is not None else None
    wrong = [size for size in sizes if takes not in (None, size)]
    if wrong:
        raise ConfigError(
            f"{place} has crops of {wrong[0]} px, and the policy takes {takes} px: ingest it with --set "
            f"ingest.crop_size_px={takes}, or begin with the profile of that size."
        )


def people_in(source: AnnotationSource) -> int | None:
    """How many people an ingest of a source would look at; None where only a whole reading would count them. Raises
    what would end the ingest as a whole."""
    path = Path(source.url)
    changed = path.stat().st_mtime_ns if path.exists() else 0
    rows = _rows_of(json.dumps(asdict(source), sort_keys=True), changed)
    return rows if rows is None else -(-rows // source.every)


@lru_cache(maxsize=64)
def _rows_of(source: str, changed: int) -> int | None:
    with TemporaryDirectory(prefix="adhmr-look-") as work:
        return reader_of(AnnotationSource(**json.loads(source)), Path(work)).survey().rows


def _split(store: Store, target: Target, ingest: StageKey) -> Split:
    where = of_target(target)
    people = read_standing(store, "instances", [ingest], where=where, columns=["instance_id", "crop_size_px"])
    embodied = where & (pc.field("label_kind") == "gt") & pc.field("body_model").is_valid()
    labels = read_standing(store, "labels", [ingest], where=embodied, columns=["instance_id"])
    named = pc.is_in(people.column("instance_id"), value_set=labels.column("instance_id").combine_chunks())
    sizes = tuple(sorted(pc.unique(people.column("crop_size_px")).to_pylist()))
    return Split(target, len(people), sizes, pc.sum(named).as_py() or 0)
