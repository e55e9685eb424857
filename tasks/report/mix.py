"""What each data set of a mix gave to a round: people, hypotheses, pairs, and how often training drew its people."""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infra.pieces import read_pieces
from infra.stages import StageRecord, find
from infra.store import Store
from infra.tables import read_ids
from schemas.config.engine import EngineConfig
from schemas.ids import StageKey, Target
from tasks.engine.loop import step_draw
from tasks.report.content import MixRow, MixTable
from tasks.report.facts import RoundFacts
from tasks.rows.drawn import table_of_all
from tasks.rows.mix import Mix, draw_rows


def mix_table(store: Store, config: EngineConfig, facts: RoundFacts) -> MixTable | None:
    """The counts by data set; None where a round learned from one alone, or its rows are gone."""
    sources = config.sources.wild
    mix = Mix((), tuple(source.target for source in sources), tuple(source.weight for source in sources))
    if len(mix.targets) < 2:
        return None
    dpo = facts.kind == "dpo"
    legs = facts.legs()
    drawn = [leg.drawn or leg.key("pseudo_label") or leg.key("swap_labels") or leg.key("given_labels") for leg in legs]
    made = [(table_of_all(store, key) if dpo else "labels", key) for key in _finished(store, drawn)]
    rows, people = _rows_and_people(store, made)
    if not rows or set(rows) - {str(target) for target in mix.targets}:
        return None  # pictures that were named beside the sources
    table = "pairs" if dpo else "labels"
    kept = _finished(store, facts.trained_pairs() if dpo else [facts.key("keep")])
    chosen = sum((_by_split(names) for key in kept for names in _names(store, table, key)), Counter[str]())
    keys = [leg.key("align" if dpo else "train_clean") for leg in legs]
    trained = [record for key in keys if key is not None and (record := find(store, key)) is not None]
    columns = [people, *([rows] if dpo else []), chosen]
    names = ["people", *(["hypotheses", "pairs"] if dpo else ["kept"])]
    note = "The share of each in what training draws is its weight's."
    if trained and chosen:
        columns.append(Counter())
        for record in trained:
            ids = read_ids(store, table, stage_keys=[key for key in kept if key in record.reads])
            columns[-1] += times_drawn(record, mix, ids) if len(ids) else Counter()
        names.append("drawn in training")
        note += f" {sum(columns[-1].values()):,} crops were drawn for the batches of {trained[0].stage}."
    total = sum(mix.weights)
    return MixTable(
        tuple(names),
        tuple(
            MixRow(str(target), weight / total, tuple(column[str(target)] for column in columns))
            for target, weight in zip(mix.targets, mix.weights, strict=True)
        ),
        note,
    )


def times_drawn(trained: StageRecord, mix: Mix, ids: pa.StringArray) -> Counter[str]:
    """How often `align` or `train_clean` drew people of each split: its draws, made once more.

    Both draw the people of the round before anything else of a step, so that a step's first draw tells who they were.
    `ids` are those who have pairs or kept labels, sorted.
    """
    train = trained.config["train"]
    shared = trained.config.get("batch") == "shared"  # before, each of several workers drew batches of its own
    workers = 1 if shared else trained.config.get("trainers", 1)
    splits = _splits(ids).dictionary_encode()
    numbers = splits.indices.to_numpy()
    known = [Target(*split.split("/")) for split in splits.dictionary.to_pylist()]
    chances = mix.chances([known[number] for number in numbers.tolist()])
    if trained.stage == "align" and chances is not None:
        chances = chances.among(slice(None))  # as it does, for those of whom there are pairs
    each = train["batch_crops"] if trained.stage == "align" else train["pseudo_images"]
    drawn = np.zeros(len(known), np.int64)
    for step in range(train["optimiser"]["steps"] if each else 0):
        for worker in range(workers):
            draw, _ = step_draw(train["seed"], step, worker)
            rows = draw_rows(draw, each, len(ids), chances)
            drawn += np.bincount(numbers[rows], minlength=len(known))
    return Counter(dict(zip(map(str, known), drawn.tolist(), strict=True)))


def _finished(store: Store, keys: Sequence[StageKey | None]) -> list[StageKey]:
    return [key for key in keys if key is not None and find(store, key) is not None]


def _rows_and_people(store: Store, stages: Sequence[tuple[str, StageKey]]) -> tuple[Counter[str], Counter[str]]:
    """How many rows these stages have of each split, in a table each, and of how many people."""
    rows: Counter[str] = Counter()
    people = pa.chunked_array([], pa.string())
    for table, key in stages:
        mine = []
        for names in _names(store, table, key):
            rows += _by_split(names)
            mine.append(pc.unique(names))  # a stage's rows of a person are in one file
        every = pa.chunked_array([*people.chunks, *mine], pa.string())
        people = every if not len(people) else pa.chunked_array([pc.unique(every)])
    return rows, _by_split(people)


def _names(store: Store, table: str, key: StageKey) -> Iterator[pa.ChunkedArray]:
    """Whom a stage's rows are about, row by row, some files at a time: of a million people there are fifty million."""
    for rows in read_pieces(store, table, [key], columns=["instance_id"]):
        yield rows.column("instance_id")


def _by_split(names: pa.ChunkedArray) -> Counter[str]:
    """How many of the names are of each split."""
    summed: Counter[str] = Counter()
    for some in names.chunks:
        for count in pc.value_counts(_splits(some)).to_pylist():
            summed[count["values"]] += count["counts"]
    return summed


def _splits(names: pa.StringArray) -> pa.StringArray:
    """The data set and the split that a name of a person begins with."""
    return pc.extract_regex(names, "^(?P<split>[^/]*/[^/]*)").field("split")
