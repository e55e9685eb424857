"""Generate: the same bits however the work is shared out, noise that is each sample's own, and NaN that is told."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from infra.noise import standard_normal
from infra.ray_session import ray_session
from infra.shards import cut
from infra.store import Store
from infra.tables import read
from models.bodies import load_body
from models.diffusion import POSE_SIZE
from models.policy import Policy
from schemas.config.stages import GenerateConfig
from schemas.errors import ConfigError, DataError, GateError
from schemas.splits import SOURCE_TEST, WILD_TRAIN
from schemas.tables import matrix
from tasks import generate as module
from tasks.engine.context import Context
from tasks.engine.shard_work import do_shard
from tasks.engine.worker import microbatches
from tasks.generate import HypothesisSampler
from tasks.rows.hypotheses import Hypotheses, generated_ids, read_hypotheses
from tasks.rows.instances import Instances, load_instances
from tasks.rows.models import load_policy
from tasks.stages.generate import Generate
from tests.tasks import micro
from tests.tasks.conftest import MicroStore

pytestmark = pytest.mark.slow

CONFIG = micro.CONFIG.generate
TARGETS = [WILD_TRAIN]


@pytest.fixture(autouse=True)
def threads_of_an_actor() -> Iterator[None]:
    """Bits depend on them, and some tests make here what an actor made."""
    before = torch.get_num_threads()
    torch.set_num_threads(micro.CONFIG.ray.threads_per_actor)
    yield
    torch.set_num_threads(before)


def run(micro_store: MicroStore, config: GenerateConfig = CONFIG, round_seed: int | None = None) -> str:
    return (
        Generate((micro_store.ingest_key,), TARGETS, micro_store.policy, config, round_seed)
        .run(micro_store.context)
        .key
    )


def test_depths_that_nobody_knows_are_found_on_the_device(micro_store: MicroStore) -> None:
    """On the device `meta`, which holds no numbers: what was computed elsewhere could not be put together there."""
    maker = HypothesisSampler(
        load_policy(micro_store.store, micro_store.policy), CONFIG, load_body("tiny"), device="meta"
    )
    uvd, betas = torch.empty(2, 3, 29, 3, device="meta"), torch.empty(2, 3, 10, device="meta")
    depth = maker._depth(uvd, betas, np.ones((2, 4), np.float32), np.array([4, np.nan], np.float32))
    assert (depth.device.type, tuple(depth.shape)) == ("meta", (2, 3))
    assert maker.body.template.device.type == "cpu", "that of the checks, which pose on the CPU"


def instances_of(micro_store: MicroStore) -> Instances:
    ids = [f"wild/train/{index:08d}#0" for index in range(micro.COUNTS[WILD_TRAIN])]
    return load_instances(micro_store.store, [micro_store.ingest_key], ids)


def make(micro_store: MicroStore, config: GenerateConfig, depth: float = np.nan) -> Hypotheses:
    found = instances_of(micro_store)
    maker = HypothesisSampler(load_policy(micro_store.store, micro_store.policy), config, load_body("tiny"))
    return maker(found.ids, found.crops, found.crop_intrinsics, np.full(len(found), depth, np.float32))


def parquet_files(store: Store, table: str) -> dict[str, bytes]:
    paths = [path for path in store.list_files(f"tables/{table}") if path.endswith(".parquet")]
    return {path: store.read_bytes(path) for path in paths}


def test_every_instance_has_every_sample_and_a_plausible_depth(micro_store: MicroStore) -> None:
    key = run(micro_store)
    spec = Generate((micro_store.ingest_key,), TARGETS, micro_store.policy, CONFIG).spec(micro_store.context)
    assert key == spec.key
    rows = read(micro_store.store, "hypotheses")
    assert len(rows) == 24 * 5
    assert set(rows.column("generation_id").to_pylist()) == {key}
    assert set(rows.column("root_depth_source").to_pylist()) == {"bones"}
    assert rows.column("sample_index").to_pylist()[:5] == [0, 1, 2, 3, 4]
    stored = read_hypotheses(micro_store.store, key, generated_ids(micro_store.store, key))
    assert stored.hypotheses.uvd.shape == (24, 5, 29, 3)
    np.testing.assert_allclose(np.linalg.norm(stored.hypotheses.twists, axis=-1), 1, atol=1e-5)
    assert (stored.hypotheses.root_depth > 0).all()
    assert Generate((micro_store.ingest_key,), TARGETS, micro_store.policy, CONFIG).run(micro_store.context).reused


def test_labelled_instances_get_the_depth_of_their_label(micro_store: MicroStore) -> None:
    keys = [micro_store.ingest_key]
    key = Generate(keys, (SOURCE_TEST,), micro_store.policy, CONFIG).run(micro_store.context).key
    ids = generated_ids(micro_store.store, key)
    stored = read_hypotheses(micro_store.store, key, ids)
    truth = load_instances(micro_store.store, keys, ids).root_depth
    assert (stored.hypotheses.root_depth == truth[:, None]).all()


def test_noise_belongs_to_the_sample(micro_store: MicroStore) -> None:
    plain, other_seed = make(micro_store, CONFIG), make(micro_store, CONFIG.model_copy(update={"seed": 9}))
    assert (plain.uvd[:, 0] == other_seed.uvd[:, 0]).all()
    assert (plain.uvd[:, 1:] != other_seed.uvd[:, 1:]).any(axis=(2, 3)).all()
    fewer = make(micro_store, CONFIG.model_copy(update={"hypotheses": 3}))
    scale = np.abs(plain.uvd).max()
    np.testing.assert_allclose(fewer.uvd, plain.uvd[:, :3], atol=1e-4 * scale)
    silent = make(micro_store, CONFIG.model_copy(update={"noise_temperature": 0.0}))
    np.testing.assert_allclose(silent.uvd, np.repeat(plain.uvd[:, :1], 5, axis=1), atol=1e-4 * scale)


def test_rounds_have_noise_of_their_own(micro_store: MicroStore) -> None:
    keys = [run(micro_store, round_seed=seed) for seed in (None, 1, 2)]
    assert len(set(keys)) == 3
    ids = generated_ids(micro_store.store, keys[0])
    drawn = [read_hypotheses(micro_store.store, key, ids).hypotheses.uvd for key in keys]
    for one, other in ((0, 1), (1, 2)):
        assert (drawn[one][:, 0] == drawn[other][:, 0]).all()
        assert (drawn[one][:, 1:] != drawn[other][:, 1:]).any(axis=(2, 3)).all()


def test_half_precision_changes_little(micro_store: MicroStore) -> None:
    full, half = (make(micro_store, CONFIG.model_copy(update={"precision": p})) for p in ("float32", "bfloat16"))
    assert half.uvd.dtype == np.float32
    assert np.array_equal(full.betas, half.betas), "the encoder keeps its 32 bits"
    assert 0 < np.abs(full.uvd - half.uvd).max() < 0.1


@pytest.mark.parametrize("size", [1, 3, 24])
def test_microbatch_hardly_matters(micro_store: MicroStore, size: int) -> None:
    first, second = make(micro_store, CONFIG), make(micro_store, CONFIG.model_copy(update={"microbatch": size}))
    for name in ("uvd", "twists", "betas", "root_depth"):
        one, other = getattr(first, name), getattr(second, name)
        assert np.abs(one - other).max() <= 1e-4 * np.abs(one).max()


def test_torch_is_left_as_it_was(micro_store: MicroStore) -> None:
    before = torch.get_num_threads()
    run(micro_store)
    assert torch.get_num_threads() == before
    assert float(torch.tensor(1e-310, dtype=torch.float64) * 1) > 0


def test_microbatches_have_one_size_and_cover_every_row_once() -> None:
    seen: list[int] = []
    for rows, used in microbatches(11, 4):
        assert len(rows) == 4
        seen += rows[:used].tolist()
    assert seen == list(range(11))


def test_a_shard_made_again_alone_has_the_same_bits(micro_store: MicroStore, tmp_path: Path) -> None:
    key = run(micro_store)
    store = micro_store.store
    stage = Generate((micro_store.ingest_key,), tuple(TARGETS), micro_store.policy, CONFIG)
    spec, worker = stage.spec(micro_store.context), stage.worker(micro_store.context)
    again = Store.open(tmp_path / "again")
    receipt = do_shard(again, spec, worker, cut(generated_ids(store, key), CONFIG.shard_size)[1], ["hypotheses"])
    path = f"tables/hypotheses/{receipt.files[0].path}"
    assert again.read_bytes(path) == store.read_bytes(path)


def test_one_actor_and_two_give_the_same_bits(shared_micro_store: MicroStore, tmp_path: Path) -> None:
    def copy_called(name: str) -> MicroStore:
        shutil.copytree(shared_micro_store.store.root, tmp_path / name)
        return shared_micro_store._replace(store=Store.open(tmp_path / name))

    alone = copy_called("alone")
    run(alone)
    expected = parquet_files(alone.store, "hypotheses")
    with ray_session(cpus=2):
        for actors in (1, 2):
            copy = copy_called(str(actors))
            ray = micro.CONFIG.ray.model_copy(update={"actors": actors, "cpus_per_actor": 0.5})
            context = Context(copy.store, micro.CONFIG.model_copy(update={"ray": ray}))
            Generate((copy.ingest_key,), TARGETS, copy.policy, CONFIG).run(context)
            assert parquet_files(copy.store, "hypotheses") == expected


def broken(victims: list[str], seed: int) -> Callable[[Store, str], Policy]:
    """A loader of policies that give NaN in one number of sample 2 of the victims."""

    def load(store: Store, digest: str) -> Policy:
        policy = load_policy(store, digest)
        draw = policy.sample

        def sample(context: object, noise: torch.Tensor, denoiser: object) -> tuple[torch.Tensor, torch.Tensor]:
            uvd, twists = draw(context, noise, denoiser)
            for name in victims:
                mark = torch.from_numpy(standard_normal(seed, name, 2, (POSE_SIZE,)))
                uvd[(noise[:, 2] == mark).all(-1), 2, 7, 1] = torch.nan
            return uvd, twists

        policy.sample = sample  # type: ignore[method-assign]
        return policy

    return load


def test_not_finite_is_a_failure_with_that_reason(micro_store: MicroStore, monkeypatch: pytest.MonkeyPatch) -> None:
    victim = "wild/train/00000005#0"
    healthy = make(micro_store, CONFIG)
    monkeypatch.setattr(module, "load_policy", broken([victim], CONFIG.seed))
    key = run(micro_store)
    failed = read(micro_store.store, "failures", stage_keys=[key]).to_pylist()
    assert [(row["id"], row["outcome"], row["reason"]) for row in failed] == [(victim, "failed", "not finite")]
    ids = generated_ids(micro_store.store, key)
    assert victim not in ids
    stored = read_hypotheses(micro_store.store, key, ids).hypotheses.uvd
    assert (stored == np.delete(healthy.uvd, 5, axis=0)).all()
    with pytest.raises(DataError, match="does not hold the same hypotheses for all of 2 instances"):
        read_hypotheses(micro_store.store, key, [ids[0], victim])


def test_too_many_that_are_not_finite_stop_the_round(micro_store: MicroStore, monkeypatch: pytest.MonkeyPatch) -> None:
    victims = [f"wild/train/{index:08d}#0" for index in range(4)]
    monkeypatch.setattr(module, "load_policy", broken(victims, CONFIG.seed))
    with pytest.raises(GateError, match=r"4 of 24 units failed.*not finite"):
        run(micro_store)


def test_a_sampler_with_noise_on_the_way_is_refused() -> None:
    diffusion = micro.CONFIG.policy.diffusion.model_copy(update={"eta": 0.5})
    policy = Policy(micro.CONFIG.policy.model_copy(update={"diffusion": diffusion}))
    with pytest.raises(ConfigError, match=r"policy.diffusion.eta is 0.5.*Set it to 0"):
        HypothesisSampler(policy, CONFIG, load_body("tiny"))


def test_vectors_are_stored_as_they_were_made(micro_store: MicroStore) -> None:
    key = run(micro_store)
    rows = read(micro_store.store, "hypotheses", stage_keys=[key])
    made = make(micro_store, CONFIG)
    assert (matrix(rows, "uvd") == made.uvd.reshape(-1, 87)).all()
    assert (matrix(rows, "twist") == made.twists.reshape(-1, 46)).all()
    assert (matrix(rows, "betas") == made.betas.reshape(-1, 10)).all()
