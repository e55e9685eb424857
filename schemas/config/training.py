"""Configuration of the training stages: base policy, scorer, alignment, further training on cleaned data."""

from typing import Final, Literal

from pydantic import model_validator

from schemas.config.base import Config, setting
from schemas.config.optimiser import AugmentConfig, OptimiserConfig, SupervisedLossConfig

ScorerError = Literal["mpvpe", "pa_mpvpe", "mpjpe", "pa_mpjpe"]
"""An error that HMR-Scorer may learn from; those of joints are over the 14 of published evaluations."""
SCORER_ERRORS: Final[tuple[ScorerError, ...]] = ("mpvpe", "pa_mpvpe", "mpjpe", "pa_mpjpe")
"""All four, from which the published scorer learned."""


class TrainBaseConfig(Config):
    """Training of the base policy on labelled source data."""

    optimiser: OptimiserConfig = setting(
        OptimiserConfig(steps=1000, learning_rate=2e-3, encoder_learning_rate=3.0), "optimiser", "-"
    )
    batch_images: int = setting(32, "crops a step", "crops", ge=1)
    noise_draws: int = setting(1, "noise draws a crop and step", "draws", ge=1)
    antithetic: bool = setting(False, "draw timesteps in mirrored couples t, T - 1 - t", "-", later=True)
    losses: SupervisedLossConfig = setting(SupervisedLossConfig(), "weights of the losses", "-")
    augment: AugmentConfig = setting(AugmentConfig(), "random changes to the crops", "-")
    seed: int = setting(0, "seed of initial weights, batches and noise", "1", ge=0)


class LabelNoiseConfig(Config):
    """Noise on the parameters of a label, as standard deviations; the defaults are the published ones."""

    pose: float = setting(0.05, "of each number of the rotation vectors that turn the body's joints", "rad", ge=0)
    root: float = setting(0.02, "of each number of the rotation vector that turns the root", "rad", ge=0)
    shape: float = setting(0.05, "of each of the betas", "standard deviations of body shape", ge=0)
    expression: float = setting(
        0.01, "of each coefficient of the face, where a label has some", "standard deviations of expression", ge=0
    )
    levels: tuple[float, ...] = setting(
        (1.0,),
        "factors on all of these: the noised hypotheses of a person take one after the other, and begin again; at one "
        "level alone, as published, errors differ little",
        "1",
        min_length=1,
    )


