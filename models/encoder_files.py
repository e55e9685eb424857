"""Trained image encoders as files: what a campaign may start from (`start.encoder`), and the one that ships.

A file is safetensors with a manifest in its metadata: the encoder's configuration, the digest over that and the weights
by which it is known, its licence, and how it came about. It is read whole and checked whenever it is asked for; no
torch is needed for it.
"""

import functools
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load, save

from schemas.config.networks import ConditionConfig
from schemas.config.sources import SHIPPED, TRAIN
from schemas.digests import canonical_json, digest, state_digest
from schemas.errors import DamagedError, DataError

SHIPPED_FILE: Final = Path(__file__).parent / "data" / "encoder_tiny.safetensors"
"""Trained by `make pretrain`; data/README.md says on what."""
FORMAT: Final = 1
_METADATA, _SEAL = "adhmr_encoder", "manifest_sha256"
_MOST_BYTES: Final = 1 << 30


@dataclass(frozen=True)
class EncoderFile:
    """An encoder as its file has it."""

    config: ConditionConfig
    state: Mapping[str, NDArray[np.float32]]
    """Weights by their names in `models.condition.CompactBackbone`."""
    licence: str
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """How it was trained: settings, seed, people, versions, what was measured."""

    @property
    def digest(self) -> str:
        """By which it is known: of weights and configuration."""
        return state_digest(self.state, about=self.config)

    def to_bytes(self) -> bytes:
        """The file: a fixed function of the fields. DataError where a weight is NaN or infinite."""
        _check_finite(self.state, "The encoder to be saved")
        about = {
            "format": FORMAT,
            "kind": "encoder",
            "config": self.config.model_dump(mode="json"),
            "digest": self.digest,
            "licence": self.licence,
            "provenance": dict(self.provenance),
        }
        arrays = {name: np.ascontiguousarray(self.state[name]) for name in sorted(self.state)}
        return save(arrays, {_METADATA: canonical_json({**about, _SEAL: digest(about)})})


def encoder_path(said: str) -> Path | None:
    """The file that `start.encoder` means; None where the base training makes an encoder from nothing."""
    return {TRAIN: None, SHIPPED: SHIPPED_FILE}.get(said, Path(said).expanduser())


def encoder_digest(said: str) -> str | None:
    """The digest of the encoder that `start.encoder` means; None as of `encoder_path`. Raises as `read_encoder`."""
    path = encoder_path(said)
    return None if path is None else read_encoder(path).digest


def read_encoder(path: Path) -> EncoderFile:
    """The encoder in a file.

    Raises DataError where there is none, DamagedError where it is not as it was written: its weights or its manifest
    have another digest than it says.
    """
    try:
        state = path.stat()
    except OSError as problem:
        raise DataError(
            f"There is no encoder {path} ({problem.strerror}): say train, shipped, or a file of `make pretrain`."
        ) from None
    if not path.is_file() or state.st_size > _MOST_BYTES:
        raise DataError(f"{path} is no encoder: a file of safetensors is needed that `make pretrain` has made.")
    return _read(path.resolve(), state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=4)
def _read(path: Path, changed: int, size: int) -> EncoderFile:
    """`changed` and `size` make a file that was replaced another entry of the cache."""
    data = path.read_bytes()
    try:
        about, arrays = _manifest(data, path), load(data)
    except (SafetensorError, ValueError, struct.error) as problem:
        raise DamagedError(f"{path} is no safetensors file, or it is damaged: {problem}.") from problem
    try:
        config = ConditionConfig.model_validate(about["config"])
    except (KeyError, ValidationError) as problem:
        raise DataError(f"{path}: this version can't read the encoder's configuration. Train it again.") from problem
    found = EncoderFile(config, arrays, str(about.get("licence", "")), about.get("provenance", {}))
    actual = state_digest(arrays, about=about["config"])
    if actual != about.get("digest"):
        said = str(about.get("digest"))[:12]
        raise DamagedError(
            f"{path} is damaged: its weights have digest {actual[:12]}, not {said}. Copy it again, or install the "
            "engine again if it is the one that ships."
        )
    _check_finite(arrays, str(path))
    return found


def _manifest(data: bytes, path: Path) -> dict[str, Any]:
    (length,) = struct.unpack("<Q", data[:8])
    text = json.loads(data[8 : 8 + length]).get("__metadata__", {}).get(_METADATA)
    if text is None:
        raise DataError(f"{path} is a safetensors file without the manifest of an encoder: `make pretrain` writes one.")
    about: dict[str, Any] = json.loads(text)
    seal = about.pop(_SEAL, None)
    if seal != digest(about):
        raise DamagedError(f"{path} is damaged: its manifest does not have the digest that it says.")
    if about.get("format") != FORMAT:
        raise DataError(f"{path} has format {about.get('format')}; this version reads format {FORMAT}.")
    return about


def _check_finite(state: Mapping[str, NDArray[Any]], where: str) -> None:
    bad = [name for name, value in state.items() if value.dtype.kind == "f" and not np.isfinite(value).all()]
    if bad:
        raise DataError(f"{where} holds NaN or infinity in {bad[0]}; was the training stable?")
