"""Pictures that can't be read, models that give NaN, scores that say nothing, hypotheses that are one: filtered or
failed with a reason, never a pair with itself, and the round goes on unless it is too many."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import tasks.generate
import tasks.score
from infra.store import Store
from infra.tables import read
from schemas.ids import Target
from tasks.engine.context import Context
from tasks.ingest.annotated import IngestAnnotations
from tasks.ingest.people.annotations import AnnotationSource
from tasks.rows.hypotheses import Hypotheses
from tasks.stages.generate import Generate
from tasks.stages.pair import Pair
from tasks.stages.score import Score
from tasks.stages.training import Align
from tests.faults.nursery import Nursery
from tests.profiles import load_profile
from tests.tasks import micro
from tests.tasks.conftest import MicroStore
from tests.tasks.ingest.pictures import folder, jpeg, noise

pytestmark = pytest.mark.slow
TARGET = Target("mine", "train")
NAN, SAME, EQUAL = (f"mine/train/{name}.jpg#0" for name in ("nan", "same", "equal"))


def work(url: str, images: str, ingest_key: str, policy: str, scorer: str, limit: float) -> str:
    """From pictures to a policy, with a policy and a scorer that go wrong for one instance each."""
    config = load_profile("micro", changes={"gates.max_failed_share": limit})
    store = Store.open(url)
    context = Context(store, config, in_process=True)
    draw, table = tasks.generate.HypothesisSampler.__call__, tasks.score.scores_table

    def spoiled(self: Any, ids: Any, *arguments: Any) -> Hypotheses:
        made = draw(self, ids, *arguments)
        for row, name in enumerate(ids):
            if name == NAN:
                made.uvd[row, 1, 5, 2] = np.nan
            if name == SAME:
                made.uvd[row], made.twists[row] = made.uvd[row, :1], made.twists[row, :1]
        return made

    def levelled(generation: str, ids: Any, samples: Any, scores: np.ndarray, *more: Any) -> pa.Table:
        scores = scores + np.linspace(0, 1e-3, scores.shape[1])  # or the copies of SAME would all score the same
        scores[[row for row, name in enumerate(ids) if name == EQUAL]] = 0.5
        return table(generation, ids, samples, scores, *more)

    patch = pytest.MonkeyPatch()  # never undone: this process is for this work alone
    patch.setattr(tasks.generate.HypothesisSampler, "__call__", spoiled)
    patch.setattr(tasks.score, "scores_table", levelled)
    people = IngestAnnotations(AnnotationSource("folder", images, *TARGET)).run(context).key
    made = Generate((people,), (TARGET,), policy, config.generate).run(context).key
    scored = Score(made, (people,), scorer).run(context).key
    pairs = Pair(made, scored, config.pair).run(context).key
    return Align(micro.of(ingest_key), pairs, policy, policy, people=micro.of(people, TARGET)).run(context).key


@pytest.fixture
def images(tmp_path: Path) -> str:
    """Twelve pictures and two that are none."""
    names = ["nan", "same", "equal", *(f"good-{number}" for number in range(9))]
    files = {f"{name}.jpg": jpeg(noise(seed=seed)) for seed, name in enumerate(names)}
    return str(folder(tmp_path, {**files, "cut.jpg": files["nan.jpg"][:500], "text.jpg": b"no picture"}))


def test_each_has_its_reason_and_the_rest_goes_on(nursery: Nursery, micro_store: MicroStore, images: str) -> None:
    store = micro_store.store
    done = nursery.do("tests.faults.test_bad_units:work", store.url, images, *micro_store[1:], 0.2)
    assert done.returncode == 0, done
    found = {(row["stage"], row["id"].split("/")[-1]): row for row in read(store, "failures").to_pylist()}
    outcomes = {name: (row["outcome"], row["reason"]) for name, row in found.items()}
    assert outcomes.pop(("generate", "nan.jpg#0")) == ("failed", "not finite")
    assert outcomes.pop(("pair", "same.jpg#0")) == ("filtered", "hypotheses identical")
    assert outcomes.pop(("pair", "equal.jpg#0")) == ("filtered", "scores all equal")
    assert {(stage, name.split("#")[0], outcome) for (stage, name), (outcome, _) in outcomes.items()} == {
        ("ingest", "cut.jpg", "failed"),
        ("ingest", "text.jpg", "failed"),
    }
    pairs = read(store, "pairs").to_pylist()
    assert {row["instance_id"] for row in pairs} == {f"mine/train/good-{number}.jpg#0" for number in range(9)}
    for row in pairs:
        assert row["winner"] != row["loser"]
        assert row["winner_uvd"] != row["loser_uvd"]
        assert row["margin"] > 0
    assert len(read(store, "models")) == 3


@pytest.mark.parametrize("limit", [0.1, 0.0])
def test_too_many_stop_the_round_before_it_trains(
    nursery: Nursery, micro_store: MicroStore, images: str, limit: float
) -> None:
    done = nursery.do("tests.faults.test_bad_units:work", micro_store.store.url, images, *micro_store[1:], limit)
    assert (done.returncode, done.error) == (1, "GateError")
    assert "Stage ingest: 2 of 14 rows failed, more than the allowed" in done.text
    assert len(read(micro_store.store, "models")) == 2
