"""Profiles: functions that return a whole configuration.

`tiny` learns on two CPU cores; `micro` is for tests, `paper` is as published.
"""

from typing import Any

from schemas.config.engine import EngineConfig, RayConfig
from schemas.config.networks import ConditionConfig, DiffusionConfig, HypoNetConfig, PolicyConfig, ScorerConfig
from schemas.config.optimiser import AugmentConfig, OptimiserConfig, SupervisedLossConfig
from schemas.config.sources import SHIPPED, StartConfig
from schemas.config.stages import (
    CleanConfig,
    EvaluateConfig,
    GateConfig,
    GenerateConfig,
    IngestConfig,
    PairConfig,
    PitchConfig,
    ScoreConfig,
    SynthesizeConfig,
)
from schemas.config.training import SCORER_ERRORS, AlignConfig, TrainBaseConfig, TrainCleanConfig, TrainScorerConfig


def tiny(seed: int = 0, campaign: str = "default") -> EngineConfig:
    """The embedded default: free body, synthetic pictures, made on two CPU cores in minutes.

    In it the denoiser has something to learn from pairs. Source cameras are level, the wild's look down on people or up
    at them, and the scorer's have all pitches: a gap that the shipped encoder's features tell and base training leaves
    unused. The encoder is frozen everywhere, and HMR-Scorer is a critic without an estimate of its own. docs/recipe.md
    says what it was chosen by.
    """
    # what a frozen encoder makes of crops is kept, in the two forms that a crop then has
    augment = AugmentConfig(mirror=0.5, brightness=0.0, contrast=0.0, noise=0.0, cutout=0.0)
    return EngineConfig(
        profile="tiny",
        campaign=campaign,
        seed=seed,
        start=StartConfig(encoder=SHIPPED),
        policy=PolicyConfig(diffusion=DiffusionConfig(sampler_steps=(999, 600, 400, 200), sigma_data=3.0)),
        scorer=ScorerConfig(sees_own_estimate=False),
        synthesize=SynthesizeConfig(
            scorer_train=4000,
            source_pitch=PitchConfig(sigma=2),
            scorer_pitch=PitchConfig(sigma=20, limit=45),
            wild_pitch=PitchConfig(mean=25, sigma=7, two_sided=True, limit=45),
            seed=seed,
        ),
        train_base=TrainBaseConfig(
            optimiser=_frozen(steps=700, learning_rate=2e-3),
            batch_images=48,
            noise_draws=2,
            augment=augment,
            seed=seed,
        ),
        train_scorer=TrainScorerConfig(
            optimiser=_frozen(steps=600, learning_rate=1e-3),
            encoder_steps=0,
            batch_images=32,
            pool_samples=6,
            pool_blends=1,
            pool_strangers=1,
            samples=4,
            blends=1,
            strangers=1,
            augment=augment,
            seed=seed,
        ),
        generate=GenerateConfig(hypotheses=17, seed=seed),
        pair=PairConfig(seed=seed),
        align=AlignConfig(
            optimiser=_frozen(steps=150, learning_rate=1e-3, ema_decay=0.99, checkpoint_every=50),
            beta=10.0,
            anchor=0.3,
            timestep_power=4.0,
            replay=4.0,
            replay_images=32,
            batch_crops=48,
            denoised_crops=48,
            pairs_per_crop=1,
            augment=augment,
            seed=seed,
        ),
        evaluate=EvaluateConfig(seed=seed),
        clean=CleanConfig(label="best_of_m", seed=seed),
        train_clean=TrainCleanConfig(
            optimiser=_frozen(steps=250, learning_rate=5e-4, ema_decay=0.99, checkpoint_every=50),
            augment=augment,
            seed=seed,
        ),
    )


