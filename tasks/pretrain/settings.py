"""How an encoder is pretrained: which people, how many, how long."""

from schemas.config.base import Config, setting
from schemas.config.networks import ConditionConfig
from schemas.config.optimiser import AugmentConfig, OptimiserConfig, SupervisedLossConfig
from schemas.config.stages import PitchConfig


class PretrainConfig(Config):
    """An encoder's pretraining.

    On *broad* people, of all poses, looks and cameras, it learns where joints are in the crop and how the camera is
    pitched; what lies in depth, twists and shapes on *level* people alone, who are as a campaign's source. So its
    features tell of the wild what its own estimate was never taught there.
    """

    network: ConditionConfig = setting(ConditionConfig(), "the encoder", "-")
    broad: int = setting(20_000, "broad people", "people", ge=1)
    level: int = setting(24_000, "level people", "people", ge=1)
    held_out: int = setting(500, "people of each kind that it is measured on", "people", ge=1)
    broad_pitch: PitchConfig = setting(PitchConfig(sigma=24, limit=45), "of the cameras of broad people", "-")
    level_pitch: PitchConfig = setting(PitchConfig(sigma=2), "of the cameras of level people", "-")
    optimiser: OptimiserConfig = setting(
        OptimiserConfig(
            steps=16_000,
            learning_rate=6e-3,
            warmup_steps=100,
            weight_decay=1e-4,
            ema_decay=0.998,
            checkpoint_every=500,
            report_every=100,
        ),
        "optimiser",
        "-",
    )
    broad_images: int = setting(32, "broad crops a step", "crops", ge=1)
    level_images: int = setting(24, "level crops a step", "crops", ge=1)
    losses: SupervisedLossConfig = setting(SupervisedLossConfig(), "weights of the encoder's own estimate", "-")
    pitch_weight: float = setting(10.0, "weight of the pitch's squared error, in units of 20 degrees", "1", ge=0)
    augment: AugmentConfig = setting(AugmentConfig(), "random changes to the crops", "-")
    box_padding: float = setting(1.25, "side of the crop over the longer side of the box", "1", ge=1)
    body: str = setting("tiny", "body of the people", "-")
    seed: int = setting(2604, "seed of people, initial weights, batches and noise", "1", ge=0)


def short() -> PretrainConfig:
    """In seconds, for tests: a small encoder that learns a little."""
    return PretrainConfig(
        network=ConditionConfig(widths=(8, 16, 16), blocks=(1, 1, 1), map_channels=8),
        broad=64,
        level=32,
        held_out=16,
        optimiser=OptimiserConfig(
            steps=30, learning_rate=6e-3, warmup_steps=2, ema_decay=0.9, checkpoint_every=10, report_every=5
        ),
        broad_images=16,
        level_images=8,
    )
