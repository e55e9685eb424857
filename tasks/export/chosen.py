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
REVIEW = "review"


@dataclass(frozen=True)
class Selection:
    """Rows as a command names them. What is None is left open; a split goes with its data set."""

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


def choose_pairs(store: Store, selection: Selection) -> Chosen:
    """The set of pairs that is selected; of several the newest, and controls of random pairs only if named or alone.

    Raises DataError where there is none.
    """
    pairings = [record for record in records(store) if record.rows.get("pairs", 0)]
    if selection.key is None:
        matching = [record for record in pairings if record.campaign == selection.campaign]
    else:
        matching = [record for record in pairings if record.stage_key.startswith(selection.key)]
        if len(matching) > 1:
            raise DataError(
                f"{len(matching)} sets of pairs have keys that begin with {selection.key}: give more of it."
            )
    matching = [record for record in matching if selection.round in (None, record.round)]
    if selection.dataset is not None:
        matching = [record for record in matching if _has_any(store, record.stage_key, selection)]
    if not matching:
        raise DataError(f"There is no set of pairs of {selection} in {store.url}. {_listed(pairings)}")
    # made after a round's pairs, and not what is meant by them: those of its control, and of rounds before it
    chosen = next((record for record in reversed(matching) if not _is_beside(record)), matching[-1])
    return Chosen(chosen.stage_key, tuple(ingests_of(store, chosen.stage_key)))


def choose_labels(store: Store, selection: Selection) -> Chosen:
    """The labels that are selected: those of a stage, or what a cleaning round kept, or with a data set and no round,
    what was ingested.

    Raises DataError where there is none.
    """
    if selection.key is not None:
        labelling = [record for record in records(store) if record.rows.get("labels", 0)]
        record = _of_key(store, labelling, selection.key, "labels")
        return Chosen(record.stage_key, tuple(ingests_of(store, record.stage_key)))
    if selection.round is None and selection.dataset is not None:
        if selection.split is None:
            raise DataError(f"Which split of {selection.dataset} shall be exported? Name it with --split.")
        key = newest_ingest(store, Target(selection.dataset, selection.split))
        return Chosen(key, (key,))
    # of a round that ended because nothing was kept there is nothing to export
    filled = (record for record in records(store, KEEP) if record.rows.get("labels", 0))
    keeps = [record for record in filled if record.campaign == selection.campaign]
    keeps = [record for record in keeps if selection.round in (None, record.round)]
    if not keeps:
        raise DataError(
            f"No cleaning round has kept labels in {selection} of {store.url}. Name a data set and split whose own "
            "labels shall be exported, or clean first with `adhmr clean`."
        )
    kept = _learned_from(keeps)
    return Chosen(kept.stage_key, tuple(ingests_of(store, kept.stage_key)))


def _learned_from(keeps: Sequence[StageRecord]) -> StageRecord:
    """Of the newest round's labels those that it learned from. Its controls come after them: as many at random, and
    the policy's own in the place of others."""
    of_round = [record for record in keeps if (record.campaign, record.round) == (keeps[-1].campaign, keeps[-1].round)]
    filtered = [record for record in of_round if record.config.get("filter") != "random"] or of_round
    return next(record for record in reversed(filtered) if record.reads[:1] == filtered[0].reads[:1])


def _of_key(store: Store, ones: Sequence[StageRecord], key: str, what: str) -> StageRecord:
    matching = [record for record in ones if record.stage_key.startswith(key)]
    if len(matching) == 1:
        return matching[0]
    found = f"{len(matching)} sets of {what} have keys like" if matching else f"No set of {what} has a key like"
    newest = ", ".join(f"{record.stage_key[:12]} ({record.stage})" for record in reversed(ones[-5:])) or "none"
    raise DataError(f"{found} {key!r} in {store.url}; the newest are: {newest}.")


def ingests_of(store: Store, key: StageKey) -> list[StageKey]:
    """The stages that brought the people of a stage's rows: ingests among all that it reads, near and far."""
    ingests: list[StageKey] = []
    keys = [key]
    for current in keys:  # which grows meanwhile
        record = find(store, current)
        if record is not None and (record.stage == INGEST or record.rows.get("instances", 0)):
            ingests.append(current)
        elif record is not None:
            keys += [read for read in dict.fromkeys(record.reads) if read not in keys]
    return ingests


def pair_rows(store: Store, chosen: Chosen, selection: Selection, columns: Sequence[str]) -> Iterator[pa.Table]:
    """The pairs, a file of the table at a time."""
    for file in live_files(store, "pairs", stage_keys=[chosen.key]):
        yield read_files(store, contract("pairs"), [file], where=selection.where, columns=columns)


def label_rows(store: Store, chosen: Chosen, selection: Selection, columns: Sequence[str]) -> pa.Table:
    """The labels of bodies that hold now."""
    embodied = pc.field("body_model").is_valid()
    where = embodied if selection.where is None else selection.where & embodied
    return read_standing(store, "labels", [chosen.key], where=where, columns=columns)


def people_rows(store: Store, chosen: Chosen, selection: Selection, columns: Sequence[str]) -> pa.Table:
    """The instances of the ingests that the rows may name, those that hold now."""
    return read_standing(store, "instances", chosen.ingests, where=selection.where, columns=["instance_id", *columns])


def picture_rows(store: Store, chosen: Chosen, columns: Sequence[str]) -> pa.Table:
    """The pictures of the ingests that hold now."""
    return read_standing(store, "images", chosen.ingests, columns=["image_id", *columns])


def _has_any(store: Store, key: StageKey, selection: Selection) -> bool:
    return any(len(rows) for rows in pair_rows(store, Chosen(key, ()), selection, ["instance_id"]))


def _is_beside(record: StageRecord) -> bool:
    settings = record.config.get("pair")
    at_random = isinstance(settings, dict) and settings.get("strategy") == "random"
    return at_random or (record.stage == REVIEW and "people" in record.config)


def _listed(pairings: Sequence[StageRecord]) -> str:
    if not pairings:
        return "It has no pairs yet: `adhmr run` makes them, and `adhmr ingest --format dpo-json` takes them in."
    newest = "; ".join(
        f"{record.stage_key[:12]} of "
        + (f"campaign {record.campaign}" if record.campaign else "no campaign (a single step)")
        + (f", round {record.round}" if record.round else "")
        + f" ({record.rows['pairs']} pairs)"
        for record in reversed(pairings[-5:])
    )
    return f"The newest are: {newest}; --pair-set KEY names one."
