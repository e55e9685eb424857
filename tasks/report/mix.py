"""What each data set of a mix gave to a round: people, hypotheses, pairs, and how often training drew its people."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow.compute as pc

from infra.stages import StageRecord, find
from infra.store import Store
from infra.tables import read
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
    dpo = facts.kind == "dpo"
    legs = facts.legs()
    drawn = [leg.drawn or leg.key("pseudo_label") or leg.key("swap_labels") or leg.key("given_labels") for leg in legs]
    rows: Counter[str] = Counter()
    for key in drawn:
        rows += Counter(_rows_by_person(store, table_of_all(store, key) if dpo and key else "labels", key))
    people = _by_split(dict.fromkeys(rows, 1))
    if len(mix.targets) < 2 or not rows or set(people) - {str(target) for target in mix.targets}:
        return None  # one data set, or pictures that were named beside the sources
    kept = facts.trained_pairs() if dpo else [facts.key("keep")]
    chosen = sum((Counter(_rows_by_person(store, "pairs" if dpo else "labels", key)) for key in kept), Counter())
    keys = [leg.key("align" if dpo else "train_clean") for leg in legs]
    trained = [record for key in keys if key is not None and (record := find(store, key)) is not None]
    columns = [people, *([_by_split(rows)] if dpo else []), _by_split(chosen)]
    names = ["people", *(["hypotheses", "pairs"] if dpo else ["kept"])]
    note = "The share of each in what training draws is its weight's."
    if trained and chosen:
        columns.append(Counter())
        for record in trained:
            own = (key for key in kept if key in record.reads)
            ids = {name for key in own for name in _rows_by_person(store, "pairs" if dpo else "labels", key)}
            columns[-1] += times_drawn(record, mix, sorted(ids)) if ids else Counter()
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


def times_drawn(trained: StageRecord, mix: Mix, ids: Sequence[str]) -> Counter[str]:
    """How often `align` or `train_clean` drew people of each split: its draws, made once more.

    Both draw the people of the round before anything else of a step, so that a step's first draw tells who they were.
    `ids` are those who have pairs or kept labels, sorted.
    """
    train = trained.config["train"]
    shared = trained.config.get("batch") == "shared"  # before, each of several workers drew batches of its own
    workers = 1 if shared else trained.config.get("trainers", 1)
    targets = [Target(*name.split("/", 2)[:2]) for name in ids]
    chances = mix.chances(targets)
    if trained.stage == "align" and chances is not None:
        chances = chances / chances.sum()  # as it does, for those of whom there are pairs
    each = train["batch_crops"] if trained.stage == "align" else train["pseudo_images"]
    drawn = np.zeros(len(ids), np.int64)
    for step in range(train["optimiser"]["steps"] if each else 0):
        for worker in range(workers):
            draw, _ = step_draw(train["seed"], step, worker)
            drawn += np.bincount(draw_rows(draw, each, len(ids), chances), minlength=len(ids))
    return _by_split(dict(zip(ids, drawn.tolist(), strict=True)))


def _rows_by_person(store: Store, table: str, key: StageKey | None) -> dict[str, int]:
    """How many rows of a table a finished stage has of each person; nothing where it isn't there."""
    if key is None or find(store, key) is None:
        return {}
    names = read(store, table, stage_keys=[key], columns=["instance_id"]).column("instance_id")
    return {row["values"]: row["counts"] for row in pc.value_counts(names).to_pylist()}


def _by_split(counts: dict[str, int]) -> Counter[str]:
    summed: Counter[str] = Counter()
    for name, count in counts.items():
        summed["/".join(name.split("/", 2)[:2])] += count
    return summed
