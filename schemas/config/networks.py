"""Configuration of the networks: what `tiny` and `paper` have in common is the class, what differs is here."""

from typing import Literal

from pydantic import model_validator

from schemas.config.base import Config, setting

JOINTS = 29
"""Joints of a hypothesis: 24 SMPL joints and 5 leaves (head top, middle fingers, big toes)."""
TWISTS = 23
"""Twist angles of a hypothesis, one for each SMPL joint but the pelvis."""


class ConditionConfig(Config):
    """The image encoder that conditions the policy."""

    kind: Literal["compact", "hrnet_w48", "vit_s", "vit_b", "vit_l", "vit_h"] = setting(
        "compact", "architecture of the image encoder; the vision transformers are HMR-Scorer's alone", "-"
    )
    image_size: int = setting(64, "side of the square crop", "px", ge=32)
    widths: tuple[int, int, int] = setting((32, 64, 96), "channels at 1/4, 1/8 and 1/16 resolution", "channels")
    blocks: tuple[int, int, int] = setting((1, 2, 2), "residual blocks at 1/4, 1/8 and 1/16 resolution", "blocks")
    map_channels: int = setting(48, "channels of the local feature map at 1/4 resolution", "channels", ge=8)
    swapped_twist_points: bool = setting(
        False, "sample the twists' features at points with u and v exchanged, as published weights need it", "-"
    )

    @model_validator(mode="after")
    def _hrnet_halves_five_times(self) -> "ConditionConfig":
        if self.kind == "hrnet_w48" and self.image_size % 32:
            raise ValueError(f"image_size={self.image_size} is no multiple of 32, which kind=hrnet_w48 needs")
        return self

    @property
    def is_vit(self) -> bool:
        """Whether the encoder is a vision transformer."""
        return self.kind.startswith("vit_")


class HypoNetConfig(Config):
    """The diffusion denoiser over 29 joints (u, v, d) and 23 twists (cos, sin)."""

    joint_channels: int = setting(32, "channels of a token that come from the noisy pose", "channels", ge=8)
    local_channels: int = setting(32, "channels of a token that come from the image at the joint", "channels", ge=8)
    heads: int = setting(2, "attention heads", "heads", ge=1)
    attention_hops: tuple[int, ...] = setting(
        (16, 16), "for each block, how many steps along the skeleton a token can look", "steps"
    )
    feedforward_ratio: int = setting(2, "hidden width of the feed-forward part over the token width", "1", ge=1)
    time_channels: int = setting(64, "channels of the sinusoidal time embedding", "channels", ge=8)
    start_hops: int = setting(2, "how many steps along the skeleton the first and last layers connect", "steps", ge=1)
    norm_groups: int = setting(32, "groups of the first normalisation", "groups", ge=1)
    start_dropout: float = setting(0.0, "dropout after the first layer", "1", ge=0, lt=1)
    block_dropout: float = setting(0.0, "dropout inside the blocks", "1", ge=0, lt=1)

    @property
    def width(self) -> int:
        """Channels of a token."""
        return self.joint_channels + self.local_channels

    @model_validator(mode="after")
    def _heads_divide_width(self) -> "HypoNetConfig":
        if self.width % self.heads:
            raise ValueError(f"heads={self.heads} does not divide joint_channels + local_channels = {self.width}")
        return self


class DiffusionConfig(Config):
    """The noise schedule, the parameterisation and the sampler."""

    schedule: Literal["linear", "cosine", "quad", "sigmoid"] = setting("linear", "how beta grows over time", "-")
    beta_start: float = setting(1e-4, "first beta", "1", gt=0, lt=1)
    beta_end: float = setting(2e-2, "last beta", "1", gt=0, lt=1)
    timesteps: int = setting(1000, "diffusion steps of the schedule", "steps", ge=2)
    sampler_steps: tuple[int, ...] = setting((999, 666, 333, 0), "timesteps that the sampler visits", "steps")
    eta: float = setting(0.0, "DDIM's stochasticity: 0 is deterministic", "1", ge=0, le=1)
    parameterisation: Literal["eps", "edm"] = setting("edm", "what the network's output means", "-")
    sigma_data: float = setting(1.5, "EDM's spread of the scaled pose given the image", "scaled pose", gt=0)
    joint_scale: float = setting(25.0, "factor on normalised uvd before noise is added", "1", gt=0)
    twist_scale: float = setting(5.0, "factor on (cos, sin) of the twists before noise is added", "1", gt=0)


