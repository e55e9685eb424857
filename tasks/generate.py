"""Generate: M hypotheses of the policy for every instance, each from noise of its own that can be drawn again alone."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from infra.noise import standard_normal_batch
from infra.shards import Shard
from infra.stages import Failure, StageSpec
from infra.store import Store
from infra.tables import read
from models.bodies import Body, load_body
from models.diffusion import POSE_SIZE
from models.policy import Policy
from models.recovery import root_depth_of
from schemas.config.networks import JOINTS, TWISTS
from schemas.config.stages import GenerateConfig
from schemas.errors import ConfigError, DataError
from schemas.tables import build, matrix
from tasks.actors import actor_options, device_name, microbatches, prepare_torch
from tasks.context import Context, Target
from tasks.instances import Instances, instance_ids, load_instances
from tasks.model_store import load_policy
from tasks.sharded import ShardOutput, StageResult, run_sharded
from tasks.training.data import crop_tensor

NOT_FINITE = "not finite"
"""Reason of instances for which a model gave NaN or infinity."""


@dataclass(frozen=True)
class Hypotheses:
    """M hypotheses for each of N instances, in memory."""

    uvd: np.ndarray
    """(N, M, 29, 3) normalised joints."""
    twists: np.ndarray
    """(N, M, 23, 2) unit (cos, sin)."""
    betas: np.ndarray
    """(N, M, 10), the same for all hypotheses of an instance."""
    root_depth: np.ndarray
    """(N, M) depth of the pelvis, metres."""

    def __len__(self) -> int:
        return len(self.uvd)

    @property
    def count(self) -> int:
        """M."""
        return int(self.uvd.shape[1])

    def take(self, rows: np.ndarray) -> "Hypotheses":
        """The hypotheses of the instances `rows`."""
        return Hypotheses(*(getattr(self, part.name)[rows] for part in fields(self)))

    def finite(self) -> np.ndarray:
        """(N,) bool: whether every number of all hypotheses of an instance is finite."""
        parts = [getattr(self, part.name).reshape(len(self), -1) for part in fields(self)]
        return np.isfinite(np.concatenate(parts, axis=1)).all(axis=1)


class HypothesisMaker:
    """Draws hypotheses, on arrays. What an instance gets depends on its crop, its id and the configuration alone."""

    def __init__(
        self,
        policy: Policy,
        config: GenerateConfig,
        body: Body,
        *,
        samples: Sequence[int] | None = None,
        purpose: str = "sample",
        device: str = "cpu",
    ) -> None:
        """`samples`: which of the policy's samples to draw (default: 0 to config.hypotheses - 1); `purpose` names the
        noise: other purposes, other noise."""
        if policy.config.diffusion.eta > 0:
            raise ConfigError(
                f"policy.diffusion.eta is {policy.config.diffusion.eta:g}: hypotheses can be made again only where all "
                "noise is in the start. Set it to 0."
            )
        self.device = torch.device(device)
        self.policy = policy.to(self.device).eval().requires_grad_(False)
        self.body = body
        self.config, self.purpose = config, purpose
        self.samples = list(samples) if samples is not None else list(range(config.hypotheses))

    def __call__(
        self, ids: Sequence[str], crops: np.ndarray, crop_intrinsics: np.ndarray, root_depth: np.ndarray
    ) -> Hypotheses:
        """Hypotheses of N instances.

        Args:
            ids: N instance_ids; they seed the noise.
            crops: (N, S, S, 3) uint8; crop_intrinsics: (N, 4) crop pixels.
            root_depth: (N,) metres; NaN where it is not known, and then each hypothesis gets the depth that fits its bones.
        """
        noise = self._noise(ids)
        parts = []
        for rows, used in microbatches(len(ids), self.config.microbatch):
            uvd, twists, betas = self._draw(crops[rows], noise[rows])
            depth = self._depth(uvd, betas, crop_intrinsics[rows], root_depth[rows])
            parts.append([part.cpu().numpy()[:used] for part in (uvd, twists, betas, depth)])
        return Hypotheses(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    @torch.no_grad()
    def _draw(self, crops: np.ndarray, noise: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        context, estimate = self.policy.encode(crop_tensor(crops, self.device))
        uvd, twists = self.policy.sample(context, torch.from_numpy(noise).to(self.device))
        return uvd, twists, estimate.betas[:, None].expand(-1, noise.shape[1], -1)

    def _depth(
        self, uvd: torch.Tensor, betas: torch.Tensor, crop_intrinsics: np.ndarray, root_depth: np.ndarray
    ) -> torch.Tensor:
        count = uvd.shape[1]
        depth = torch.from_numpy(root_depth.astype(np.float32))[:, None].repeat(1, count)
        if np.isfinite(root_depth).all():
            return depth
        size = self.policy.config.condition.image_size
        camera = torch.from_numpy(crop_intrinsics).repeat_interleave(count, 0)
        # the body, and with it the little that is left to do, stays on the CPU
        fitted = root_depth_of(self.body, uvd.cpu().flatten(0, 1), betas.cpu().flatten(0, 1), camera, size)
        return torch.where(torch.isfinite(depth), depth, fitted.view(-1, count))

    def _noise(self, ids: Sequence[str]) -> np.ndarray:
        """(N, M, 133): sample 0 is zero, the others are unit normal times the temperature."""
        noise = np.zeros((len(ids), len(self.samples), POSE_SIZE), np.float32)
        for column, sample in enumerate(self.samples):
            if sample > 0:
                drawn = standard_normal_batch(
                    self.config.seed, list(ids), [sample] * len(ids), (POSE_SIZE,), self.purpose
                )
                noise[:, column] = drawn * np.float32(self.config.noise_temperature)
        return noise


def generate_spec(
    context: Context,
    ingest_keys: Sequence[str],
    targets: Sequence[Target],
    policy: str,
    config: GenerateConfig,
    round_seed: int | None = None,
) -> StageSpec:
    """What `generate` with these arguments is going to do."""
    decisive = {
        "generate": config,
        "targets": [str(target) for target in targets],
        "round_seed": round_seed,
        "body": load_body(context.config.body).digest,
        "threads": context.config.ray.threads_per_actor,
    }
    return context.spec("generate", 1, decisive, reads=ingest_keys, models=[policy])


def generate(
    context: Context,
    ingest_keys: Sequence[str],
    targets: Sequence[Target],
    policy: str,
    config: GenerateConfig,
    round_seed: int | None = None,
) -> StageResult:
    """Draw `config.hypotheses` samples of the policy (a digest) for every instance of `targets` -> table `hypotheses`.

    With `round_seed`, the number of a round, that round has noise of its own. An instance for which the model gives a
    number that is not finite ends in `failures`.
    """
    spec = generate_spec(context, ingest_keys, targets, policy, config, round_seed)
    worker_args = {
        "store": context.store,
        "ingest_keys": list(ingest_keys),
        "policy": policy,
        "config": config,
        "body": context.config.body,
        "generation_id": spec.key,
        "partition": context.partition,
        "purpose": "sample" if round_seed is None else f"sample of round {round_seed}",
        "threads": context.config.ray.threads_per_actor,
        "device": device_name(context.config.ray),
    }
    return run_sharded(
        context.store,
        spec,
        instance_ids(context.store, ingest_keys, targets),
        config.shard_size,
        GenerateWorker,
        worker_args,
        tables=["hypotheses"],
        **actor_options(context),
    )


class GenerateWorker:
    """Makes the hypotheses of a shard's instances."""

    def __init__(
        self,
        store: Store,
        ingest_keys: Sequence[str],
        policy: str,
        config: GenerateConfig,
        body: str,
        generation_id: str,
        partition: int,
        purpose: str,
        threads: int,
        device: str,
    ) -> None:
        prepare_torch(threads)
        self.store, self.ingest_keys = store, ingest_keys
        self.generation_id, self.partition = generation_id, partition
        self.make = HypothesisMaker(load_policy(store, policy), config, load_body(body), purpose=purpose, device=device)

    def __call__(self, shard: Shard) -> ShardOutput:
        """Rows of `hypotheses`, sorted by instance and sample."""
        instances = load_instances(self.store, self.ingest_keys, list(shard.ids))
        made = self.make(instances.ids, instances.crops, instances.crop_intrinsics, instances.root_depth)
        good = made.finite()
        table = hypotheses_table(
            self.generation_id, instances, made, self.make.samples, self.partition, np.flatnonzero(good)
        )
        failures = not_finite(instances.ids, good, "the policy's hypotheses")
        return ShardOutput({"hypotheses": table}, failures, ok=int(good.sum()))