def micro(seed: int = 0, campaign: str = "micro") -> EngineConfig:
    """Every stage in seconds; learns nothing to speak of, so its gates are wide open."""
    networks = {"widths": (8, 16, 16), "blocks": (1, 1, 1), "map_channels": 8}
    items = {"joint_channels": 8, "local_channels": 8, "heads": 2, "attention_hops": (16,), "norm_groups": 8}
    condition = ConditionConfig(**networks)
    return EngineConfig(
        profile="micro",
        campaign=campaign,
        seed=seed,
        policy=PolicyConfig(condition=condition, hyponet=HypoNetConfig(**items, time_channels=16)),
        scorer=ScorerConfig(condition=condition, **items, hidden=(16, 8)),
        synthesize=SynthesizeConfig(
            source_train=48,
            source_test=12,
            scorer_train=48,
            wild_train=24,
            wild_validation=12,
            wild_test=12,
            seed=seed,
            shard_size=24,
        ),
        ingest=IngestConfig(shard_size=12),
        train_base=TrainBaseConfig(optimiser=_short(steps=6, learning_rate=2e-3), batch_images=8, seed=seed),
        train_scorer=TrainScorerConfig(
            optimiser=_short(steps=6, learning_rate=1e-3),
            encoder_steps=2,
            batch_images=8,
            pool_samples=3,
            pool_blends=1,
            samples=3,
            blends=1,
            seed=seed,
        ),
        generate=GenerateConfig(hypotheses=5, shard_size=8, microbatch=4, seed=seed),
        pair=PairConfig(pairs_per_instance=1, seed=seed),
        align=AlignConfig(
            optimiser=_short(steps=6, learning_rate=3e-4),
            batch_crops=8,
            denoised_crops=6,
            pairs_per_crop=1,
            replay_images=8,
            encoder_distillation=3.0,
            seed=seed,
        ),
        evaluate=EvaluateConfig(
            generate=GenerateConfig(hypotheses=4, shard_size=8, microbatch=4, seed=7), resamples=100, seed=seed
        ),
        gates=GateConfig(min_pairs=1, min_margin=0.0, min_spearman=-1.0, min_diversity=0.0, max_drift=100.0),
        clean=CleanConfig(seed=seed),
        train_clean=TrainCleanConfig(
            optimiser=_short(steps=6, learning_rate=5e-4), labelled_images=8, pseudo_images=8, seed=seed
        ),
        ray=RayConfig(threads_per_trainer=1),
    )


