"""What a step works on, as people name it: splits as DATASET/SPLIT, and stages by the beginning of their keys."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

import pyarrow.compute as pc

from infra.stages import StageRecord, find, records
from infra.standing import HYPOTHESES as INGEST_HYPOTHESES
from infra.standing import INGEST, newest_of_each, read_standing
from infra.store import Store
from infra.tables import read
from schemas.errors import ConfigError, DataError
from schemas.ids import ModelDigest, StageKey, Target
from tasks.export.chosen import ingests_of
from tasks.rows.instances import of_target
from tasks.rows.mix import Mix
from tasks.rows.models import network_of
from tasks.stages.draw import Draw
from tasks.stages.pair import Pair
from tasks.stages.score import Score

_LISTED: Final = 6
"""Stages that an error names."""


class Kind(NamedTuple):
    """A kind of stage that an option takes the key of."""

    option: str
    what: str
    is_one: Callable[[StageRecord], bool]
    cure: str
    """What makes one, where there is none."""


HYPOTHESES: Final = Kind(
    "--hypotheses",
    "hypotheses",
    lambda record: bool(record.rows.get("hypotheses")) and record.stage != Draw.name,
    "`adhmr generate` draws some, `adhmr ingest` takes in those of others",
)
SCORES: Final = Kind(
    "--scores",
    "scores of hypotheses",
    lambda record: (
        bool(record.rows.get("scores")) and (record.stage in (Score.name, Draw.name) or HYPOTHESES.is_one(record))
    ),
    "`adhmr score` gives some",
)
PAIRS: Final = Kind(
    "--pairs",
    "pairs",
    lambda record: bool(record.rows.get("pairs")),
    "`adhmr pair` makes some, `adhmr ingest --format dpo-json` takes in those of others",
)


def people_weighted(store: Store, data: Sequence[str], option: str = "--data") -> Mix:
    """The same of texts that may have a weight behind them, DATASET/SPLIT=WEIGHT; without one it is 1.

    Raises ConfigError for a weight that is none, and for a split that is named twice.
    """
    named = [text.partition("=") for text in data]
    mix = people_named(store, [name for name, _, _ in named], option)
    if len(mix.targets) < len(named):
        raise ConfigError(f"{option} names a split twice: name each once, with its weight behind it (3dpw/train=2).")
    weights = [_weight(text, weight, option) for text, (_, _, weight) in zip(data, named, strict=True)]
    return mix._replace(weights=tuple(weights))


def _weight(text: str, weight: str, option: str) -> float:
    if "=" not in text:
        return 1.0
    try:
        number = float(weight)
    except ValueError:
        number = math.nan
    if not (number > 0 and math.isfinite(number)):
        raise ConfigError(f"{option} {text}: behind = stands a weight above 0, such as 3dpw/train=2.")
    return number


def people_named(store: Store, data: Sequence[str], option: str = "--data") -> Mix:
    """The people of the splits that these texts name, by the newest ingest of each; all splits have the same weight.

    Raises ConfigError for a text that isn't DATASET/SPLIT, DataError, which lists all splits, for one that isn't there.
    """
    targets = tuple(dict.fromkeys(target_named(text, option) for text in data))
    if not targets:
        raise ConfigError(f"{option} is missing: name a split that was ingested, such as {option} 3dpw/train.")
    newest = [(target, newest_of_each(store, target)) for target in targets]
    absent = [str(target) for target, keys in newest if not keys]
    if absent:
        raise DataError(f"{option}: there is no {', no '.join(absent)} in {store.url}; there are: {_splits(store)}.")
    return evenly((StageKey(keys[0]) for _, keys in newest), targets)


def people_of(store: Store, record: StageRecord) -> Mix:
    """The people of the hypotheses or pairs that a stage has left."""
    drawn = find(store, record.reads[0]) if record.stage == Pair.name else record
    names = _splits_of(drawn) if drawn is not None else []
    if not names:
        table = "pairs" if PAIRS.is_one(record) else "hypotheses"
        ids = pc.unique(
            read(store, table, stage_keys=[record.stage_key], columns=["instance_id"]).column(0)
        ).to_pylist()
        names = sorted({"/".join(name.split("/", 2)[:2]) for name in ids})
    return evenly(map(StageKey, ingests_of(store, record.stage_key)), [Target(*name.split("/")) for name in names])


def evenly(ingests: Iterable[StageKey], targets: Sequence[Target]) -> Mix:
    """These splits, each with the weight that a campaign's sources have where it says none."""
    return Mix(tuple(dict.fromkeys(ingests)), tuple(targets), (1.0,) * len(targets))