def not_finite(ids: Sequence[str], good: np.ndarray, what: str) -> list[Failure]:
    """A failure for each instance that is not `good` (N,)."""
    return [
        Failure(ids[row], NOT_FINITE, f"{what} hold NaN or infinity; was the model's training stable?")
        for row in np.flatnonzero(~good)
    ]


def hypotheses_table(
    generation_id: str,
    instances: Instances,
    made: Hypotheses,
    samples: Sequence[int],
    partition: int,
    rows: np.ndarray,
) -> pa.Table:
    """Rows of `hypotheses` for the instances `rows`."""
    kept, count = made.take(rows), made.count
    source = np.where(np.isfinite(instances.root_depth), "label", "bones")
    total = len(rows) * count
    columns = {
        "generation_id": generation_id,
        "instance_id": repeated(instances.ids, rows, count),
        "sample_index": np.tile(np.asarray(samples, np.int32), len(rows)),
        "dataset": repeated(instances.dataset, rows, count),
        "split": repeated(instances.split, rows, count),
        "round": np.full(total, partition, np.int32),
        "uvd": kept.uvd.reshape(total, JOINTS * 3),
        "twist": kept.twists.reshape(total, TWISTS * 2),
        "betas": kept.betas.reshape(total, -1),
        "root_depth_m": kept.root_depth.reshape(total).astype(np.float64),
        "root_depth_source": repeated(source.tolist(), rows, count),
        "stage_key": generation_id,
    }
    return build("hypotheses", columns)


