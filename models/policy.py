"""The policy: image encoder, HypoNet and diffusion as one module, with the few operations that stages need."""

import torch
from torch import Tensor, nn

from models.condition import ConditionNetwork, PoseEstimate
from models.diffusion import POSE_SIZE, Diffusion
from models.hrnet_condition import HRNetCondition
from models.hyponet import Context, HypoNet
from schemas.config.networks import PolicyConfig


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

    def encode(self, crops: Tensor) -> tuple[Context, PoseEstimate]:
        """Crops (B, 3, S, S) in [-1, 1] -> context for the denoiser, and the encoder's own estimate."""
        return self.condition(crops)

    @torch.no_grad()
    def sample(self, context: Context, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Hypotheses from unit `noise` (B, M, 133): normalised uvd (B, M, 29, 3) and unit twists (B, M, 23, 2)."""
        batch, count = noise.shape[:2]
        pose = self.diffusion.sample(self.hyponet, noise.reshape(batch * count, POSE_SIZE), context)
        uvd, twists = self.diffusion.unscale(pose)
        twists = nn.functional.normalize(twists, dim=-1, eps=1e-6)
        return uvd.unflatten(0, (batch, count)), twists.unflatten(0, (batch, count))
