"""train_clean: from kept pseudo-labels in the table to a model that names its parent."""

import pyarrow as pa
import pytest
import torch

from infra.stages import StageSpec, commit_rows
from infra.tables import read
from schemas.errors import DataError
from schemas.splits import WILD_TRAIN
from tasks.rows.models import load_policy, model_of
from tasks.stages.training import TrainClean
from tests.tasks import micro
from tests.tasks.conftest import MicroStore


def commit_kept(held: MicroStore, count: int) -> str:
    """A cleaning stage that kept `count` pseudo-labels of wild/test, here the gt ones."""
    spec = StageSpec("invented_keep", 1, {"count": count})
    labels = read(held.store, "labels", stage_keys=[held.ingest_key])
    rows = [row for row in labels.to_pylist() if row["instance_id"].startswith("wild/test/")][:count]
    kept = [{**row, "label_kind": "pseudo", "label_set": spec.key, "stage_key": spec.key} for row in rows]
    commit_rows(held.store, spec, {"labels": pa.Table.from_pylist(kept, schema=labels.schema)})
    return spec.key


@pytest.mark.slow
def test_a_policy_is_trained_further(micro_store: MicroStore) -> None:
    here, key = micro_store.context, micro_store.ingest_key
    some, all_of_them = commit_kept(micro_store, 6), commit_kept(micro_store, 12)
    done = [TrainClean(micro.of(key), (kept,), micro_store.policy).run(here) for kept in (some, all_of_them)]
    digests = [model_of(here.store, result.key) for result in done]
    assert len({micro_store.policy, *digests}) == 3
    row = next(row for row in read(here.store, "models").to_pylist() if row["digest"] == digests[0])
    assert (row["kind"], row["parents"]) == ("policy", [micro_store.policy])
    before, after = (load_policy(here.store, name).state_dict() for name in (micro_store.policy, digests[0]))
    assert any(not torch.equal(value, after[name]) for name, value in before.items())
    assert TrainClean(micro.of(key), (some,), micro_store.policy).run(here).reused
    assert done[0].record.reads == (key, key, some)


def test_no_label_kept(micro_store: MicroStore) -> None:
    here = micro_store.context
    with pytest.raises(DataError, match="left no label to train on"):
        TrainClean(micro.of(micro_store.ingest_key), (commit_kept(micro_store, 0),), micro_store.policy).run(here)


def test_what_decides_the_key(shared_micro_store: MicroStore) -> None:
    here = shared_micro_store.context
    keys = {
        TrainClean(micro.of("i"), ("l",), "p").spec(here).key,
        TrainClean(micro.of("i"), ("m",), "p").spec(here).key,
        TrainClean(micro.of("i"), ("l", "m"), "p").spec(here).key,
        TrainClean(micro.of("i"), ("l",), "q").spec(here).key,
        TrainClean(micro.of("i"), ("l",), "p", people=micro.of("d", WILD_TRAIN)).spec(here).key,
    }
    assert len(keys) == 5
