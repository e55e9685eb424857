"""What of a training's configuration can't be meant, said before anything is loaded."""

from pathlib import Path

from models.encoder_files import EncoderFile
from schemas.config.networks import ConditionConfig, HypoNetConfig, PolicyConfig, ScorerConfig
from schemas.config.optimiser import OptimiserConfig, SupervisedLossConfig
from schemas.config.training import TrainScorerConfig
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


def check_start(config: TrainScorerConfig, network: ScorerConfig, policy: PolicyConfig | ScorerConfig) -> None:
    """Raise ConfigError where the scorer can't start as `config` says, from this policy or from a file."""
    encoder, kind = policy.condition, network.condition.kind
    if kind != "compact" and config.encoder_steps:
        raise ConfigError(
            f"scorer.condition.kind={kind} makes no pose estimate of its own to be trained on first: set "
            "train_scorer.encoder_steps=0."
        )
    if config.optimiser.encoder_learning_rate == 0 and not config.start_from_policy and config.encoder_file is None:
        raise ConfigError(
            "train_scorer.optimiser.encoder_learning_rate=0 freezes an encoder that has learned nothing: set "
            "train_scorer.start_from_policy=True, or train_scorer.encoder_file."
        )
    if config.encoder_file is not None:
        _check_file(config.encoder_file, kind)
    if not config.start_from_policy:
        return
    if network.condition.is_vit:
        raise ConfigError(
            f"scorer.condition.kind={kind} can't start from the policy's encoder: set "
            "train_scorer.start_from_policy=False, and perhaps train_scorer.encoder_file."
        )
    tokens = policy.hyponet if isinstance(policy, PolicyConfig) else policy
    ours, theirs = _shape_of(network.condition, network), _shape_of(encoder, tokens)
    if ours != theirs:
        name = next(name for name in ours if ours[name] != theirs[name])
        raise ConfigError(
            f"The scorer's encoder can't start from the policy's, which has {name}={theirs[name]}, where the scorer's "
            f"has {name}={ours[name]}: make them alike, or set train_scorer.start_from_policy=False."
        )


def _shape_of(encoder: ConditionConfig, tokens: ScorerConfig | HypoNetConfig) -> dict[str, object]:
    """What decides the shapes of an encoder's weights; HRNet's heads have the widths of tokens that look at them."""
    if encoder.kind == "compact":
        return encoder.model_dump(exclude={"swapped_twist_points"})
    return {"condition.kind": encoder.kind, "width": tokens.width, "local_channels": tokens.local_channels}


def _check_file(text: str, kind: str) -> None:
    if not kind.startswith("vit_"):
        raise ConfigError(
            f"train_scorer.encoder_file is for vision transformers, and scorer.condition.kind is {kind}: set the kind "
            "to vit_s, vit_b, vit_l or vit_h, as the file's is."
        )
    if not Path(text).expanduser().is_file():
        raise ConfigError(f"train_scorer.encoder_file: there is no file {text}.")
