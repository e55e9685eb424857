"""Our own checkpoints: weights and a manifest in one safetensors file, checked when it is read.

The manifest (JSON in the file's metadata) says what the weights are: kind, configuration, the models that they were
trained from, and the digest over weights and configuration by which the model is known everywhere. A digest of the
manifest itself is beside it, as parents and figures are no part of the model's.
"""

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from models.checkpoints.fitting import check_finite, load_into
from models.hmr_scorer import HMRScorer
from models.policy import Policy
from schemas.config.networks import PolicyConfig, ScorerConfig
from schemas.digests import canonical_json, digest, state_digest
from schemas.errors import DamagedError, DataError
from schemas.ids import ModelDigest

Kind = Literal["policy", "scorer"]
FORMAT = 1
_METADATA = "adhmr"
_SEAL = "manifest_sha256"


@dataclass(frozen=True)
class Manifest:
    """What a checkpoint says of itself."""

    format: int
    kind: Kind
    config: dict[str, Any]
    """Dumped PolicyConfig or ScorerConfig."""
    parents: tuple[ModelDigest, ...]
    """Digests of the models that it was trained from."""
    digest: ModelDigest
    metrics: Mapping[str, float] = field(default_factory=dict)
    """What was measured of it when it was saved, with units in the names; no part of the digest."""


@dataclass(frozen=True)
class Checkpoint:
    """Weights by name, on the CPU, and what they are."""

    manifest: Manifest
    state: dict[str, Tensor]


def digest_of(state: Mapping[str, Tensor], config: BaseModel | Mapping[str, Any]) -> ModelDigest:
    """The digest (64 hex digits) of weights under a configuration; the order of the names does not count.

    A configuration counts as it is dumped, or as it was: one that was saved before a field came to it keeps its digest.
    """
    arrays: dict[str, np.ndarray] = {name: value.detach().cpu().numpy() for name, value in state.items()}
    return ModelDigest(state_digest(arrays, about=config))


def to_bytes(
    kind: Kind,
    state: Mapping[str, Tensor],
    config: BaseModel,
    parents: Sequence[ModelDigest] = (),
    metrics: Mapping[str, float] | None = None,
) -> bytes:
    """The checkpoint's file: a fixed function of the arguments. DataError if a weight is NaN or infinite."""
    check_finite(state, f"The {kind} to be saved")
    # as the digest has it, without later fields that say nothing: whoever reads the file takes the digest of this
    dumped = json.loads(canonical_json(config))
    manifest = Manifest(FORMAT, kind, dumped, tuple(parents), digest_of(state, config), dict(metrics or {}))
    about = {name: value for name, value in asdict(manifest).items() if value or name != "metrics"}
    # copies: safetensors takes no two names that share memory, and no views with gaps
    tensors = {name: state[name].detach().cpu().contiguous().clone() for name in sorted(state)}
    return save(tensors, {_METADATA: canonical_json({**about, _SEAL: digest(about)})})


def from_bytes(data: bytes, where: str = "the checkpoint", manifest: str | None = None) -> Checkpoint:
    """Read a checkpoint's file. `where` names it in errors, `manifest` is its manifest where that is not in it.

    Raises DamagedError if it is no checkpoint of this engine, or not as it was written; DataError if it holds NaN, or
    if this version can't read its format or configuration.
    """
    try:
        text = manifest_of(data) if manifest is None else manifest
        state = load(data)
    except (SafetensorError, ValueError, AttributeError, struct.error) as error:
        raise DamagedError(f"{where} is no safetensors file, or it is damaged: {error}.") from error
    if text is None:
        raise DamagedError(f"{where} is a safetensors file without a manifest of this engine.")
    about = _manifest(text, where)
    actual = digest_of(state, about.config)
    if actual != about.digest:
        raise DamagedError(f"{where} is damaged: its weights have digest {actual[:12]}, not {about.digest[:12]}.")
    check_finite(state, where)
    _config(about, where)
    return Checkpoint(about, state)


def policy_of(checkpoint: Checkpoint, where: str = "the checkpoint") -> Policy:
    """The policy in a checkpoint, in eval mode. DataError if it holds another kind of model."""
    policy = Policy(PolicyConfig.model_validate(_of_kind(checkpoint, "policy", where).config))
    load_into(policy, checkpoint.state, where)
    return policy.eval()


def scorer_of(checkpoint: Checkpoint, where: str = "the checkpoint") -> HMRScorer:
    """The scorer in a checkpoint, in eval mode. DataError if it holds another kind of model."""
    scorer = HMRScorer(ScorerConfig.model_validate(_of_kind(checkpoint, "scorer", where).config))
    load_into(scorer, checkpoint.state, where)
    return scorer.eval()


def _of_kind(checkpoint: Checkpoint, kind: Kind, where: str) -> Manifest:
    if checkpoint.manifest.kind != kind:
        raise DataError(f"{where} holds a {checkpoint.manifest.kind}, but a {kind} is needed here.")
    return checkpoint.manifest


def _config(manifest: Manifest, where: str) -> PolicyConfig | ScorerConfig:
    try:
        return (PolicyConfig if manifest.kind == "policy" else ScorerConfig).model_validate(manifest.config)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise DataError(
            f"{where}: this version can't read the {manifest.kind}'s configuration ({field}: {first['msg']}). "
            "Use the engine that wrote it."
        ) from error


def _manifest(text: str, where: str) -> Manifest:
    """The manifest of a file; those of older versions have no digest of themselves."""
    try:
        raw = json.loads(text)
        seal = raw.pop(_SEAL, None)
        if seal is not None and seal != digest(raw):
            raise DamagedError(f"{where} is damaged: its manifest does not have the digest that it says.")
        if raw.get("format") == FORMAT:
            return Manifest(**{**raw, "parents": tuple(raw["parents"])})
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DamagedError(f"{where} is damaged: its manifest can't be read ({error}).") from error
    raise DataError(
        f"{where} has format {raw.get('format')}; this version reads format {FORMAT}. Use the engine that wrote it."
    )


def manifest_of(data: bytes) -> str | None:
    """The manifest in a checkpoint's file, as it stands there; None where there is none.

    safetensors' own reader of bytes hands back tensors alone.
    """
    (length,) = struct.unpack("<Q", data[:8])
    header: dict[str, Any] = json.loads(data[8 : 8 + length])
    text: str | None = header.get("__metadata__", {}).get(_METADATA)
    return text
