"""Back to the published layout, so that the published code can evaluate or go on training what was aligned here."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from models.checkpoints.fitting import check_finite
from models.checkpoints.opening import scorer_like
from models.checkpoints.published import LORA, has_low_rank
from models.hmr_scorer import HMRScorer
from models.policy import Policy
from schemas.config.networks import PolicyConfig, ScorerConfig
from schemas.errors import ConfigError, DataError, StoreError
from schemas.fields import fields
from schemas.profiles import paper

_NAMED = 3
"""Fields that are named of a configuration that no published file has."""


class Progress(NamedTuple):
    """What a published checkpoint says of the training that made it."""

    epoch: int = 0
    step: int = 0
    min_mpjpe_h36m: float = float("inf")
    """Best validation figure so far, mm."""
    min_mpjpe_pw3d: float = float("inf")
    decay: float = 0.9999
    num_updates: int = 0
    """Updates of the moving average."""
    learning_rate: float = 5e-5
    """Of HypoNet; the condition network has half of it (ADHMR's runner). Scorers are given the same."""


class _Part(NamedTuple):
    """A network of a file: `model`, `ema` and `optimizer`, each with this ending."""

    ending: str
    evaluated: nn.Module
    going_on: nn.Module
    """The same network with the weights that training goes on from."""
    rate: float = 1.0
    """Its learning rate over the first network's."""


_NEW = Progress()


def not_published(config: PolicyConfig | ScorerConfig) -> str:
    """Why no published file can hold these networks, as the end of a sentence; empty where one can.

    A published file says nothing of its configuration. So the networks have to be those that are made for such a file
    when it is read; else another model would come back.
    """
    published: PolicyConfig | ScorerConfig = paper().policy
    if isinstance(config, ScorerConfig):
        published = scorer_like(config.condition.kind)
    kind = "scorer" if isinstance(config, ScorerConfig) else "policy"
    if config.condition.kind != published.condition.kind:
        return f"the published code has no {kind} with the image encoder {config.condition.kind}"
    theirs = {field.name: field.value for field in fields(published)}
    others = [f"{field.name}={field.value}" for field in fields(config) if field.value != theirs[field.name]]
    more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
    return f"the published code has no {kind} with {', '.join(others[:_NAMED])}{more}" if others else ""


def write_published(
    model: Policy | HMRScorer, path: Path | str, raw: Policy | None = None, progress: Progress = _NEW
) -> Path:
    """Write a model as a checkpoint of the published code; the file appears whole or not at all.

    Its weights are those that are evaluated: they become the moving averages. `raw` are the weights that a policy's
    training would go on from; without it they are the same. Optimisers are written as new.

    Raises ConfigError for networks that the published code does not have, DataError for weights with NaN, StoreError
    where the file can't be written.
    """
    why = not_published(model.config)
    if why:
        raise ConfigError(f"No published layout: {why}. Use this engine's own checkpoint.")
    return _write(published_content(model, raw, progress), Path(path))


def published_content(
    model: Policy | HMRScorer, raw: Policy | None = None, progress: Progress = _NEW
) -> dict[str, Any]:
    """The top-level entries of a published checkpoint; arguments as in `write_published`.

    There is one set of buffers (batch statistics) only, those of `model`. With low-rank additions the published code
    evaluates `model` itself, and averages the additions alone: `raw` is not used there.
    """
    if isinstance(model, Policy):
        source = model if raw is None or has_low_rank(model.hyponet) else raw
        networks = (
            _Part("", model.hyponet, source.hyponet),
            _Part("_cond", model.condition, source.condition, 0.5),
        )
        figures = {name: getattr(progress, name) for name in ("min_mpjpe_h36m", "min_mpjpe_pw3d")}
        return _averaged(networks, progress) | figures
    if not model.config.condition.is_vit:
        networks = (
            _Part("_score", model.score_net, model.score_net),
            _Part("_score_cond", model.encoder, model.encoder, 0.5),
        )
        return _averaged(networks, progress)
    state = {f"module.{name}": value.detach().cpu() for name, value in model.state_dict().items()}
    check_finite(state, "The scorer to be written (network)")
    optimiser = torch.optim.Adam(model.parameters(), lr=progress.learning_rate)
    return {"network": state, "optimizer": optimiser.state_dict(), "epoch": progress.epoch}


def _averaged(networks: tuple[_Part, ...], progress: Progress) -> dict[str, Any]:
    """What a file has that keeps moving averages beside its weights."""
    content: dict[str, Any] = {}
    for ending, evaluated, going_on, rate in networks:
        shown = f"The networks to be written (model{ending})"
        extended = has_low_rank(evaluated)
        averages = {
            name: parameter.detach().cpu()
            for name, parameter in evaluated.named_parameters()
            if not extended or LORA in name
        }
        parameters = dict(going_on.named_parameters())
        state = {name: parameters.get(name, value).detach().cpu() for name, value in evaluated.state_dict().items()}
        check_finite(state, shown)
        check_finite(averages, f"{shown}, averages")
        content[f"model{ending}"] = state
        content[f"ema{ending}"] = {
            "decay": progress.decay,
            "num_updates": progress.num_updates,
            "shadow_params": list(averages.values()),
        }
        trained = [parameters[name] for name in averages]
        content[f"optimizer{ending}"] = torch.optim.Adam(trained, lr=progress.learning_rate * rate).state_dict()
    return content | {"epoch": progress.epoch, "step": progress.step}


def _write(content: Mapping[str, Any], path: Path) -> Path:
    if path.is_dir():
        raise DataError(f"{path} is a folder: name the file to be written, such as {path / 'policy.pth'}.")
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with unfinished.open("wb") as opened:  # given a name, torch would write that into the file
            torch.save(dict(content), opened)
        unfinished.replace(path)
    except (OSError, RuntimeError) as error:
        raise StoreError(f"{path} can't be written: {error}. Is there such a folder, with room and rights?") from error
    finally:
        unfinished.unlink(missing_ok=True)
    return path