class PolicyConfig(Config):
    """The model that is aligned: image encoder, denoiser, diffusion."""

    condition: ConditionConfig = setting(ConditionConfig(), "image encoder", "-")
    hyponet: HypoNetConfig = setting(HypoNetConfig(), "denoiser", "-")
    # EDM's network is all but the identity at timestep 0, which the published sampler visits last.
    diffusion: DiffusionConfig = setting(
        DiffusionConfig(sampler_steps=(999, 666, 333)), "noise schedule and sampler", "-"
    )

    @model_validator(mode="after")
    def _encoder_of_a_policy(self) -> "PolicyConfig":
        if self.condition.is_vit:
            raise ValueError(f"condition.kind={self.condition.kind} is for HMR-Scorer; use compact or hrnet_w48")
        return self


class ScorerConfig(Config):
    """HMR-Scorer: image and one hypothesis in, a score out."""

    condition: ConditionConfig = setting(ConditionConfig(), "image encoder", "-")
    joint_channels: int = setting(32, "channels of a token that come from the hypothesis", "channels", ge=8)
    local_channels: int = setting(32, "channels of a token that come from the image at the joint", "channels", ge=8)
    heads: int = setting(2, "attention heads", "heads", ge=1)
    attention_hops: tuple[int, ...] = setting((16, 16), "for each block, how many skeleton steps a token sees", "steps")
    feedforward_ratio: int = setting(2, "hidden width of the feed-forward part over the token width", "1", ge=1)
    twists: Literal[0, 23] = setting(0, "twists that the scorer sees beside the 29 joints", "twists")
    sees_betas: bool = setting(
        False,
        "the scorer sees the hypothesis's body shape beside its joints; the published one does not",
        "-",
        later=True,
    )
    silhouette: Literal["none", "limbs"] = setting(
        "none",
        "with limbs the scorer also sees what of the picture the hypothesis's limbs cover, drawn as capsules, and what "
        "is around them; it needs condition.kind=compact",
        "-",
        later=True,
    )
    limb_radius: float = setting(0.08, "half the thickness of those limbs", "half crop sides", later=True, gt=0)
    sees_own_estimate: bool = setting(
        True, "the score also sees the hypothesis minus the encoder's own pose estimate", "-"
    )
    start_hops: int = setting(2, "how many steps along the skeleton the first layer connects", "steps", ge=1)
    norm_groups: int = setting(32, "groups of the normalisations", "groups", ge=1)
    hidden: tuple[int, ...] = setting((128, 64), "hidden widths of the head", "channels", min_length=1)
    score_heads: int = setting(
        1,
        "heads that read a score off the tokens, each trained on people of its own (train_scorer.head_share): their "
        "mean is the score, their spread its disagreement",
        "heads",
        later=True,
        ge=1,
        le=32,
    )
    dropout: float = setting(0.0, "dropout", "1", ge=0, lt=1)
    sharpness: float = setting(5.0, "factor on the raw score before the sigmoid", "1", gt=0)

    @property
    def width(self) -> int:
        """Channels of a token."""
        return self.joint_channels + self.local_channels

    @model_validator(mode="after")
    def _published_encoders_make_no_estimate(self) -> "ScorerConfig":
        kind = self.condition.kind
        if kind != "compact" and self.sees_own_estimate:
            raise ValueError(f"condition.kind={kind} makes no pose estimate of joints: set sees_own_estimate=False")
        if self.condition.is_vit and self.twists:
            raise ValueError(f"condition.kind={kind} sees joints alone: set twists=0")
        if kind != "compact" and self.silhouette != "none":
            raise ValueError(
                f"condition.kind={kind} has no map of the crop that limbs could be laid on: set silhouette=none"
            )
        return self