def repeated(texts: Sequence[str], rows: np.ndarray, count: int) -> pa.Array:
    """The text of each of `rows`, `count` times."""
    return pa.array(texts, pa.string()).take(pa.array(np.repeat(rows, count)))


@dataclass(frozen=True)
class StoredHypotheses:
    """Hypotheses as they stand in the table, by instance and sample."""

    ids: tuple[str, ...]
    dataset: tuple[str, ...]
    samples: np.ndarray
    """(M,) sample indices, the same for all instances."""
    hypotheses: Hypotheses


def among(ids: Sequence[str]) -> pc.Expression:
    """Rows of these instances. The bounds let the reader skip files whose statistics lie outside of them."""
    field = pc.field("instance_id")
    return (field >= min(ids)) & (field <= max(ids)) & field.isin(list(ids))


def generated_ids(store: Store, generation_key: str) -> list[str]:
    """The instances that a finished stage has hypotheses of, sorted."""
    rows = read(store, "hypotheses", stage_keys=[generation_key], columns=["instance_id"])
    return sorted(pc.unique(rows.column("instance_id")).to_pylist())


def read_hypotheses(store: Store, generation_key: str, ids: Sequence[str]) -> StoredHypotheses:
    """The hypotheses of these instances, in sorted order. DataError unless all have the same samples."""
    columns = ["instance_id", "sample_index", "dataset", "uvd", "twist", "betas", "root_depth_m"]
    rows = read(store, "hypotheses", stage_keys=[generation_key], where=among(ids), columns=columns)
    rows = rows.sort_by([("instance_id", "ascending"), ("sample_index", "ascending")])
    count = len(rows) // len(ids)
    samples = rows.column("sample_index").to_numpy()
    names = rows.column("instance_id").to_pylist()[:: max(count, 1)]
    if names != sorted(ids) or not np.array_equal(samples, np.tile(samples[:count], len(ids))):
        raise DataError(
            f"The stage {generation_key[:12]} does not hold the same hypotheses for all of {len(ids)} instances "
            f"({min(ids)} and others). Has something else written to the table?"
        )
    return StoredHypotheses(
        tuple(names),
        tuple(rows.column("dataset").to_pylist()[::count]),
        samples[:count],
        Hypotheses(
            matrix(rows, "uvd").reshape(len(ids), count, JOINTS, 3),
            matrix(rows, "twist").reshape(len(ids), count, TWISTS, 2),
            matrix(rows, "betas").reshape(len(ids), count, -1),
            rows.column("root_depth_m").to_numpy().reshape(len(ids), count),
        ),
    )
