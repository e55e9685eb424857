"""watch: the scorer's score, a judge's and the true error of two policies, over the people whom all of them have."""

import shutil
from typing import NamedTuple

import numpy as np
import pytest

from infra.stages import StageSpec, commit_rows
from infra.store import Store
from infra.tables import read
from models.statistics import paired_bootstrap_change
from schemas.errors import DataError
from schemas.ids import ModelDigest, StageKey
from schemas.splits import SOURCE_TEST, WILD_VALIDATION
from tasks.compare import evaluation_table
from tasks.rows.metrics import Metric, read_metrics
from tasks.rows.scores import read_scores
from tasks.stages.evaluate import Evaluate
from tasks.stages.score import Score
from tasks.stages.watch import Watch
from tests.tasks import micro
from tests.tasks.conftest import MicroStore

pytestmark = pytest.mark.slow
ON = str(WILD_VALIDATION)


class Seen(NamedTuple):
    """Two policies, evaluated on two splits, and what a judge says of both."""

    held: MicroStore
    evaluated: list[StageKey]
    judged: list[StageKey]

    def found(self, stage: Watch) -> dict[tuple[str, str, str], Metric]:
        """The metrics of a watch, by name, role and split."""
        key = StageKey(stage.run(self.held.context).key)
        return {(one.name, one.role, str(one.target)): one for one in read_metrics(self.held.store, key)}


@pytest.fixture(scope="module")
def seen(shared_micro_store: MicroStore, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    folder = tmp_path_factory.mktemp("watch") / "store"
    shutil.copytree(shared_micro_store.store.root, folder)
    held = shared_micro_store._replace(store=Store.open(folder))
    ingests, scorer = (StageKey(held.ingest_key),), ModelDigest(held.scorer)
    judge = ModelDigest(micro.untrained(held.store, "scorer", seed=3))
    evaluated, judged = [], []
    for seed in (1, 2):
        policy = ModelDigest(micro.untrained(held.store, "policy", seed=seed))
        stage = Evaluate(ingests, (SOURCE_TEST, WILD_VALIDATION), policy, scorer, micro.CONFIG.evaluate)
        evaluated.append(StageKey(stage.run(held.context).key))
        judged.append(StageKey(Score(evaluated[-1], ingests, judge).run(held.context).key))
    return Seen(held, evaluated, judged)


@pytest.mark.parametrize(("figure", "samples"), [("zero_noise", slice(0, 1)), ("expected", slice(1, None))])
def test_score_judge_and_error_side_by_side(seen: Seen, figure: str, samples: slice) -> None:
    store, keys = seen.held.store, seen.evaluated
    found = seen.found(Watch(keys[0], keys[1], keys[0], keys[1], *seen.judged))
    assert len(found) == 3 * 2 * 3 * 2
    tables = [evaluation_table(store, key)[WILD_VALIDATION] for key in keys]
    errors = [table.errors["mpvpe"][:, samples].mean(1) for table in tables]
    change = found[f"watched_error_{figure}", "change", ON]
    expected = paired_bootstrap_change(*errors, **micro.CONFIG.evaluate.bootstrap)
    assert (change.value, change.low, change.high) == pytest.approx(tuple(expected))
    assert (change.unit, change.n) == ("%", 12)
    assert found[f"watched_error_{figure}", "after", ON].value == pytest.approx(errors[1].mean())
    scores = [table.scores[:, samples].mean(1) for table in tables if table.scores is not None]
    rise = found[f"watched_score_{figure}", "change", ON]
    assert rise.value == pytest.approx((scores[1] - scores[0]).mean())
    assert rise.low is not None
    assert rise.low <= rise.value
    liked = [read_scores(store, key, tables[0].ids, np.arange(4))[:, samples] for key in seen.judged]
    assert found[f"watched_judge_{figure}", "change", ON].value == pytest.approx((liked[1] - liked[0]).mean())


def test_without_a_judge_score_and_error_are_left(seen: Seen) -> None:
    before, after = seen.evaluated
    found = seen.found(Watch(before, after, before, after))
    assert {name.rsplit("_", 1)[0].removesuffix("_zero") for name, _, _ in found} == {"watched_score", "watched_error"}


def test_people_whom_one_lacks_are_left_out_of_all(seen: Seen) -> None:
    store, (before, after) = seen.held.store, seen.evaluated
    rows = read(store, "scores", stage_keys=[seen.judged[1]])
    of_source = rows.filter([name.startswith("source") for name in rows.column("instance_id").to_pylist()])
    spec = StageSpec("score", 1, {"some": 1}, reads=(after,))
    commit_rows(store, spec, {"scores": of_source.drop_columns(["stage_key"])})
    some = StageKey(spec.key)
    fewer = seen.found(Watch(before, after, seen.judged[0], some))
    assert {target for _, _, target in fewer} == {str(SOURCE_TEST)}
    with pytest.raises(DataError, match="nobody of whom both policies have scores"):
        seen.found(Watch(before, after, seen.judged[0], StageKey(seen.held.ingest_key)))