def stage_named(store: Store, text: str, kind: Kind) -> StageRecord:
    """The finished stage of this kind whose key begins with `text`. DataError, which lists what there is, for another
    text."""
    every = records(store)
    ones = [record for record in every if kind.is_one(record)]
    matching = [record for record in ones if text and record.stage_key.startswith(text)]
    if len(matching) == 1:
        return matching[0]
    if matching:
        problem = f"{len(matching)} keys of {kind.what} begin so: give more digits."
    else:
        others = [record.stage for record in every if text and record.stage_key.startswith(text)]
        problem = f"no {kind.what} are called so."
        if others:
            problem = f"that is a stage {others[0]}, which left no {kind.what}."
        if others == [Draw.name] and kind is HYPOTHESES:
            problem = (
                "that is a stage draw, which scored all hypotheses and kept what pairs take; `adhmr regenerate` makes "
                "single ones again, and hypotheses.keep=all keeps them."
            )
    raise DataError(f"{kind.option} {text}: {problem} {_listed(matching or ones, kind)}")


def check_crops(store: Store, people: Mix, model: ModelDigest) -> None:
    """Raise DataError where crops of these people are not of the size that a model takes."""
    takes = network_of(store, model).condition.image_size
    for target in people.targets:
        columns = ["instance_id", "crop_size_px"]
        rows = read_standing(store, "instances", people.ingests, where=of_target(target), columns=columns)
        wrong = rows.filter(pc.not_equal(rows.column("crop_size_px"), takes))
        if len(wrong):
            name, size = (wrong.column(column)[0].as_py() for column in columns)
            raise DataError(
                f"The crops of {name} and others are {size} px wide, but model {model[:12]} takes {takes} px: ingest "
                f"the data again with --set ingest.crop_size_px={takes}."
            )


def check_labelled(store: Store, people: Mix, option: str = "--data") -> None:
    """Raise DataError where a person of these splits has no label of a body, without which nobody is trained on."""
    for target in people.targets:
        where = of_target(target)
        embodied = where & (pc.field("label_kind") == "gt") & pc.field("body_model").is_valid()
        every = read_standing(store, "instances", people.ingests, where=where, columns=["instance_id"])
        labels = read_standing(store, "labels", people.ingests, where=embodied, columns=["instance_id"])
        without = sorted({*every.column(0).to_pylist()} - {*labels.column(0).to_pylist()})
        if without:
            raise DataError(
                f"{option} {target}: {len(without)} of {len(every)} people have no label of a body, such as "
                f"{without[0]}; training needs one of each."
            )


def target_named(text: str, option: str) -> Target:
    """The split that a text names. ConfigError for another text."""
    dataset, _, split = text.partition("/")
    if not dataset or not split or "/" in split:
        raise ConfigError(f"{option} {text}: give data set and split, such as 3dpw/train.")
    return Target(dataset, split)


def _splits(store: Store) -> str:
    """All splits that an ingest of people, or of hypotheses with their people, holds."""
    keys = [record.stage_key for record in records(store, INGEST, INGEST_HYPOTHESES)]
    rows = read(store, "instances", stage_keys=keys, columns=["dataset", "split"])
    found = rows.group_by(["dataset", "split"]).aggregate([]).to_pylist()
    return ", ".join(sorted(str(Target(**row)) for row in found)) or "none yet, `adhmr ingest` takes them in"


def _listed(ones: Sequence[StageRecord], kind: Kind) -> str:
    """The newest of these stages."""
    if not ones:
        return f"There are none yet: {kind.cure}."
    newest = ", ".join(f"{record.stage_key[:12]} ({_said(record)})" for record in reversed(ones[-_LISTED:]))
    return f"There are: {newest}{f', and {len(ones) - _LISTED} older ones' if len(ones) > _LISTED else ''}."


def _said(record: StageRecord) -> str:
    """What a stage is, in a few words."""
    of_others = [key[:12] for key in record.reads[:1]]
    about = f" of {', '.join(_splits_of(record) or of_others)}"
    return f"{record.stage}{about.removesuffix(' of ')}, {record.finished_at:%Y-%m-%d %H:%M}"


def _splits_of(record: StageRecord) -> list[str]:
    """The splits that a stage was for, as far as its configuration says."""
    config = record.config
    if "split" in config:
        return [f"{config['dataset']}/{config['split']}"]
    return [config["target"]] if "target" in config else list(config.get("targets", ()))