class TrainScorerConfig(Config):
    """Training of HMR-Scorer on labelled people and hypotheses of them: policy samples, blends, and noised labels."""

    optimiser: OptimiserConfig = setting(
        OptimiserConfig(steps=700, learning_rate=1e-3, encoder_learning_rate=3.0), "optimiser", "-"
    )
    encoder_steps: int = setting(
        500,
        "first steps that train the encoder alone, on its own estimate: a ranking learned before it is noise",
        "steps",
        ge=0,
    )
    batch_images: int = setting(48, "crops a step", "crops", ge=1)
    pool_samples: int = setting(3, "policy samples drawn for each crop before training", "hypotheses", ge=0)
    pool_blends: int = setting(1, "blends of label and policy sample made for each crop", "hypotheses", ge=0)
    pool_noised: int = setting(0, "noised labels made for each crop", "hypotheses", later=True, ge=0)
    pool_strangers: int = setting(
        0,
        "labels of other people taken for each crop, without which no scorer knows a label of another picture",
        "hypotheses",
        later=True,
        ge=0,
    )
    samples: int = setting(3, "policy samples of a crop that a step uses", "hypotheses", ge=0)
    blends: int = setting(1, "blends of a crop that a step uses", "hypotheses", ge=0)
    noised: int = setting(0, "noised labels of a crop that a step uses", "hypotheses", later=True, ge=0)
    strangers: int = setting(0, "labels of other people that a step uses for a crop", "hypotheses", later=True, ge=0)
    noise: LabelNoiseConfig = setting(LabelNoiseConfig(), "noise of the noised labels", "-", later=True)
    errors: tuple[ScorerError, ...] = setting(
        ("mpvpe",), "errors that the score is to go by, each with its own losses; published: all four", "-", later=True
    )
    rank_weight: float = setting(1.0, "weight of the rank losses, which are summed", "1", later=True, ge=0)
    rank_sigma: float = setting(5.0, "sharpness of the rank loss", "1", gt=0)
    rank_rounded: bool = setting(
        False,
        "take the rank loss from a rounded sigmoid, as published: a pair far in the wrong order then teaches nothing",
        "-",
        later=True,
    )
    score_weight: float = setting(
        5.0,
        "weight of the MSE between score and score of the error, which are summed; published: 100, but left out of "
        "what was trained",
        "1",
        ge=0,
    )
    best_mm: float = setting(10.0, "error whose score is 1", "mm", ge=0)
    worst_mm: float = setting(300.0, "error whose score is 0", "mm", gt=0)
    worst_aligned_mm: float = setting(150.0, "the same of errors after alignment (PA-)", "mm", later=True, gt=0)
    estimate: SupervisedLossConfig = setting(SupervisedLossConfig(), "weights of the encoder's own estimate", "-")
    start_from_policy: bool = setting(True, "the encoder starts from the base policy's", "-")
    encoder_file: str | None = setting(
        None,
        "checkpoint whose vision transformer the encoder starts from: SMPLer-X, ViTPose, or a whole HMR-Scorer; its "
        "bytes count, not its path, which must be there on the machines that train",
        "-",
        later=True,
    )
    fixed_statistics: bool = setting(
        False,
        "keep the encoder's batch-norm statistics; a frozen encoder (optimiser.encoder_learning_rate=0) always keeps "
        "them",
        "-",
        later=True,
    )
    head_share: float = setting(
        0.5, "share of the people that each of several score heads learns from", "1", later=True, gt=0, le=1
    )
    augment: AugmentConfig = setting(AugmentConfig(), "random changes to the crops", "-")
    seed: int = setting(0, "seed of initial weights, batches and noise", "1", ge=0)

    @model_validator(mode="after")
    def _pool_holds_what_a_step_takes(self) -> "TrainScorerConfig":
        kinds = ("samples", "blends", "noised", "strangers")
        taken: dict[str, int] = {kind: getattr(self, kind) for kind in kinds}
        for kind, count in taken.items():
            held = getattr(self, f"pool_{kind}")
            if count > held:
                raise ValueError(f"a step takes {kind}={count} of a crop, but its pool holds pool_{kind}={held}")
        if self.pool_blends and not self.pool_samples:
            raise ValueError("blends are between label and policy sample: with pool_samples=0 set pool_blends=0")
        if self.encoder_steps and not self.optimiser.encoder_learning_rate:
            raise ValueError(
                f"encoder_steps={self.encoder_steps} train the encoder, which optimiser.encoder_learning_rate=0 "
                "freezes: set encoder_steps=0"
            )
        if self.encoder_file and self.start_from_policy:
            raise ValueError(
                "the encoder can't start from encoder_file and from the policy: set start_from_policy=False"
            )
        if self.encoder_steps >= self.optimiser.steps:
            raise ValueError(
                f"encoder_steps={self.encoder_steps} leaves none of the {self.optimiser.steps} steps for the ranking"
            )
        if sum(taken.values()) < 2:
            raise ValueError(f"{' + '.join(kinds)} must be at least 2: a single hypothesis can't be ranked")
        if not self.errors or len(set(self.errors)) < len(self.errors):
            raise ValueError("errors must name at least one error, and each once")
        if not (self.rank_weight or self.score_weight):
            raise ValueError("rank_weight=0 and score_weight=0 leave nothing to learn from")
        return self

    @property
    def worst(self) -> dict[str, float]:
        """By the errors that count: the mm from which on a hypothesis could not be worse."""
        return {name: self.worst_aligned_mm if name.startswith("pa_") else self.worst_mm for name in self.errors}


ObjectiveName = Literal["anchored_dpo", "dpo", "sft", "ipo", "hinge", "kto", "group", "listwise", "sdpo", "nft"]


