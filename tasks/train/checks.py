"""What of a training's configuration can't be meant, said before anything is loaded."""

from schemas.config.networks import ConditionConfig, ScorerConfig
from schemas.config.training import SupervisedLossConfig, TrainScorerConfig
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


def check_start(config: TrainScorerConfig, network: ScorerConfig, encoder: ConditionConfig) -> None:
    """Raise ConfigError where the scorer can't start as `config` says from a policy that has this encoder."""
    kind = network.condition.kind
    if kind != "compact" and (config.start_from_policy or config.encoder_steps):
        raise ConfigError(
            f"scorer.condition.kind={kind} does not start from the policy's encoder and makes no pose estimate of its "
            "own: set train_scorer.start_from_policy=False and train_scorer.encoder_steps=0."
        )
    if config.start_from_policy and encoder.kind != "compact":
        raise ConfigError(
            f"The scorer's encoder can't start from the policy's, which has condition.kind={encoder.kind}: set "
            "train_scorer.start_from_policy=False."
        )
