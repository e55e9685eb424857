"""Counts by data set: the draws that are counted once more are those that the training made."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

import tasks.train.align
import tasks.train.data
from infra.stages import find
from infra.store import Store
from infra.tables import read
from schemas.config.sources import Source
from schemas.ids import ModelDigest, StageKey
from schemas.splits import SCORER_TRAIN, WILD_TRAIN
from tasks.engine.stage import TrainingStage
from tasks.report.facts import RoundFacts, StageRun
from tasks.report.mix import mix_table
from tasks.rows.mix import Mix, draw_rows
from tasks.stages.clean import Keep, PseudoLabel, ScoreLabels
from tasks.stages.generate import Generate
from tasks.stages.pair import Pair
from tasks.stages.score import Score
from tasks.stages.training import Align, TrainClean
from tests.tasks import micro
from tests.tasks.conftest import MicroStore

pytestmark = pytest.mark.slow
WEIGHTS = {WILD_TRAIN: 0.25, SCORER_TRAIN: 0.75}


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
    sources = micro.CONFIG.sources.model_copy(
        update={"wild": tuple(Source(data=str(target), weight=weight) for target, weight in WEIGHTS.items())}
    )
    config = micro.CONFIG.model_copy(update={"sources": sources})
    table = mix_table(store, config, facts)
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


def _facts(kind: Any, policy: ModelDigest, scorer: ModelDigest, stages: dict[str, StageKey]) -> RoundFacts:
    runs = tuple(StageRun(name, "", key, "run") for name, key in stages.items())
    return RoundFacts(kind, "micro", 1, policy, None, policy, scorer, runs)


def _names(store: Store, key: StageKey, table: str) -> Sequence[str]:
    return sorted(set(read(store, table, stage_keys=[key], columns=["instance_id"]).column(0).to_pylist()))
