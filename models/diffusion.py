"""Diffusion over scaled poses: noise schedules, the two parameterisations, DDIM.

A pose is carried as one vector of 133 numbers: 87 scaled uvd, then 46 scaled (cos, sin). Sources: DDPM (Ho et al.,
2020), DDIM (Song et al., 2021, eq. 12), EDM preconditioning (Karras et al., 2022, section 5), and ADHMR's published
sampler.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from models.attention import KeysValues
from models.hyponet import Context, HypoNet
from schemas.config.networks import JOINTS, TWISTS, DiffusionConfig

POSE_SIZE = JOINTS * 3 + TWISTS * 2
JOINT_SIZE = JOINTS * 3


def betas_of(config: DiffusionConfig) -> Tensor:
    """The schedule's betas (T,), float32."""
    steps, start, end = config.timesteps, config.beta_start, config.beta_end
    if config.schedule == "linear":
        betas = torch.linspace(start, end, steps, dtype=torch.float64)
    elif config.schedule == "quad":
        betas = torch.linspace(math.sqrt(start), math.sqrt(end), steps, dtype=torch.float64) ** 2
    elif config.schedule == "sigmoid":
        betas = torch.sigmoid(torch.linspace(-6, 6, steps, dtype=torch.float64)) * (end - start) + start
    else:
        # Nichol & Dhariwal, 2021, eq. 17.
        grid = torch.linspace(0, steps, steps + 1, dtype=torch.float64) / steps
        kept = torch.cos((grid + 0.008) / 1.008 * math.pi / 2) ** 2
        betas = (1 - kept[1:] / kept[:-1]).clamp(max=0.999)
    return betas.float()


class Denoised(NamedTuple):
    """Both readings of one network output."""

    pose: Tensor
    """(N, 133) the clean scaled pose."""
    noise: Tensor
    """(N, 133) the unit noise."""


class Diffusion:
    """Adds and removes noise. Holds no weights; `network` is the HypoNet whose output is interpreted."""

    def __init__(self, config: DiffusionConfig) -> None:
        self.config = config
        self.alphas_cumprod = torch.cumprod(1 - betas_of(config), dim=0)

    def scale(self, uvd: Tensor, twists: Tensor) -> Tensor:
        """Normalised uvd (N, 29, 3) and twists (N, 23, 2) -> scaled pose (N, 133)."""
        return torch.cat([uvd.flatten(1) * self.config.joint_scale, twists.flatten(1) * self.config.twist_scale], dim=1)

    def unscale(self, pose: Tensor) -> tuple[Tensor, Tensor]:
        """Scaled pose (N, 133) -> normalised uvd (N, 29, 3), twists (N, 23, 2)."""
        uvd = pose[:, :JOINT_SIZE].unflatten(1, (JOINTS, 3)) / self.config.joint_scale
        twists = pose[:, JOINT_SIZE:].unflatten(1, (TWISTS, 2)) / self.config.twist_scale
        return uvd, twists

    def add_noise(self, pose: Tensor, time: Tensor, noise: Tensor) -> Tensor:
        """The forward process: (N, 133) poses at timesteps (N,) with the given unit noise."""
        kept = self._kept(time)
        return kept.sqrt() * pose + (1 - kept).sqrt() * noise

    def sigma(self, time: Tensor) -> Tensor:
        """Noise level over signal level at `time` (N,): (N, 1)."""
        kept = self._kept(time)
        return ((1 - kept) / kept).sqrt()

    def denoise(
        self,
        network: HypoNet,
        noisy: Tensor,
        time: Tensor,
        context: Context,
        seen: tuple[KeysValues, ...] | None = None,
    ) -> Denoised:
        """What `network` makes of `noisy` (B*M, 133) at `time` (B*M,), for the B images of `context`.

        `seen` as of `HypoNet.forward`.
        """
        kept = self._kept(time)
        if self.config.parameterisation == "eps":
            noise = torch.cat(network(noisy[:, :JOINT_SIZE], noisy[:, JOINT_SIZE:], time, context, seen), dim=1)
            return Denoised((noisy - (1 - kept).sqrt() * noise) / kept.sqrt(), noise)
        spread, sigma = self.config.sigma_data, self.sigma(time)
        centre = self.scale(context.centre_joints, context.centre_twists)
        centre = centre.repeat_interleave(noisy.shape[0] // centre.shape[0], dim=0)
        # EDM's preconditioning around the encoder's own estimate: sigma_data is then the spread given the image.
        deviation = noisy / kept.sqrt() - centre
        total = (sigma**2 + spread**2).sqrt()
        shrunk = deviation / total
        output = torch.cat(network(shrunk[:, :JOINT_SIZE], shrunk[:, JOINT_SIZE:], time, context, seen), dim=1)
        pose = centre + deviation * (spread / total) ** 2 + output * (sigma * spread / total)
        return Denoised(pose, (noisy - kept.sqrt() * pose) / (1 - kept).sqrt())

    @torch.no_grad()
    def sample(
        self,
        network: HypoNet,
        start: Tensor,
        context: Context,
        noise: Tensor | None = None,
        seen: tuple[KeysValues, ...] | None = None,
    ) -> Tensor:
        """DDIM from `start` (B*M, 133), unit noise or zeros, to clean scaled poses (B*M, 133).

        `noise` (steps, B*M, 133) is needed when `eta` > 0: fresh noise never comes from a global generator. `seen` as
        of `HypoNet.forward`: what isn't given is made once for all steps. Nothing in here waits for the device.
        """
        if self.config.eta > 0 and noise is None:
            raise ValueError("eta > 0 needs the noise of every step: pass noise (steps, N, 133)")
        steps = self.config.sampler_steps
        seen = network.look(context) if seen is None else seen
        pose = start
        for index, step in enumerate(steps):
            time = torch.full((start.shape[0],), step, device=start.device)
            kept = self._kept(time)
            clean, estimated = self.denoise(network, pose, time, context, seen)
            if index + 1 == len(steps):
                return clean
            kept_next = self._kept(torch.full_like(time, steps[index + 1]))
            jitter = self.config.eta * ((1 - kept / kept_next) * (1 - kept_next) / (1 - kept)).sqrt()
            pose = kept_next.sqrt() * clean + (1 - kept_next - jitter**2).sqrt() * estimated
            if noise is not None:
                pose = pose + jitter * noise[index]
        return pose

    def _kept(self, time: Tensor) -> Tensor:
        # The table goes to a device once: copying it there in every step would make the step wait.
        if self.alphas_cumprod.device != time.device:
            self.alphas_cumprod = self.alphas_cumprod.to(time.device)
        return self.alphas_cumprod[time][:, None]
