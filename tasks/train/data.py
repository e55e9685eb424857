"""What the recipes of policies share: batches of labelled crops, noise, and the losses of a policy on them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.condition import PoseEstimate
from models.diffusion import JOINT_SIZE, POSE_SIZE
from models.hrnet_condition import HRNetFeatures
from models.hyponet import Context
from models.objectives import TWIST_SIZE, DenoisingError, denoising_error, edm_weight, squared_error
from models.policy import Policy
from schemas.config.optimiser import AugmentConfig, OptimiserConfig, SupervisedLossConfig
from schemas.config.training import AlignConfig, TrainBaseConfig, TrainCleanConfig
from schemas.errors import ConfigError
from tasks.engine.share import Share
from tasks.rows.crops import LabelledCrops, crop_tensor
from tasks.rows.mix import draw_rows
from tasks.train.augment import Augmentation
from tasks.train.features import Fetched


@dataclass(frozen=True)
class DrawnCrops:
    """Labelled crops that were drawn for a step, as they are in the data, and what is to be done to them."""

    crops: Tensor | None
    """(B, S, S, 3) uint8; None where all that is asked of them is kept."""
    uvd: Tensor
    twists: Tensor
    betas: Tensor
    change: Augmentation
    kept: tuple[np.ndarray, np.ndarray]
    """(B,) rows in the data, and whether each is mirrored: what is kept of them is found by it."""
    fetched: Fetched | None = None
    """What is kept of them, where something is."""

    @staticmethod
    def of(data: LabelledCrops, rows: np.ndarray, change: Augmentation, crops: bool = True) -> "DrawnCrops":
        """These rows of the data, with their `crops` or without."""
        uvd, twists, betas = (torch.from_numpy(part[rows]) for part in (data.uvd, data.twists, data.betas))
        seen = torch.from_numpy(data.crops[rows]) if crops else None
        return DrawnCrops(seen, uvd, twists, betas, change, (rows, change.mirrored.numpy()))

    @staticmethod
    def draw(
        data: LabelledCrops,
        count: int,
        config: AugmentConfig,
        draw: np.random.Generator,
        share: Share,
        crops: bool = True,
    ) -> "DrawnCrops":
        """A share of `count` crops that `draw` draws, different ones where there are that many and all are alike."""
        rows = draw_rows(draw, count, len(data), data.chances)
        change = Augmentation.draw(config, draw, count)
        places = share.places(count)
        return DrawnCrops.of(data, rows[places], change.of(places), crops)

    def batch(self) -> "LabelledBatch":
        """The batch: crops changed, and labels with them."""
        assert self.crops is not None
        crops = self.change.crops(crop_tensor(self.crops, self.crops.device))
        return LabelledBatch(crops, *self.poses(), self.betas)

    def poses(self) -> tuple[Tensor, Tensor]:
        """Labels (B, 29, 3) and (B, 23, 2) of the changed crops."""
        return self.change.uvd(self.uvd), self.change.twists(self.twists)


@dataclass(frozen=True)
class LabelledBatch:
    """Labelled crops as a step learns from them; crops are (B, 3, S, S) in [-1, 1]."""

    crops: Tensor
    uvd: Tensor
    twists: Tensor
    betas: Tensor
    weight: Tensor | None = None
    """(B, 133) of the squared errors of joints and twists; None: all count alike."""


@dataclass(frozen=True)
class DrawnNoise:
    """N timesteps, and as much unit noise."""

    time: Tensor
    """(N,)"""
    noise: Tensor
    """(N, 133)"""

    def of(self, rows: np.ndarray) -> "DrawnNoise":
        """Some of them."""
        chosen = torch.from_numpy(rows)
        return DrawnNoise(self.time[chosen], self.noise[chosen])


class PolicyRecipe:
    """A recipe that trains the policy `model`; of a frozen encoder (`tasks.train.frozen`) its projections at most."""

    model: Policy
    config: TrainBaseConfig | AlignConfig | TrainCleanConfig

    def parameter_groups(self) -> Mapping[str, list[nn.Parameter]]:
        """Encoder and denoiser, by the learning rate that they follow; ConfigError for heads that there are not."""
        config, condition = self.config.optimiser, self.model.condition
        encoder, denoiser = list(condition.parameters()), list(self.model.hyponet.parameters())
        if any(parameter.requires_grad for parameter in encoder) and config.encoder_learning_rate == 0:
            projections = [parameter for parameter in encoder if parameter.requires_grad]
            return {"encoder": [], "rest": [*denoiser, *projections]}
        return {**of_encoder(condition, config), "rest": denoiser}

    def noise(self, draw: np.random.Generator, count: int, antithetic: bool = False) -> DrawnNoise:
        """Noise for `count` poses."""
        time = timesteps(draw, count, self.model.config.diffusion.timesteps, antithetic)
        return DrawnNoise(time, unit_noise(draw, count))


def of_encoder(encoder: nn.Module, config: OptimiserConfig) -> dict[str, list[nn.Parameter]]:
    """An image encoder's parameters by the rate that they follow. ConfigError for heads that it has not."""
    if config.encoder_heads_learning_rate is None:
        return {"encoder": list(encoder.parameters())}
    if not isinstance(encoder, HRNetFeatures):
        raise ConfigError(
            "optimiser.encoder_heads_learning_rate is for condition.kind=hrnet_w48, whose heads are no published "
            "encoder's: unset it."
        )
    heads = list(encoder.heads().parameters())
    known = {id(parameter) for parameter in heads}
    return {"encoder": [one for one in encoder.parameters() if id(one) not in known], "encoder heads": heads}


