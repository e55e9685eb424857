"""Back to the published layout, so that the published code can evaluate or go on training what was aligned here."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from models.checkpoints.fitting import check_finite
from models.checkpoints.published import LORA, has_low_rank
from models.policy import Policy
from schemas.errors import ConfigError, DataError, StoreError


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
    """Of HypoNet; the condition network has half of it (ADHMR's runner)."""


_NEW = Progress()


# Waits for step 7 of the plan: `adhmr export --to checkpoint`.
def write_published(policy: Policy, path: Path | str, raw: Policy | None = None, progress: Progress = _NEW) -> Path:
    """Write `policy` as a checkpoint of the published code; the file appears whole or not at all.

    The policy's weights are those that are evaluated: they become the moving averages. `raw` are the weights that
    training would go on from; without it they are the same. Optimisers are written as new.

    Raises ConfigError for networks that the published code does not have, DataError for weights with NaN, StoreError
    where the file can't be written.
    """
    kind = policy.config.condition.kind
    if kind != "hrnet_w48":
        raise ConfigError(
            f"The published code has no image encoder {kind!r}: only policies of the profile paper can be written in "
            "its layout. Use this engine's own checkpoint."
        )
    return _write(published_content(policy, raw, progress), Path(path))


def published_content(policy: Policy, raw: Policy | None = None, progress: Progress = _NEW) -> dict[str, Any]:
    """The top-level entries of a published checkpoint; arguments as in `write_published`.

    There is one set of buffers (batch statistics) only, those of `policy`. With low-rank additions the published code
    evaluates `model` itself, and averages the additions alone: `raw` is not used there.
    """
    content: dict[str, Any] = {}
    extended = has_low_rank(policy.hyponet)
    source = policy if raw is None or extended else raw
    for end, evaluated, going_on, factor in (
        ("", policy.hyponet, source.hyponet, 1.0),
        ("_cond", policy.condition, source.condition, 0.5),
    ):
        shown = f"The policy to be written (model{end})"
        averages = {
            name: parameter.detach().cpu()
            for name, parameter in evaluated.named_parameters()
            if not (extended and end == "") or LORA in name
        }
        parameters = dict(going_on.named_parameters())
        state = {name: parameters.get(name, value).detach().cpu() for name, value in evaluated.state_dict().items()}
        check_finite(state, shown)
        check_finite(averages, f"{shown}, averages")
        content[f"model{end}"] = state
        content[f"ema{end}"] = {
            "decay": progress.decay,
            "num_updates": progress.num_updates,
            "shadow_params": list(averages.values()),
        }
        trained = [parameters[name] for name in averages]
        content[f"optimizer{end}"] = torch.optim.Adam(trained, lr=progress.learning_rate * factor).state_dict()
    content["epoch"], content["step"] = progress.epoch, progress.step
    content["min_mpjpe_h36m"], content["min_mpjpe_pw3d"] = progress.min_mpjpe_h36m, progress.min_mpjpe_pw3d
    return content


def _write(content: Mapping[str, Any], path: Path) -> Path:
    if path.is_dir():
        raise DataError(f"{path} is a folder: name the file to be written, such as {path / 'policy.pth'}.")
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        torch.save(dict(content), unfinished)
        unfinished.replace(path)
    except (OSError, RuntimeError) as error:
        raise StoreError(f"{path} can't be written: {error}. Is there such a folder, with room and rights?") from error
    finally:
        unfinished.unlink(missing_ok=True)
    return path
