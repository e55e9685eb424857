"""Counts by data set: the draws that are counted once more are those that the training made."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import tasks.train.align
import tasks.train.data
from infra.shards import Tally, cut, receipts, write_shard
from infra.stages import StageSpec, commit, files_by_table, find
from infra.store import Store
from infra.tables import read
from schemas.config.engine import EngineConfig
from schemas.config.sources import Source
from schemas.ids import ModelDigest, StageKey
from schemas.splits import SCORER_TRAIN, WILD_TRAIN
from schemas.tables import build
from tasks.engine.stage import TrainingStage
from tasks.report.facts import RoundFacts, StageRun
from tasks.report.mix import mix_table
from tasks.rows.drawn import DRAW
from tasks.rows.mix import Mix, draw_rows
from tasks.stages.clean import Keep, PseudoLabel, ScoreLabels
from tasks.stages.generate import Generate
from tasks.stages.pair import Pair
from tasks.stages.score import Score
from tasks.stages.training import Align, TrainClean
from tests.benchmarks.history import opened_files
from tests.tasks import micro
from tests.tasks.conftest import MicroStore

WEIGHTS = {WILD_TRAIN: 0.25, SCORER_TRAIN: 0.75}
POLICY, SCORER = ModelDigest("p" * 64), ModelDigest("s" * 64)


def test_rows_are_counted_some_files_at_a_time(tmp_path: Path) -> None:
    store, samples, each = Store.open(tmp_path / "store"), 50, 100
    keys = [_draw(store, round_seed, people=20 * each, samples=samples, size=each) for round_seed in range(2)]
    every = _facts("dpo", POLICY, SCORER, {})
    runs = [StageRun(DRAW, role, key, "run") for role, key in zip(("", "leg 2"), keys, strict=True)]
    facts = replace(every, runs=tuple(runs))
    assert [leg.drawn for leg in facts.legs()] == keys
    before, pool = pa.default_memory_pool(), pa.proxy_memory_pool(pa.default_memory_pool())
    pa.set_memory_pool(pool)
    try:
        table = mix_table(store, _config(), facts)
    finally:
        pa.set_memory_pool(before)
    assert table is not None
    assert table.counted == ("people", "hypotheses", "pairs")
    assert [row.counts for row in table.rows] == [(1000, 2000 * samples, 0)] * 2
    assert pool.max_memory() < 2.5e6, "names of all hypotheses take 4.6 MB"


def test_of_one_data_set_nothing_is_read(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    key = _draw(store, 0, people=4, samples=2, size=2)
    fresh = Store.open(store.url)
    with opened_files(Path(store.root)) as opened:
        assert mix_table(fresh, micro.CONFIG, _facts("dpo", POLICY, SCORER, {DRAW: key})) is None
    assert opened == []


def _draw(store: Store, seed: int, people: int, samples: int, size: int) -> StageKey:
    """A stage that scored so many hypotheses of people, half of them of each split."""
    spec = StageSpec(DRAW, 1, {"seed": seed})
    shards = cut([f"{list(WEIGHTS)[number % 2]}/{number:08d}#0" for number in range(people)], size)
    for shard in shards:
        count = len(shard.ids) * samples
        columns = {
            "generation_id": [spec.key] * count,
            "instance_id": [name for name in shard.ids for _ in range(samples)],
            "sample_index": list(range(samples)) * len(shard.ids),
            "scorer": ["s"] * count,
            "score": [0.5] * count,
            "round": [1] * count,
            "stage_key": [spec.key] * count,
        }
        write_shard(store, spec.key, shard, {"scores": build("scores", columns)}, Tally(ok=len(shard.ids)))
    files = files_by_table(receipts(store, spec.key, shards).values(), ["scores"])
    return StageKey(commit(store, spec, files, people, Tally(ok=people)).stage_key)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dpo", "clean"])
def test_the_counts_are_what_was_made_and_drawn(
    kind: Any, micro_store: MicroStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, context = micro_store.store, micro_store.context
    ingests, targets = (StageKey(micro_store.ingest_key),), tuple(WEIGHTS)
    people = Mix(ingests, targets, tuple(WEIGHTS.values()))
    policy, scorer = ModelDigest(micro_store.policy), ModelDigest(micro_store.scorer)
    stages: dict[str, StageKey] = {}
    training: TrainingStage
    if kind == "dpo":
        stages["generate"] = Generate(ingests, targets, policy, micro.CONFIG.generate).run(context).key
        stages["score"] = Score(stages["generate"], ingests, scorer).run(context).key
        stages["pair"] = Pair(stages["generate"], stages["score"], micro.CONFIG.pair, ingests).run(context).key
        training = Align(micro.of(ingests[0]), stages["pair"], policy, policy, people)
    else:
        stages["pseudo_label"] = PseudoLabel(ingests, targets, policy).run(context).key
        stages["score_labels"] = ScoreLabels(stages["pseudo_label"], ingests, scorer).run(context).key
        stages["keep"] = Keep(stages["pseudo_label"], stages["score_labels"]).run(context).key
        training = TrainClean(micro.of(ingests[0]), (stages["keep"],), policy, people)

    drawn: list[np.ndarray] = []

    def noting(*given: Any) -> np.ndarray:
        rows = draw_rows(*given)
        if given[3] is not None:  # the other draw of a step is that of one data set, without chances
            drawn.append(rows)
        return rows

    for module in (tasks.train.align, tasks.train.data):
        monkeypatch.setattr(module, "draw_rows", noting)
    stages[training.name] = training.run(context).key

    facts = _facts(kind, policy, scorer, stages)
    table = mix_table(store, _config(), facts)
    assert table is not None
    assert [(row.data, row.share) for row in table.rows] == [("wild/train", 0.25), ("scorer/train", 0.75)]
    counted = {row.data: dict(zip(table.counted, row.counts, strict=True)) for row in table.rows}
    for target in targets:
        assert counted[str(target)]["people"] == micro.COUNTS[target]
    record = find(store, stages["pair" if kind == "dpo" else "keep"])
    assert record is not None
    made = "pairs" if kind == "dpo" else "kept"
    assert sum(of[made] for of in counted.values()) == record.rows["pairs" if kind == "dpo" else "labels"]
    if kind == "dpo":
        assert {of["hypotheses"] // of["people"] for of in counted.values()} == {micro.CONFIG.generate.hypotheses}

    names = _names(store, stages["pair" if kind == "dpo" else "keep"], "pairs" if kind == "dpo" else "labels")
    by_training = Counter("/".join(names[row].split("/")[:2]) for rows in drawn for row in rows)
    assert by_training.total() > 0
    assert {name: of["drawn in training"] for name, of in counted.items()} == dict(by_training)
    assert mix_table(store, micro.CONFIG, facts) is None, "one data set alone, or others than the sources"


def _config() -> EngineConfig:
    sources = micro.CONFIG.sources.model_copy(
        update={"wild": tuple(Source(data=str(target), weight=weight) for target, weight in WEIGHTS.items())}
    )
    return micro.CONFIG.model_copy(update={"sources": sources})


def _facts(kind: Any, policy: ModelDigest, scorer: ModelDigest, stages: dict[str, StageKey]) -> RoundFacts:
    runs = tuple(StageRun(name, "", key, "run") for name, key in stages.items())
    return RoundFacts(kind, "micro", 1, policy, None, policy, scorer, runs)


def _names(store: Store, key: StageKey, table: str) -> Sequence[str]:
    return sorted(set(read(store, table, stage_keys=[key], columns=["instance_id"]).column(0).to_pylist()))
