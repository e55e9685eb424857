"""What the published code saved: which of its files one is, and its parts under our names.

Source: the files of ScoreHypo (Xu et al., CVPR 2024), ADHMR with HMR-Scorer (Shen et al., ICML 2025), and those that
their networks start from: SMPLer-X, ViTPose, and HRNet trained on COCO or ImageNet.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from models.checkpoints.torch_file import read_torch
from schemas.errors import DataError

FileKind = Literal["hyponet", "scorehypo_scorenet", "hmr_scorer", "smplerx", "vitpose", "hrnet"]
TITLES: Mapping[FileKind, str] = {
    "hyponet": "ADHMR or ScoreHypo checkpoint (HypoNet and its condition network)",
    "scorehypo_scorenet": "ScoreHypo ScoreNet checkpoint (ScoreNet and its condition network)",
    "hmr_scorer": "HMR-Scorer checkpoint (ViT encoder and ScoreNet)",
    "smplerx": "SMPLer-X checkpoint (its ViT encoder can start HMR-Scorer's)",
    "vitpose": "ViTPose checkpoint (its backbone can start HMR-Scorer's encoder)",
    "hrnet": "HRNet checkpoint (it can start the condition network)",
}
Weights = Literal["ema", "raw"]
"""Averaged parameters, which the published evaluation uses, or those that training goes on from."""

LORA = ".lora_"
"""Part of the names of low-rank additions."""

_PREFIX = "module."
_FACTS = ("epoch", "step", "min_mpjpe_h36m", "min_mpjpe_pw3d")


@dataclass(frozen=True)
class Shadow:
    """An exponential moving average: parameters in the order of the network's `named_parameters`, no buffers."""

    decay: float
    num_updates: int | None
    parameters: tuple[Tensor, ...]


@dataclass(frozen=True)
class PublishedFile:
    """A published checkpoint, on the CPU. Names of weights are without `module.` and the prefix of their part."""

    where: str
    kind: FileKind
    parts: Mapping[str, Mapping[str, Tensor]]
    """Of "hyponet", "condition", "score_net", "encoder": those that the kind has."""
    shadows: Mapping[str, Shadow] = field(default_factory=dict)
    """Averages by part."""
    facts: Mapping[str, float] = field(default_factory=dict)
    """epoch, step, best figures: those that the file has."""
    left: Mapping[str, Tensor] = field(default_factory=dict)
    """Weights that the published code does not load into its networks either."""

    @property
    def lora(self) -> bool:
        """Whether HypoNet was trained by low-rank additions."""
        return any(LORA in name for name in self.parts.get("hyponet", {}))


def has_low_rank(network: nn.Module) -> bool:
    """Whether a network has low-rank additions."""
    return any(LORA in name for name in network.state_dict())


def read_published(path: Path | str) -> PublishedFile:
    """Read one of the published files. DataError if it is none of them, damaged, or not safe to read."""
    return recognise(read_torch(path), str(path))


def recognise(content: Any, where: str = "the checkpoint") -> PublishedFile:
    """Say what the content of a torch file is, by its top-level keys. DataError that lists what is known if nothing."""
    if isinstance(content, Mapping):
        if "model" in content and "model_cond" in content:
            return _with_condition(content, "hyponet", {"hyponet": "model", "condition": "model_cond"}, where)
        if "model_score" in content and "model_score_cond" in content:
            names = {"score_net": "model_score", "condition": "model_score_cond"}
            return _with_condition(content, "scorehypo_scorenet", names, where)
        if "network" in content:
            state = _state(content["network"], f"{where}: network")
            parts, left = _split(state, ("encoder", "score_net"))
            if set(parts) == {"encoder", "score_net"}:
                return PublishedFile(where, "hmr_scorer", parts, facts=_facts(content), left=left)
            if set(parts) == {"encoder"}:
                return PublishedFile(where, "smplerx", parts, facts=_facts(content), left=left)
        if "state_dict" in content:
            parts, left = _split(_state(content["state_dict"], f"{where}: state_dict"), ("backbone",))
            if "patch_embed.proj.weight" in parts.get("backbone", {}):
                return PublishedFile(where, "vitpose", {"encoder": parts["backbone"]}, left=left)
        if all(isinstance(value, Tensor) for value in content.values()):
            flat = _state(content, where)
            if "conv1.weight" in flat and any(name.startswith("stage2.0.branches.") for name in flat):
                left = {name: value for name, value in flat.items() if "final_layer" in name}
                kept = {name: value for name, value in flat.items() if name not in left}
                return PublishedFile(where, "hrnet", {"condition": kept}, left=left)
    raise DataError(f"{where} can be read, but is no checkpoint known here: {_seen(content)}. Known are: {_known()}.")


def _with_condition(content: Mapping[str, Any], kind: FileKind, names: Mapping[str, str], where: str) -> PublishedFile:
    parts = {part: _state(content[name], f"{where}: {name}") for part, name in names.items()}
    averages = {part: name.replace("model", "ema", 1) for part, name in names.items()}
    shadows = {
        part: _shadow(content[name], f"{where}: {name}")
        for part, name in averages.items()
        if content.get(name) is not None
    }
    return PublishedFile(where, kind, parts, shadows, _facts(content))


def _state(value: Any, where: str) -> dict[str, Tensor]:
    """A state dict as it should be: dense tensors by name, without the prefix that data-parallel training adds."""
    if not isinstance(value, Mapping):
        raise DataError(f"{where} is a {type(value).__name__}, not the names and tensors of a network's state dict.")
    odd = [name for name, tensor in value.items() if not isinstance(name, str) or not _is_dense(tensor)]
    if odd:
        raise DataError(f"{where} holds {odd[0]!r}, which is no dense tensor of numbers; take a file of weights alone.")
    if value and all(name.startswith(_PREFIX) for name in value):
        return {name.removeprefix(_PREFIX): tensor.detach() for name, tensor in value.items()}
    return {name: tensor.detach() for name, tensor in value.items()}


def _is_dense(value: Any) -> bool:
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and not value.is_quantized
        and not value.is_complex()
        and not value.is_meta
    )


def _shadow(value: Any, where: str) -> Shadow:
    listed = value.get("shadow_params") if isinstance(value, Mapping) else None
    if not isinstance(listed, list | tuple) or not all(map(_is_dense, listed)):
        raise DataError(f"{where} is no moving average as published: decay, num_updates and shadow_params, tensors.")
    updates = value.get("num_updates")
    return Shadow(
        float(value.get("decay", 0.9999)),
        None if updates is None else int(updates),
        tuple(tensor.detach() for tensor in listed),
    )


def _split(
    state: Mapping[str, Tensor], wanted: tuple[str, ...]
) -> tuple[dict[str, dict[str, Tensor]], dict[str, Tensor]]:
    """Weights by the first part of their names, if it is one of `wanted`, and the others."""
    parts: dict[str, dict[str, Tensor]] = {}
    left = {}
    for name, value in state.items():
        first, _, rest = name.partition(".")
        if first in wanted:
            parts.setdefault(first, {})[rest] = value
        else:
            left[name] = value
    return parts, left


def _facts(content: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(content[name]) for name in _FACTS if _is_number(content.get(name))}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) or (isinstance(value, Tensor) and value.numel() == 1)


def _seen(content: Any) -> str:
    if not isinstance(content, Mapping):
        return f"it holds a {type(content).__name__}"
    names = [str(name) for name in content]
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return f"its keys are {', '.join(names[:6])}{more}" if names else "it is empty"


def _known() -> str:
    return "; ".join(TITLES.values()) + "; and this engine's own .safetensors"
