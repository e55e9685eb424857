"""The policy: image encoder, HypoNet and diffusion as one module, with the few operations that stages need."""

from collections.abc import Iterator
from copy import deepcopy

import torch
from torch import Tensor, nn

from models.condition import ConditionNetwork, PoseEstimate
from models.diffusion import POSE_SIZE, Diffusion
from models.hrnet_condition import HRNetCondition
from models.hyponet import Context, HypoNet
from schemas.config.networks import JOINTS, TWISTS, PolicyConfig

FOLD = 2**21
"""Numbers that the tokens of the hypotheses which the CPU draws at once may have: then they stay in its caches."""


class Policy(nn.Module):
    """p(pose | crop). State-dict prefixes: `condition.` and `hyponet.`."""

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__()
        self.config = config
        width, local = config.hyponet.width, config.hyponet.local_channels
        encoder = HRNetCondition if config.condition.kind == "hrnet_w48" else ConditionNetwork
        self.condition = encoder(config.condition, width, local)
        self.hyponet = HypoNet(config.hyponet, residual=config.diffusion.parameterisation == "eps")
        self.diffusion = Diffusion(config.diffusion)

    def halved_encoder(self) -> HRNetCondition | ConditionNetwork:
        """A copy of the image encoder for drawing, not for training, which computes in bfloat16."""
        encoder = deepcopy(self.condition)
        encoder.halve()
        return encoder

    def encode(self, crops: Tensor) -> tuple[Context, PoseEstimate]:
        """Crops (B, 3, S, S) in [-1, 1] -> context for the denoiser, and the encoder's own estimate."""
        return self.condition(crops)

    @torch.no_grad()
    def sample(self, context: Context, noise: Tensor, denoiser: HypoNet | None = None) -> tuple[Tensor, Tensor]:
        """Hypotheses from unit `noise` (B, M, 133): normalised uvd (B, M, 29, 3) and unit twists (B, M, 23, 2).

        `denoiser` is another form of the policy's own, such as `HypoNet.halved`.
        """
        denoiser = denoiser or self.hyponet
        batch, count = noise.shape[:2]
        seen = denoiser.look(context)
        pose = torch.empty_like(noise)
        for images, rows in folds(batch, count, self._at_once(noise.device)):
            start = noise[images, rows]
            of_images = context.of(images), None, tuple(part.of(images) for part in seen)
            drawn = self.diffusion.sample(denoiser, start.reshape(-1, POSE_SIZE), *of_images)
            pose[images, rows] = drawn.view_as(start)
        uvd, twists = self.diffusion.unscale(pose.flatten(0, 1))
        twists = nn.functional.normalize(twists, dim=-1, eps=1e-6)
        return uvd.unflatten(0, (batch, count)), twists.unflatten(0, (batch, count))

    def _at_once(self, device: torch.device) -> int | None:
        """Hypotheses that are drawn at once; None for all."""
        if device.type != "cpu":
            return None
        return max(1, FOLD // ((JOINTS + TWISTS) * self.config.hyponet.width))


def folds(images: int, hypotheses: int, limit: int | None) -> Iterator[tuple[slice, slice]]:
    """Parts of a batch, whole images or equal shares of an image's hypotheses, of at most `limit` hypotheses each."""
    if limit is None:
        yield slice(images), slice(hypotheses)
        return
    together = max(1, limit // hypotheses)
    size = -(-hypotheses // -(-hypotheses // limit))
    for first in range(0, images, together):
        for start in range(0, hypotheses, size):
            yield slice(first, first + together), slice(start, start + size)
