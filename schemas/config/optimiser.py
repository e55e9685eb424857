"""Configuration that trainings share: the optimiser, the losses on labelled crops, and what is done to crops."""

from pydantic import model_validator

from schemas.config.base import Config, Precision, setting


class OptimiserConfig(Config):
    """AdamW with a warm-up, a cosine to zero, clipping, and a moving average of the weights."""

    steps: int = setting(..., "optimiser steps", "steps", ge=1)
    learning_rate: float = setting(..., "peak learning rate", "1", gt=0)
    encoder_learning_rate: float = setting(
        1.0, "learning rate of the image encoder over the rest's; 0 freezes it", "1", ge=0
    )
    encoder_heads_learning_rate: float | None = setting(
        None,
        "learning rate of what is new in a published image encoder (HRNet: what makes features, joints and betas of "
        "its maps), over the rest's; unset, or where the encoder is frozen: as the encoder's",
        "1",
        later=True,
        gt=0,
    )
    projections: bool = setting(
        False,
        "where that is 0, train what projects a policy's frozen maps for its denoiser, at the denoiser's rate",
        "-",
        later=True,
    )
    warmup_steps: int = setting(20, "steps of linear warm-up", "steps", ge=0)
    cosine: bool = setting(True, "let the learning rate fall to zero along a cosine", "-")
    halved_at: tuple[int, ...] = setting(
        (), "steps from which on the learning rate is halved, each time once more", "steps", later=True
    )
    weight_decay: float = setting(0.0, "AdamW's decoupled weight decay", "1", ge=0)
    epsilon: float = setting(
        1e-8, "what AdamW adds to the root of the mean square; the image encoder's stays 1e-8", "1", later=True, gt=0
    )
    gradient_clip: float = setting(20.0, "largest norm of the gradient", "1", gt=0)
    encoder_gradient_clip: float | None = setting(
        None,
        "largest norm of the image encoder's gradient, which is then clipped apart from the rest's; unset: one norm of "
        "all",
        "1",
        later=True,
        gt=0,
    )
    ema_decay: float = setting(0.995, "decay of the moving average of the weights", "1", ge=0, lt=1)
    ema_ramp: bool = setting(
        True,
        "let the decay of step k be (k + 1) / (k + 10) at most, which forgets the weights that a training began with; "
        "off, those keep a share of ema_decay to the power of the steps",
        "-",
        later=True,
    )
    checkpoint_every: int = setting(200, "steps between two resumable checkpoints", "steps", ge=1)
    report_every: int = setting(10, "steps between two points of the training curves", "steps", ge=1)
    precision: Precision = setting(
        "float32",
        "of the passes; weights, their gradients and their moving average always have 32 bits",
        "-",
        later=True,
    )
    micro_batches: int = setting(
        1,
        "parts that each training worker does its share of a batch in, one after the other: they need less memory",
        "parts",
        ge=1,
        later=True,
    )

    def in_steps(self, steps: int) -> "OptimiserConfig":
        """The same course in another number of steps: where the rate is halved moves with them."""
        halved = {max(1, round(at * steps / self.steps)) for at in self.halved_at}
        return self.model_copy(update={"steps": steps, "halved_at": tuple(sorted(halved))})

    @model_validator(mode="after")
    def _halvings_are_in_order(self) -> "OptimiserConfig":
        if list(self.halved_at) != sorted(set(self.halved_at)) or min(self.halved_at, default=1) < 1:
            raise ValueError(
                f"halved_at={list(self.halved_at)} must be steps from 1 on, each larger than the one before"
            )
        return self


class SupervisedLossConfig(Config):
    """The weights of the losses on labelled crops.

    The encoder's own estimate weighs far more than the denoising error: its gradient is clean, and the denoiser's,
    drowned in noise, slows the encoder down. The denoiser itself feels only the denoising error.
    """

    heat: float = setting(5.0, "the encoder's own heatmaps (cross-entropy with a Gaussian around the joint)", "1", ge=0)
    heat_sigma: float = setting(0.06, "standard deviation of that Gaussian", "half crop sides", gt=0)
    uv: float = setting(40.0, "the encoder's own joint positions (normalised, L1)", "1", ge=0)
    depth: float = setting(20.0, "the encoder's own joint depths (metres, L1)", "1", ge=0)
    twist: float = setting(5.0, "the encoder's own twists (MSE of cos, sin)", "1", ge=0)
    betas: float = setting(0.2, "the encoder's own betas (MSE)", "1", ge=0)
    twist_denoising: float = setting(1.0, "denoising error of the twists over that of the joints", "1", ge=0)
    published: bool = setting(
        False,
        "ScoreHypo's loss: squared errors, summed over joints and coordinates, of noise, joints in the image plane and "
        "betas; of the weights, uv and betas alone count",
        "-",
        later=True,
    )


class AugmentConfig(Config):
    """Random changes to the crops that a model is trained on: they keep small data sets from being memorised."""

    mirror: float = setting(0.5, "share of the crops that are mirrored, with all that belongs to them", "1", ge=0, le=1)
    brightness: float = setting(0.25, "largest shift of a channel's brightness", "half the value range", ge=0)
    contrast: float = setting(0.35, "largest change of a channel's contrast, as the logarithm of the factor", "1", ge=0)
    noise: float = setting(0.05, "largest standard deviation of added noise", "half the value range", ge=0)
    cutout: float = setting(0.35, "share of the crops in which a rectangle is painted over", "1", ge=0, le=1)

    @property
    def only_mirrors(self) -> bool:
        """Whether a crop comes out as it is or mirrored, and in no other form."""
        return not (self.brightness or self.contrast or self.noise or self.cutout)
