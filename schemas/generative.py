"""The profile `generative`: a tiny problem in which the denoiser has something to learn from pairs.

Source cameras are level, those of scorer and wild are not: a gap that the shipped encoder's features tell and base
training leaves unused. The encoder is frozen everywhere, and HMR-Scorer is a critic without an estimate of its own.
docs/recipe.md says what it was chosen by.
"""

from schemas.config.engine import EngineConfig
from schemas.config.networks import DiffusionConfig, PolicyConfig, ScorerConfig
from schemas.config.sources import SHIPPED, StartConfig
from schemas.config.stages import (
    CleanConfig,
    EvaluateConfig,
    GenerateConfig,
    PairConfig,
    PitchConfig,
    SynthesizeConfig,
)
from schemas.config.training import (
    AlignConfig,
    AugmentConfig,
    OptimiserConfig,
    TrainBaseConfig,
    TrainCleanConfig,
    TrainScorerConfig,
)


def generative(seed: int = 0, campaign: str = "default") -> EngineConfig:
    """The tiny problem in which preferences earn their gain: made on two CPU cores in minutes."""
    level, pitched = PitchConfig(sigma=2), PitchConfig(sigma=20, limit=45)
    # what a frozen encoder makes of crops is kept, in the two forms that a crop then has
    augment = AugmentConfig(mirror=0.5, brightness=0.0, contrast=0.0, noise=0.0, cutout=0.0)
    return EngineConfig(
        profile="generative",
        campaign=campaign,
        seed=seed,
        start=StartConfig(encoder=SHIPPED),
        policy=PolicyConfig(diffusion=DiffusionConfig(sampler_steps=(999, 600, 400, 200), sigma_data=3.0)),
        scorer=ScorerConfig(sees_own_estimate=False),
        synthesize=SynthesizeConfig(
            scorer_train=4000, source_pitch=level, scorer_pitch=pitched, wild_pitch=pitched, seed=seed
        ),
        train_base=TrainBaseConfig(
            optimiser=_frozen(steps=900, learning_rate=2e-3),
            batch_images=48,
            noise_draws=2,
            augment=augment,
            seed=seed,
        ),
        train_scorer=TrainScorerConfig(
            optimiser=_frozen(steps=900, learning_rate=1e-3),
            encoder_steps=0,
            batch_images=32,
            pool_samples=8,
            pool_blends=3,
            samples=4,
            blends=2,
            augment=augment,
            seed=seed,
        ),
        generate=GenerateConfig(hypotheses=17, seed=seed),
        pair=PairConfig(seed=seed),
        align=AlignConfig(
            optimiser=_frozen(steps=200, learning_rate=1e-3, ema_decay=0.99, checkpoint_every=50),
            beta=10.0,
            anchor=0.3,
            replay=4.0,
            replay_images=32,
            batch_crops=48,
            denoised_crops=48,
            pairs_per_crop=1,
            encoder_distillation=0.0,
            augment=augment,
            seed=seed,
        ),
        evaluate=EvaluateConfig(seed=seed),
        clean=CleanConfig(seed=seed),
        train_clean=TrainCleanConfig(
            optimiser=_frozen(steps=250, learning_rate=5e-4, ema_decay=0.99, checkpoint_every=50),
            augment=augment,
            seed=seed,
        ),
    )


def _frozen(steps: int, learning_rate: float, ema_decay: float = 0.995, checkpoint_every: int = 200) -> OptimiserConfig:
    """Of all but the image encoder."""
    return OptimiserConfig(
        steps=steps,
        learning_rate=learning_rate,
        encoder_learning_rate=0.0,
        projections=True,
        ema_decay=ema_decay,
        checkpoint_every=checkpoint_every,
    )