def timesteps(draw: np.random.Generator, count: int, total: int, antithetic: bool = False) -> Tensor:
    """`count` timesteps in [0, total), uniform; antithetic ones come as couples t, total - 1 - t, as published."""
    if not antithetic:
        return torch.from_numpy(draw.integers(0, total, count))
    half = draw.integers(0, total, (count + 1) // 2)
    return torch.from_numpy(np.concatenate([half, total - 1 - half])[:count])


def unit_noise(draw: np.random.Generator, count: int) -> Tensor:
    """(count, 133) unit normal noise."""
    return torch.from_numpy(draw.standard_normal((count, POSE_SIZE), dtype=np.float32))


def estimate_loss(estimate: PoseEstimate, batch: LabelledBatch, weights: SupervisedLossConfig) -> Tensor:
    """Loss of the encoder's own estimate, a number. Joints outside the crop are pulled to its border only, but by the
    published loss as far out as they are."""
    if weights.published:
        counted = torch.ones_like(batch.uvd)
        if batch.weight is not None:
            counted = batch.weight[:, :JOINT_SIZE].view_as(batch.uvd)
        uv = squared_error(estimate.uvd[..., :2], batch.uvd[..., :2], counted[..., :2])
        betas = squared_error(estimate.betas, batch.betas, torch.ones_like(batch.betas))
        return weights.uv * uv.mean() + weights.betas * betas.mean()
    uv_target = batch.uvd[..., :2].clamp(-1, 1)
    return (
        weights.heat * heat_loss(estimate.heat, batch.uvd[..., :2], weights.heat_sigma)
        + weights.uv * F.l1_loss(estimate.uvd[..., :2], uv_target)
        + weights.depth * F.l1_loss(estimate.uvd[..., 2], batch.uvd[..., 2])
        + weights.twist * F.mse_loss(estimate.twists, batch.twists)
        + weights.betas * F.mse_loss(estimate.betas, batch.betas)
    )


def heat_loss(heat: Tensor, uv: Tensor, sigma: float) -> Tensor:
    """Cross-entropy between heatmaps and Gaussians around the joints, over joints inside the crop.

    The expectation alone says little about where the mass should lie; this does, and makes the encoder learn fast.

    Args:
        heat: (B, 29, H, W) log-probabilities; uv: (B, 29, 2) normalised; sigma: in normalised units.
    """
    along = (
        torch.softmax(-((_centres(side, uv) - place[..., None]) ** 2) / (2 * sigma**2), dim=-1)
        for side, place in zip(heat.shape[:1:-1], uv.unbind(-1), strict=True)
    )
    columns, rows = along
    target = rows[..., :, None] * columns[..., None, :]
    inside = (uv.abs() < 1).all(-1)
    return -((target * heat).sum((2, 3)) * inside).sum() / inside.sum().clamp_min(1)


def _centres(side: int, like: Tensor) -> Tensor:
    return (torch.arange(side, dtype=like.dtype, device=like.device) + 0.5) * (2.0 / side) - 1.0


def encode_together(policy: Policy, kinds: Sequence[Tensor]) -> list[tuple[Context, PoseEstimate]]:
    """What the encoder makes of crops of several kinds, each (B, 3, S, S), in one pass.

    Where batch statistics count, they are those of all kinds, as the running statistics are that come of them.
    """
    context, estimate = policy.encode(torch.cat(tuple(kinds)))
    sizes = [len(crops) for crops in kinds]
    contexts = zip(*(part.split(sizes) for part in context), strict=True)
    estimates = zip(*(part.split(sizes) for part in estimate), strict=True)
    return [(Context(*one), PoseEstimate(*other)) for one, other in zip(contexts, estimates, strict=True)]


def pose_error(
    policy: Policy,
    clean: Tensor,
    time: Tensor,
    noise: Tensor,
    context: Context,
    weight: Tensor | float = 1.0,
    dtype: torch.dtype | None = None,
    missed: bool = False,
) -> DenoisingError:
    """Error (N,) of one denoising step of scaled poses (N, 133) under `noise` at `time`: of what the network predicts.

    `weight`, `dtype` and `missed` as of `denoising_error`.
    """
    diffusion = policy.diffusion
    denoised = diffusion.denoise(policy.hyponet, diffusion.add_noise(clean, time, noise), time, context)
    if diffusion.config.parameterisation == "eps":
        return denoising_error(denoised.noise, noise, weight, dtype, missed)
    weight = weight * edm_weight(diffusion.sigma(time), diffusion.config.sigma_data)
    return denoising_error(denoised.pose, clean, weight, dtype, missed)


def denoising_loss(
    policy: Policy,
    context: Context,
    uvd: Tensor,
    twists: Tensor,
    noise: DrawnNoise,
    weights: SupervisedLossConfig,
    counted: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Denoising loss of `policy` on labels (B, 29, 3) and (B, 23, 2) of crops of which it made `context`.

    `noise` has D draws for each of the B crops, crop-major; `counted` (B, 133) weighs the squared errors.
    """
    draws = noise.time.shape[0] // uvd.shape[0]
    clean = policy.diffusion.scale(uvd, twists).repeat_interleave(draws, dim=0)
    weight = 1.0 if counted is None else counted.repeat_interleave(draws, dim=0)
    error = pose_error(policy, clean, noise.time, noise.noise, context, weight)
    joints, twists = error.joints.mean(), error.twists.mean()
    if weights.published:
        return JOINT_SIZE * joints + TWIST_SIZE * twists, {"joints": joints, "twists": twists}
    return joints + weights.twist_denoising * twists, {"joints": joints, "twists": twists}


def supervised_loss(
    policy: Policy,
    context: Context,
    estimate: PoseEstimate,
    batch: LabelledBatch,
    time: Tensor,
    noise: Tensor,
    weights: SupervisedLossConfig,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Denoising and estimate loss of `policy` on labelled crops, of which it made `context` and `estimate`.

    Args:
        time: (B*D,) timesteps, D draws for each of the B crops, crop-major.
        noise: (B*D, 133) unit noise.
    """
    drawn = DrawnNoise(time, noise)
    denoising, figures = denoising_loss(policy, context, batch.uvd, batch.twists, drawn, weights, batch.weight)
    own = estimate_loss(estimate, batch, weights)
    return denoising + own, {**figures, "estimate": own}