def paper(seed: int = 0, campaign: str = "paper") -> EngineConfig:
    """The published sizes and trainings.

    HRNet-W48 + HypoNet at 256 px, noise prediction, M = 100, DPO with beta 100 (ADHMR, section 4.1); HMR-Scorer with a
    ViT-B, trained by the rank loss alone (section 3.2). docs/published.md says what of the trainings is not published.
    """
    condition = ConditionConfig(kind="hrnet_w48", image_size=256, swapped_twist_points=True)
    items = {"joint_channels": 256, "local_channels": 256, "heads": 8, "feedforward_ratio": 4}
    dropouts = {"start_dropout": 0.25, "block_dropout": 0.1}
    hops = (7, 6, 5, 4, 3, 1)
    # HRNet estimates joints in the image plane and betas, no more.
    losses = SupervisedLossConfig(heat=0.0, uv=40.0, depth=0.0, twist=0.0, betas=10.0, published=True)
    return EngineConfig(
        profile="paper",
        campaign=campaign,
        seed=seed,
        body="smpl",
        root_solver="published",
        policy=PolicyConfig(
            condition=condition,
            hyponet=HypoNetConfig(**items, attention_hops=hops, time_channels=128, **dropouts),
            diffusion=DiffusionConfig(parameterisation="eps", joint_scale=50.0, twist_scale=50.0),
        ),
        scorer=ScorerConfig(
            condition=ConditionConfig(kind="vit_b", image_size=256),
            **items,
            attention_hops=hops,
            twists=0,
            sees_own_estimate=False,
            hidden=(1024, 256),
            dropout=0.1,
        ),
        ingest=IngestConfig(crop_size_px=256),
        train_base=TrainBaseConfig(
            optimiser=_published(
                steps=50 * _EPOCH,
                learning_rate=5e-4,
                encoder_learning_rate=0.4,
                encoder_heads_learning_rate=2.0,
                halved_at=(20 * _EPOCH, 30 * _EPOCH, 40 * _EPOCH),
                ema_decay=0.9999,
                micro_batches=2,
            ),
            batch_images=320,
            antithetic=True,
            losses=losses,
            augment=_PUBLISHED_AUGMENT,
            seed=seed,
        ),
        train_scorer=TrainScorerConfig(
            optimiser=_published(
                steps=25 * 391, learning_rate=5e-4, encoder_learning_rate=0.0, halved_at=(5 * 391,), ema_decay=0.0
            ),
            encoder_steps=0,
            batch_images=256,
            pool_samples=0,
            pool_blends=0,
            pool_noised=15,
            samples=0,
            blends=0,
            noised=15,
            errors=SCORER_ERRORS,
            rank_rounded=True,
            score_weight=0.0,
            start_from_policy=False,
            augment=_PUBLISHED_AUGMENT,
            seed=seed,
        ),
        generate=GenerateConfig(hypotheses=50, microbatch=8, precision="bfloat16", seed=seed),
        score=ScoreConfig(precision="bfloat16"),
        pair=PairConfig(pairs_per_instance=1, label_wins_share=0.5, seed=seed),
        align=AlignConfig(
            objective="dpo",
            optimiser=_published(
                steps=50 * 63,
                learning_rate=5e-5,
                encoder_learning_rate=2.0,
                encoder_heads_learning_rate=10.0,
                halved_at=(35 * 63,),
                ema_decay=0.9999,
                ema_ramp=False,
                micro_batches=8,
            ),
            beta=100.0,
            anchor=0.0,
            fixed_statistics=True,
            dropout=True,
            keep_features=True,
            double_errors=True,
            replay=0.0,
            replay_images=0,
            batch_crops=8 * 40,
            denoised_crops=8 * 40,
            pairs_per_crop=1,
            losses=losses,
            augment=AugmentConfig(mirror=0.0, brightness=0.0, contrast=0.0, noise=0.0, cutout=0.0),
            seed=seed,
        ),
        evaluate=EvaluateConfig(
            generate=GenerateConfig(hypotheses=101, microbatch=8, precision="bfloat16", seed=7), seed=seed
        ),
        train_clean=TrainCleanConfig(
            optimiser=_published(
                steps=50 * 63,
                learning_rate=2.5e-4,
                encoder_learning_rate=0.4,
                encoder_heads_learning_rate=2.0,
                ema_decay=0.9999,
                ema_ramp=False,
                micro_batches=2,
            ),
            labelled_images=160,
            pseudo_images=160,
            losses=losses,
            augment=_PUBLISHED_AUGMENT,
            seed=seed,
        ),
        ray=RayConfig(cpus_per_actor=1.0, gpus_per_actor=0.5, gpus_per_trainer=1.0),
    )


def scorehypo_scorer() -> ScorerConfig:
    """ScoreHypo's own ScoreNet: HRNet-W48 as encoder, and twists beside the joints (its section 3.3)."""
    published = paper()
    return published.scorer.model_copy(
        update={"condition": published.policy.condition, "twists": 23, "hidden": (1024,)}
    )


_EPOCH = 1951
"""Steps of an epoch of the base policy: twice Human3.6M's 312,188 training people, 320 a step."""
_PUBLISHED_AUGMENT = AugmentConfig(mirror=0.5, brightness=0.0, contrast=0.18, noise=0.0, cutout=0.8)
"""Of labelled crops; published ones are turned and scaled as well."""


def _published(steps: int, learning_rate: float, **others: Any) -> OptimiserConfig:
    """What all published trainings have in common: Adam without a warm-up, each network clipped by itself."""
    return OptimiserConfig(
        steps=steps,
        learning_rate=learning_rate,
        warmup_steps=0,
        cosine=False,
        epsilon=1e-24,
        gradient_clip=1.0,
        encoder_gradient_clip=1.0,
        **others,
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


def _short(steps: int, learning_rate: float) -> OptimiserConfig:
    return OptimiserConfig(
        steps=steps, learning_rate=learning_rate, warmup_steps=1, ema_decay=0.5, checkpoint_every=2, report_every=2
    )


PROFILES = {"tiny": tiny, "micro": micro, "paper": paper}
