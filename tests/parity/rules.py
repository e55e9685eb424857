"""How the golden fixtures' weights and inputs are made again: every array from a generator that its name seeds.

The fixtures hold outputs only. A set is a folder with a `prefix.txt`, whose content enters every name, so that two sets
of one form have other weights, inputs and outputs. `ADHMR_PARITY_DIR` names another set than the one beside this file.
"""

import json
import math
import os
import zlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

FIXTURES = Path(os.environ.get("ADHMR_PARITY_DIR") or Path(__file__).parent / "fixtures")
Gains = Sequence[tuple[str, int, float]]
HRNET_GAINS: Gains = (
    ("fuse_layers", 4, 0.3),
    ("bn2.weight", 1, 0.5),
    ("bn3.weight", 1, 0.5),
    ("hmap_layer.weight", 4, 0.25),
)
"""(part of the key, dimensions, factor): keeps the activations of the untrained HRNet near one."""
FORWARD = 1e-4
"""Largest absolute difference of a forward pass."""

QUATERNIONS = 1e-4
"""The same of a rotation's quaternion: half of what rotations may differ by."""


@cache
def prefix() -> str:
    """What enters every name of this set."""
    return (FIXTURES / "prefix.txt").read_text(encoding="utf-8").strip()


def rng(key: str) -> np.random.Generator:
    """The generator of an array."""
    return np.random.Generator(np.random.PCG64(zlib.crc32((prefix() + key).encode())))


def normal(name: str, shape: Sequence[int], scale: float = 1.0, shift: float = 0.0) -> Tensor:
    """An input of normal numbers, float32."""
    return torch.from_numpy((rng("in:" + name).standard_normal(tuple(shape)) * scale + shift).astype(np.float32))


def uniform(name: str, shape: Sequence[int], low: float, high: float) -> Tensor:
    """An input of uniform numbers in [low, high), float32."""
    return torch.from_numpy((rng("in:" + name).random(tuple(shape)) * (high - low) + low).astype(np.float32))


def weight(key: str, shape: Sequence[int], is_float: bool, gains: Gains = ()) -> Tensor:
    """One tensor of a state dict."""
    if not is_float:
        return torch.ones(tuple(shape), dtype=torch.int64)
    drawn, leaf = rng(key).standard_normal(tuple(shape)), key.rsplit(".", 1)[-1]
    if leaf == "running_mean":
        values = 0.02 * drawn
    elif leaf == "running_var":
        values = 1 + 0.1 * np.abs(drawn)
    elif len(shape) >= 2:
        values = drawn / math.sqrt(math.prod(shape[1:]) or 1)
    elif leaf == "weight":
        values = 1 + 0.02 * drawn
    else:
        values = 0.02 * drawn
    for part, dimensions, factor in gains:
        if part in key and len(shape) == dimensions:
            values = values * factor
    return torch.from_numpy(np.asarray(values, np.float32))


@cache
def manifest(name: str) -> Mapping[str, tuple[tuple[int, ...], str]]:
    """Key -> (shape, dtype) of a published module, in the order of its state dict."""
    listed = json.loads((FIXTURES / "manifests" / f"{name}.json").read_text(encoding="utf-8"))
    return {key: (tuple(shape), dtype) for key, (shape, dtype) in listed.items()}


@cache
def published_order(name: str) -> list[str]:
    """Names of the trained parameters of a published module, in the order of its list of averages."""
    listed: dict[str, list[str]] = json.loads(
        (FIXTURES / "manifests" / "ema_parameter_order.json").read_text(encoding="utf-8")
    )
    return listed[name]


def state(name: str, gains: Gains = (), strip: str = "") -> dict[str, Tensor]:
    """The weights by rule of the module `name`; `strip` is a prefix of the listed keys that the rule does not know."""
    made = {}
    for key, (shape, dtype) in manifest(name).items():
        own = key.removeprefix(strip)
        made[key] = weight(own, shape, "float" in dtype, gains)
    return made


@cache
def golden(file: str) -> Mapping[str, np.ndarray]:
    """All arrays of a fixture file."""
    with np.load(FIXTURES / file, allow_pickle=False) as opened:
        return {name: opened[name] for name in opened.files}


def assert_golden(actual: Any, file: str, name: str, atol: float = FORWARD, rtol: float = 0.0) -> None:
    """Compare with the array `name` of `file`, stored whole or as an even sample with shape and statistics."""
    stored, found = golden(file), np.asarray(actual.detach().cpu() if isinstance(actual, Tensor) else actual)
    if name in stored:
        np.testing.assert_allclose(found, stored[name], rtol=rtol, atol=atol, err_msg=f"{file}: {name}")
        return
    sample = stored[f"{name}.sample"]
    assert tuple(found.shape) == tuple(int(side) for side in stored[f"{name}.shape"]), f"{file}: shape of {name}"
    flat = found.reshape(-1)
    picked = flat[(np.arange(len(sample)) * flat.size) // len(sample)]
    np.testing.assert_allclose(picked, sample, rtol=rtol, atol=atol, err_msg=f"{file}: {name}")
    exact = flat.astype(np.float64)
    statistics = [exact.mean(), exact.std(), np.sqrt((exact**2).sum()), exact.min(), exact.max()]
    expected = stored[f"{name}.stats"]
    scale = np.array([1.0, 1.0, math.sqrt(flat.size), 1.0, 1.0])
    assert np.all(np.abs(statistics - expected) <= atol * scale + rtol * np.abs(expected)), (
        f"{file}: statistics of {name}"
    )


def assert_manifest(actual: Mapping[str, Tensor], name: str) -> None:
    """Key for key, shape for shape, in order."""
    listed = manifest(name)
    assert list(actual) == list(listed), f"keys differ from the manifest {name}"
    for key, (shape, _) in listed.items():
        assert tuple(actual[key].shape) == shape, f"{name}: {key} is {tuple(actual[key].shape)}, published {shape}"
