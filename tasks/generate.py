"""The work of generating: M hypotheses of an instance, each from noise of its own that can be drawn again alone."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from infra.noise import standard_normal_batch
from infra.shards import Shard
from infra.stages import Failure
from models.bodies import Body, load_body
from models.compilation import compiled
from models.diffusion import POSE_SIZE
from models.policy import Policy
from models.precision import products_of
from models.recovery import root_depth_of
from schemas.config.stages import GenerateConfig
from schemas.errors import ConfigError
from tasks.engine.context import Context
from tasks.engine.results import ShardOutput
from tasks.engine.worker import ModelWorker, microbatches
from tasks.half_encoder import check_half_encoder
from tasks.rows.crops import crop_tensor
from tasks.rows.hypotheses import Hypotheses, hypotheses_table
from tasks.rows.instances import Instances, load_instances
from tasks.rows.models import load_policy

if TYPE_CHECKING:
    from tasks.stages.generate import Generate

NOT_FINITE = "not finite"
"""Reason of instances for which a model gave NaN or infinity."""


class HypothesisSampler:
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
        self.encoder = self.policy.condition if config.encoder_precision == "float32" else policy.halved_encoder()
        self.denoiser = self.policy.hyponet.halved() if config.precision == "bfloat16" else self.policy.hyponet
        if config.compile:
            self.encoder, self.denoiser = compiled(self.encoder), compiled(self.denoiser)
        self.body, self.posed = body, body.on(self.device)
        self.config, self.purpose = config, purpose
        self.samples = list(samples) if samples is not None else list(range(config.hypotheses))

    def __call__(
        self, ids: Sequence[str], crops: np.ndarray, crop_intrinsics: np.ndarray, root_depth: np.ndarray
    ) -> Hypotheses:
        """Hypotheses of N instances.

        Args:
            ids: N instance_ids; they seed the noise.
            crops: (N, S, S, 3) uint8; crop_intrinsics: (N, 4) crop pixels.
            root_depth: (N,) metres; where it is NaN, not known, each hypothesis gets the depth that fits its bones.
        """
        noise = self._noise(ids)
        parts = []
        for rows, used in microbatches(len(ids), self.config.microbatch):
            uvd, twists, betas = self._draw(crops[rows], noise[rows])
            depth = self._depth(uvd, betas, crop_intrinsics[rows], root_depth[rows])
            parts.append([part[:used] for part in (uvd, twists, betas, depth)])
        # together at the end: the next microbatch is begun before the one before is there
        return Hypotheses(*(torch.cat(column).cpu().numpy() for column in zip(*parts, strict=True)))

    def zero_noise(self, people: Instances, *, half_encoder: bool) -> Hypotheses:
        """The zero-noise hypothesis alone of each of N people, by an encoder of either precision."""
        precision = "bfloat16" if half_encoder else "float32"
        config = self.config.model_copy(update={"encoder_precision": precision})
        alone = HypothesisSampler(self.policy, config, self.body, samples=[0], device=self.device.type)
        return alone(people.ids, people.crops, people.crop_intrinsics, people.root_depth)

    def computed(self) -> dict[str, str]:
        """On what, and in which precision, the denoiser works."""
        return {"device": self.device.type, "precision": self.config.precision}

    @torch.no_grad()
    def _draw(self, crops: np.ndarray, noise: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        with products_of(self.config.precision):
            context, estimate = self.encoder(crop_tensor(crops, self.device))
            uvd, twists = self.policy.sample(context, torch.from_numpy(noise).to(self.device), self.denoiser)
        return uvd, twists, estimate.betas[:, None].expand(-1, noise.shape[1], -1)

    def _depth(
        self, uvd: torch.Tensor, betas: torch.Tensor, crop_intrinsics: np.ndarray, root_depth: np.ndarray
    ) -> torch.Tensor:
        count = uvd.shape[1]
        depth = torch.from_numpy(root_depth.astype(np.float32)).to(self.device)[:, None].repeat(1, count)
        if np.isfinite(root_depth).all():
            return depth
        size = self.policy.config.condition.image_size
        camera = torch.from_numpy(crop_intrinsics).to(self.device).repeat_interleave(count, 0)
        fitted = root_depth_of(self.posed, uvd.flatten(0, 1), betas.flatten(0, 1), camera, size)
        return torch.where(torch.isfinite(depth), depth, fitted.view(-1, count))

    def _noise(self, ids: Sequence[str]) -> np.ndarray:
        """(N, M, 133): sample 0 is zero, the others are unit normal times the temperature."""
        noise = np.zeros((len(ids), len(self.samples), POSE_SIZE), np.float32)
        for column, sample in enumerate(self.samples):
            if sample > 0:
                normal = standard_normal_batch(
                    self.config.seed, list(ids), [sample] * len(ids), (POSE_SIZE,), self.purpose
                )
                noise[:, column] = normal * np.float32(self.config.noise_temperature)
        return noise


class GenerateWorker(ModelWorker):
    """Makes the hypotheses of a shard's instances."""

    def __init__(self, stage: "Generate", context: Context) -> None:
        super().__init__(context)
        self.stage, self.key = stage, stage.key(context)
        self.draw = HypothesisSampler(
            load_policy(self.store, stage.policy),
            stage.config,
            load_body(context.config.body),
            purpose=purpose_of(stage.round_seed),
            device=self.device,
        )
        if stage.config.encoder_precision == "bfloat16":
            root = context.config.root_solver
            people = stage.ingests, stage.ids(context), stage.policy
            check_half_encoder(self.draw, self.store, *people, self.draw.body, root)

    def work(self, shard: Shard) -> ShardOutput:
        """Rows of `hypotheses`, sorted by instance and sample."""
        instances = load_instances(self.store, self.stage.ingests, list(shard.ids))
        hypotheses = self.draw(instances.ids, instances.crops, instances.crop_intrinsics, instances.root_depth)
        good = hypotheses.finite()
        table = hypotheses_table(
            self.key, instances, hypotheses, self.draw.samples, self.partition, np.flatnonzero(good)
        )
        failures = not_finite(instances.ids, good, "the policy's hypotheses")
        return ShardOutput({"hypotheses": table}, failures, ok=int(good.sum()))


def purpose_of(round_seed: int | None) -> str:
    """What the noise of a generation is drawn for: that of a round is its own."""
    return "sample" if round_seed is None else f"sample of round {round_seed}"


def filtered(ids: Sequence[str], left_out: np.ndarray, reason: str, detail: str) -> list[Failure]:
    """A failure for each instance that is `left_out` (N,) on purpose."""
    return [Failure(ids[row], reason, detail, outcome="filtered") for row in np.flatnonzero(left_out).tolist()]


def not_finite(ids: Sequence[str], good: np.ndarray, what: str) -> list[Failure]:
    """A failure for each instance that is not `good` (N,)."""
    return [
        Failure(ids[row], NOT_FINITE, f"{what} hold NaN or infinity; was the model's training stable?")
        for row in np.flatnonzero(~good).tolist()
    ]