class AlignConfig(Config):
    """Preference fine-tuning of the policy on pairs."""

    objective: ObjectiveName = setting(
        "anchored_dpo",
        "anchored DPO; DPO as published; winners alone (SFT); IPO; hinge (SLiC); KTO; group advantage; listwise "
        "(Plackett-Luce); winner-preserving DPO (SDPO); or negative-aware (NFT): docs/method.md",
        "-",
    )
    optimiser: OptimiserConfig = setting(
        OptimiserConfig(
            steps=160, learning_rate=4e-5, encoder_learning_rate=100.0, ema_decay=0.99, checkpoint_every=40
        ),
        "optimiser",
        "-",
    )
    beta: float = setting(10.0, "strength of the preference term", "1", gt=0)
    group_size: int = setting(
        4,
        "hypotheses of a crop that group, listwise and nft compare in a step, of those that its pairs are made of",
        "hypotheses",
        later=True,
        ge=2,
        le=64,
    )
    advantage_clip: float = setting(
        2.0, "largest advantage of a hypothesis in its group (group)", "standard deviations", later=True, gt=0
    )
    guard: float = setting(
        1.0,
        "rise of a bad hypothesis' denoising error over the reference's from which on it is pushed no further (group)",
        "reference's error",
        later=True,
        gt=0,
    )
    winner_reserve: float = setting(
        0.0,
        "share of the winner's own progress that losers may not use up (sdpo)",
        "1",
        later=True,
        ge=0,
        lt=1,
    )
    nft_mix: float = setting(
        1.0,
        "how far from the reference to the policy the prediction lies that is drawn to good hypotheses (nft)",
        "1",
        later=True,
        gt=0,
        le=1,
    )
    margin_sharpness: float = setting(
        0.0,
        "s in tanh(s * margin / 2), by which a comparison counts as its scores lie apart (SmPO); 0: all alike",
        "1/score",
        later=True,
        ge=0,
    )
    timestep_power: float = setting(
        0.0,
        "p in the weight (p + 1) * (t / T)^p of a comparison at timestep t of T: above 0 noisy ones weigh more, below "
        "clean ones; 0: all alike",
        "1",
        later=True,
        gt=-1,
        le=4,
    )
    reference_decay: float = setting(
        1.0,
        "what is left of the reference after a step, the rest being the policy of that step; 1: it stays",
        "1",
        later=True,
        ge=0,
        le=1,
    )
    lora_rank: int = setting(
        0,
        "rank of the additions to the denoiser's attentions that are trained in place of it (LoRA); 0: all of it is. "
        "Encoder and projections are trained as optimiser says, whatever this is",
        "1",
        later=True,
        ge=0,
        le=256,
    )
    legs: int = setting(
        1,
        "legs of a round: each draws from the policy of the leg before, for its share of the people, and trains its "
        "share of the steps",
        "legs",
        later=True,
        ge=1,
        le=64,
    )
    anchor: float = setting(0.3, "weight of the winner's own denoising error (anchored DPO)", "1", ge=0)
    replay: float = setting(2.0, "weight of the supervised loss on labelled source crops", "1", ge=0)
    replay_images: int = setting(32, "labelled crops a step", "crops", ge=0)
    batch_crops: int = setting(48, "crops with pairs a step", "crops", ge=1)
    pairs_per_crop: int = setting(
        1, "pairs of each of these crops a step: they share the encoder's pass", "pairs", ge=1
    )
    denoised_crops: int = setting(
        16, "of these crops, those whose pairs the denoiser learns from; the estimate learns from all", "crops", ge=1
    )
    antithetic: bool = setting(True, "draw timesteps in mirrored couples t, T - 1 - t", "-")
    losses: SupervisedLossConfig = setting(
        SupervisedLossConfig(),
        "weights of the losses on replayed crops and of the estimate on preferred poses",
        "-",
    )
    encoder_distillation: float = setting(
        0.0,
        "weight of a regression, no preference objective: it draws the encoder's own estimate to the winners and away "
        "from the losers, and the encoder then learns of the pairs from this alone; at 0 it learns through the "
        "denoiser's preference",
        "1",
        ge=0,
        formerly="estimate",
    )
    distillation_push: float = setting(
        1.0,
        "how far beyond the winners the estimate is drawn, away from the losers; anchored DPO that is not saturated "
        "would go to beta / (4 * anchor)",
        "winner minus loser",
        ge=0,
        formerly="estimate_push",
    )
    fixed_statistics: bool = setting(False, "keep the policy's batch-norm statistics", "-")
    dropout: bool = setting(
        False,
        "drop out in the policy, as published, though not in the reference: the loss of alike networks then begins "
        "above 2 log 2",
        "-",
        later=True,
    )
    keep_features: bool = setting(
        False,
        "keep what encoders that don't change make of the pairs' crops (the reference's, and the policy's if it is "
        "frozen), within ray.features_mib; they don't change where statistics are fixed and crops are mirrored at most",
        "-",
        later=True,
    )
    double_errors: bool = setting(
        False,
        "average denoising errors in 64 bits: their differences are multiplied by beta, and if that is large the loss "
        "would show how they round in 32",
        "-",
        later=True,
    )
    augment: AugmentConfig = setting(AugmentConfig(), "random changes to the crops", "-")
    seed: int = setting(0, "seed of batches and noise", "1", ge=0)

    @property
    def replays(self) -> bool:
        """Whether labelled crops are replayed at all."""
        return bool(self.replay and self.replay_images)

    @model_validator(mode="after")
    def _denoised_are_among_the_crops(self) -> "AlignConfig":
        if self.denoised_crops > self.batch_crops:
            raise ValueError(f"denoised_crops={self.denoised_crops} is more than batch_crops={self.batch_crops}")
        return self

    @model_validator(mode="after")
    def _legs_are_equal(self) -> "AlignConfig":
        if self.optimiser.steps % self.legs:
            raise ValueError(f"legs={self.legs} can't share optimiser.steps={self.optimiser.steps} equally")
        return self

    def leg(self) -> "AlignConfig":
        """How one leg is trained: by its share of the steps."""
        if self.legs == 1:
            return self
        return self.model_copy(update={"optimiser": self.optimiser.in_steps(self.optimiser.steps // self.legs)})


class TrainCleanConfig(Config):
    """Further supervised training of a policy on labelled source crops and kept pseudo-labels."""

    optimiser: OptimiserConfig = setting(
        OptimiserConfig(steps=250, learning_rate=5e-4, encoder_learning_rate=3.0, ema_decay=0.99, checkpoint_every=50),
        "optimiser",
        "-",
    )
    labelled_images: int = setting(32, "labelled source crops a step", "crops", ge=0)
    pseudo_images: int = setting(32, "kept pseudo-labelled crops a step", "crops", ge=1)
    pseudo_weight: float = setting(1.0, "weight of the pseudo-labelled crops' loss", "1", ge=0)
    noise_draws: int = setting(1, "noise draws a crop and step", "draws", ge=1)
    losses: SupervisedLossConfig = setting(SupervisedLossConfig(), "weights of the losses", "-")
    augment: AugmentConfig = setting(AugmentConfig(), "random changes to the crops", "-")
    seed: int = setting(0, "seed of batches and noise", "1", ge=0)
