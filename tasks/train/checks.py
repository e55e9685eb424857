"""What of a training's configuration can't be meant, said before anything is loaded."""

from models.encoder_files import EncoderFile
from schemas.config.networks import ConditionConfig, ScorerConfig
from schemas.config.training import OptimiserConfig, SupervisedLossConfig, TrainScorerConfig
from schemas.errors import ConfigError


def check_estimate(losses: SupervisedLossConfig, encoder: ConditionConfig) -> None:
    """ConfigError where `losses` weigh an estimate that the image encoder does not make."""
    if encoder.kind != "hrnet_w48":
        return
    unmade = [name for name in ("heat", "depth", "twist") if getattr(losses, name)]
    if unmade:
        raise ConfigError(
            f"The loss weights {', '.join(unmade)} can't be used with condition.kind=hrnet_w48, which estimates joints "
            "in the image plane (weight uv) and betas alone. Set them to 0 in the losses of this training, as the "
            "profile paper does."
        )


def check_encoder(config: OptimiserConfig, network: ConditionConfig, encoder: EncoderFile | None) -> None:
    """ConfigError where the base policy can't be trained as `config` says from this encoder; None: from nothing."""
    if config.encoder_learning_rate == 0 and encoder is None:
        raise ConfigError(
            "train_base.optimiser.encoder_learning_rate=0 freezes an encoder that has learned nothing: say what it "
            "starts from (start.encoder=shipped)."
        )
    if config.encoder_learning_rate == 0 and not config.projections:
        raise ConfigError(
            "train_base.optimiser.encoder_learning_rate=0 freezes what projects the encoder's maps for the denoiser, "
            "too, and nothing has trained that yet: set train_base.optimiser.projections=True."
        )
    if encoder is not None and encoder.config != network:
        found = encoder.config
        differing = [
            f"{name} is {getattr(found, name)}, not {getattr(network, name)}"
            for name in ConditionConfig.model_fields
            if getattr(found, name) != getattr(network, name)
        ]
        raise ConfigError(
            f"start.encoder is another network than policy.condition says ({'; '.join(differing)}): set these fields "
            "alike, or start.encoder=train."
        )


def check_start(config: TrainScorerConfig, network: ScorerConfig, encoder: ConditionConfig) -> None:
    """Raise ConfigError where the scorer can't start as `config` says from a policy that has this encoder."""
    kind = network.condition.kind
    if kind != "compact" and (config.start_from_policy or config.encoder_steps):
        raise ConfigError(
            f"scorer.condition.kind={kind} does not start from the policy's encoder and makes no pose estimate of its "
            "own: set train_scorer.start_from_policy=False and train_scorer.encoder_steps=0."
        )
    if config.optimiser.encoder_learning_rate == 0 and kind == "compact" and not config.start_from_policy:
        raise ConfigError(
            "train_scorer.optimiser.encoder_learning_rate=0 freezes an encoder that has learned nothing: set "
            "train_scorer.start_from_policy=True."
        )
    if config.optimiser.encoder_learning_rate == 0 and config.encoder_steps:
        raise ConfigError(
            f"train_scorer.encoder_steps={config.encoder_steps} train the encoder alone, and "
            "optimiser.encoder_learning_rate=0 freezes it: set encoder_steps=0."
        )
    if config.start_from_policy and encoder.kind != "compact":
        raise ConfigError(
            f"The scorer's encoder can't start from the policy's, which has condition.kind={encoder.kind}: set "
            "train_scorer.start_from_policy=False."
        )
