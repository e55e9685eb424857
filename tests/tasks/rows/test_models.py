"""Models in the store: found by digest or its beginning, and refused in words when they are not there."""

import pytest
import torch

from infra.tables import read
from models.policy import Policy
from schemas.errors import DamagedError, DataError, StoreError
from tasks.rows.models import (
    find_model,
    has_model,
    load_policy,
    load_scorer,
    model_of,
    model_path,
    put_damaged_aside,
    save_model,
)
from tests.tasks import micro
from tests.tasks.conftest import MicroStore


def test_saved_models_come_back(shared_micro_store: MicroStore) -> None:
    store, digest, scorer = shared_micro_store.store, shared_micro_store.policy, shared_micro_store.scorer
    rows = {row["kind"]: row for row in read(store, "models").to_pylist()}
    assert rows["policy"]["digest"] == digest
    assert rows["policy"]["uri"] == store.uri("checkpoints", f"{digest}.safetensors")
    assert model_of(store, rows["policy"]["stage_key"]) == digest
    torch.manual_seed(1)
    expected = Policy(micro.CONFIG.policy).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in load_policy(store, digest).state_dict().items())
    assert load_scorer(store, scorer).config == micro.CONFIG.scorer


def test_beginnings_of_digests(shared_micro_store: MicroStore) -> None:
    store, digest = shared_micro_store.store, shared_micro_store.policy
    assert find_model(store, digest[:10]) == digest
    assert find_model(store, digest, "policy") == digest
    with pytest.raises(DataError, match=rf"no model begins with 'zzz'; there are: .*{digest[:12]} \(policy\)"):
        find_model(store, "zzz")
    with pytest.raises(DataError, match="no model begins with ''"):
        find_model(store, "")
    with pytest.raises(DataError, match=r"no model begins with .*\(scorer\)\.$"):
        find_model(store, digest, "scorer")


def test_models_that_are_not_there(shared_micro_store: MicroStore) -> None:
    store = shared_micro_store.store
    with pytest.raises(StoreError, match="There is no model 000000000000"):
        load_policy(store, "0" * 64)
    with pytest.raises(StoreError, match="has 0 models in the table"):
        model_of(store, shared_micro_store.ingest_key)
    with pytest.raises(DataError, match="holds a scorer, but a policy is needed"):
        load_policy(store, shared_micro_store.scorer)


def test_saving_again_changes_nothing(micro_store: MicroStore) -> None:
    store = micro_store.store
    state = load_policy(store, micro_store.policy).state_dict()
    path = f"checkpoints/{micro_store.policy}.safetensors"
    before = store.modified(path)
    assert save_model(store, "policy", state, micro.CONFIG.policy).digest == micro_store.policy
    assert store.modified(path) == before


def test_another_models_file_is_refused(micro_store: MicroStore) -> None:
    store, digest = micro_store.store, micro_store.policy
    other = micro.untrained(store, "policy", seed=2)
    store.atomic_write(model_path(digest), store.read_bytes(model_path(other)))
    with pytest.raises(DamagedError, match=rf"{digest}.safetensors holds another model, {other[:12]}. Put the file"):
        load_policy(store, digest)


def test_a_repair_puts_a_damaged_model_aside(micro_store: MicroStore) -> None:
    store, digest = micro_store.store, micro_store.policy
    assert put_damaged_aside(store) == []
    data = bytearray(store.read_bytes(model_path(digest)))
    data[len(data) // 2] ^= 16
    store.atomic_write(model_path(digest), bytes(data))
    assert [one.outcome for one in put_damaged_aside(store, dry_run=True)] == ["left"]
    assert has_model(store, digest)
    (left,) = put_damaged_aside(store)
    assert "is damaged: its weights" in left.text
    assert not has_model(store, digest)
    assert store.read_bytes(f"damaged/{model_path(digest)}") == bytes(data)


def test_a_damaged_model_is_refused_and_saving_it_again_heals_it(micro_store: MicroStore) -> None:
    store, digest = micro_store.store, micro_store.policy
    policy, data = load_policy(store, digest), bytearray(store.read_bytes(model_path(digest)))
    data[len(data) // 2] ^= 16
    store.atomic_write(model_path(digest), bytes(data))
    with pytest.raises(StoreError, match=r"is damaged: its weights have digest .* Put the file back from a copy"):
        load_policy(store, digest)
    save_model(store, "policy", policy.state_dict(), micro.CONFIG.policy)
    load_policy(store, digest)
