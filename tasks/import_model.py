"""The work of importing: the model in a file, a published checkpoint or another store's."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from models.checkpoints.opening import open_policy, open_scorer
from models.checkpoints.ours import Checkpoint, Kind, from_bytes
from models.checkpoints.published import TITLES, Weights, read_published
from models.lora import merged_state
from schemas.config.networks import PolicyConfig, ScorerConfig
from schemas.errors import DataError
from schemas.ids import ModelDigest


class ModelInFile(NamedTuple):
    """A whole model, as `save_model` takes it."""

    kind: Kind
    state: Mapping[str, Tensor]
    config: PolicyConfig | ScorerConfig
    parents: tuple[ModelDigest, ...]
    metrics: Mapping[str, float]


def model_in(path: Path, data: bytes, manifest: str | None, weights: Weights | None) -> ModelInFile:
    """The model in the file `path`, of which `data` are the bytes, or in a folder that has a `manifest`."""
    if manifest is not None or data[8:9] == b"{":
        return _ours(from_bytes(data, str(path), manifest))
    return _published(path, weights)


def _ours(checkpoint: Checkpoint) -> ModelInFile:
    manifest = checkpoint.manifest
    config = (PolicyConfig if manifest.kind == "policy" else ScorerConfig).model_validate(manifest.config)
    return ModelInFile(manifest.kind, checkpoint.state, config, manifest.parents, manifest.metrics)


def _published(path: Path, weights: Weights | None) -> ModelInFile:
    file = read_published(path)
    facts = {name: value for name, value in file.facts.items() if math.isfinite(value)}  # infinite: not yet measured
    if file.kind == "hyponet":
        policy, _ = open_policy(file, weights)
        state = {f"hyponet.{name}": value for name, value in merged_state(policy.hyponet).items()}
        state |= {f"condition.{name}": value for name, value in policy.condition.state_dict().items()}
        return ModelInFile("policy", state, policy.config, (), facts)
    if file.kind in ("scorehypo_scorenet", "hmr_scorer"):
        scorer, _ = open_scorer(file, weights)
        return ModelInFile("scorer", scorer.state_dict(), scorer.config, (), facts)
    raise DataError(f"{path} holds an encoder alone, no policy and no scorer. Found: {TITLES[file.kind]}.")
