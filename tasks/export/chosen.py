"""Which rows of a store an export takes: a set of pairs, or labels, and the people and pictures that belong to them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from infra.stages import StageRecord, find, records
from infra.standing import INGEST, newest_ingest, read_standing
from infra.store import Store
from infra.table_rows import read_files
from infra.tables import live_files
from schemas.errors import DataError
from schemas.ids import StageKey, Target
from schemas.tables import contract

KEEP = "keep"


@dataclass(frozen=True)
class Wanted:
    """What a person asks for. What is None is left open; a split goes with its data set."""

    campaign: str
    key: str | None = None
    """Key of the stage that made the rows, or its beginning."""
    round: int | None = None
    dataset: str | None = None
    split: str | None = None

    def __str__(self) -> str:
        words = [f"campaign {self.campaign}"] if self.key is None else [f"stage {self.key[:12]}"]
        words += [f"round {self.round}"] if self.round is not None else []
        words += [f"data set {self.dataset}"] if self.dataset is not None else []
        return ", ".join([*words, *([f"split {self.split}"] if self.split is not None else [])])

    @property
    def where(self) -> pc.Expression | None:
        """The rows of the data set and split, by instance_id."""
        if self.dataset is None:
            return None
        prefix = f"{self.dataset}/{self.split}/" if self.split is not None else f"{self.dataset}/"
        return pc.starts_with(pc.field("instance_id"), prefix)


@dataclass(frozen=True)
class Chosen:
    """The stage whose rows an export takes, and the ingests of their people."""

    key: StageKey
    ingests: tuple[StageKey, ...]


def choose_pairs(store: Store, wanted: Wanted) -> Chosen:
    """The set of pairs that is wanted; of several the newest, and controls of random pairs only if named or alone.

    Raises DataError where there is none.
    """
    made = [record for record in records(store) if record.rows.get("pairs", 0)]
    if wanted.key is not None:
        named = [record for record in made if record.stage_key.startswith(wanted.key)]
        if len(named) > 1:
            raise DataError(f"{len(named)} sets of pairs have keys that begin with {wanted.key}: give more of it.")
    else:
        named = [record for record in made if record.campaign == wanted.campaign]
    if wanted.round is not None:
        named = [record for record in named if record.round == wanted.round]
    named = [record for record in named if wanted.dataset is None or _has_any(store, record.stage_key, wanted)]
    if not named:
        raise DataError(f"There is no set of pairs of {wanted} in {store.url}. {_listed(made)}")
    # a round's control is made after its pairs, and nobody who asks for pairs means it
    chosen = next((record for record in reversed(named) if not _at_random(record)), named[-1])
    return Chosen(chosen.stage_key, tuple(ingests_of(store, chosen.stage_key)))


def choose_labels(store: Store, wanted: Wanted) -> Chosen:
    """The labels that are wanted: those that a cleaning round kept, or with a data set and no round, what was ingested.

    Raises DataError where there is none.
    """
    if wanted.round is None and wanted.dataset is not None:
        if wanted.split is None:
            raise DataError(f"Which split of {wanted.dataset} shall be exported? Name it with --split.")
        key = newest_ingest(store, Target(wanted.dataset, wanted.split))
        return Chosen(key, (key,))
    kept = [record for record in records(store, KEEP) if record.campaign == wanted.campaign]
    if wanted.round is not None:
        kept = [record for record in kept if record.round == wanted.round]
    if not kept:
        raise DataError(
            f"No cleaning round has kept labels in {wanted} of {store.url}. Name a data set and split whose own labels "
            "shall be exported, or clean first with `adhmr clean`."
        )
    return Chosen(kept[-1].stage_key, tuple(ingests_of(store, kept[-1].stage_key)))


def ingests_of(store: Store, key: StageKey) -> list[StageKey]:
    """The stages that brought the people of a stage's rows: ingests among all that it reads, near and far."""
    ingests: list[StageKey] = []
    seen: set[StageKey] = set()
    waiting = [key]
    while waiting:
        current = waiting.pop(0)
        record = find(store, current) if current not in seen else None
        seen.add(current)
        if record is None:
            continue
        if record.stage == INGEST or record.rows.get("instances", 0):
            ingests.append(current)
        else:
            waiting.extend(record.reads)
    return ingests


def pair_rows(store: Store, chosen: Chosen, wanted: Wanted, columns: Sequence[str]) -> Iterator[pa.Table]:
    """The pairs, a file of the table at a time."""
    for file in live_files(store, "pairs", stage_keys=[chosen.key]):
        yield read_files(store, contract("pairs"), [file], where=wanted.where, columns=columns)


def label_rows(store: Store, chosen: Chosen, wanted: Wanted, columns: Sequence[str]) -> pa.Table:
    """The labels of bodies, as they stand."""
    embodied = pc.field("body_model").is_valid()
    where = embodied if wanted.where is None else wanted.where & embodied
    return read_standing(store, "labels", [chosen.key], where=where, columns=columns)


def people_rows(store: Store, chosen: Chosen, wanted: Wanted, columns: Sequence[str]) -> pa.Table:
    """The instances of the ingests that the rows may speak of, as they stand."""
    return read_standing(store, "instances", chosen.ingests, where=wanted.where, columns=["instance_id", *columns])


def picture_rows(store: Store, chosen: Chosen, columns: Sequence[str]) -> pa.Table:
    """The pictures of the ingests, as they stand."""
    return read_standing(store, "images", chosen.ingests, columns=["image_id", *columns])


def _has_any(store: Store, key: StageKey, wanted: Wanted) -> bool:
    return any(len(rows) for rows in pair_rows(store, Chosen(key, ()), wanted, ["instance_id"]))


def _at_random(record: StageRecord) -> bool:
    settings = record.config.get("pair")
    return isinstance(settings, dict) and settings.get("strategy") == "random"


def _listed(made: Sequence[StageRecord]) -> str:
    if not made:
        return "It has no pairs yet: `adhmr run` makes them, and `adhmr ingest --format dpo-json` takes them in."
    shown = "; ".join(
        f"{record.stage_key[:12]} of campaign {record.campaign}"
        + (f", round {record.round}" if record.round else "")
        + f" ({record.rows['pairs']} pairs)"
        for record in reversed(made[-5:])
    )
    return f"The newest are: {shown}."
