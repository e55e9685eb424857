"""Counter-based noise: each sample of each instance has its own stream, so any one can be drawn again alone.

Philox (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) turns a key and a counter into random
bits without any state that is carried along. The key is a hash of seed, purpose and instance; the sample's index is the
upper part of the counter, so the streams of two samples can't overlap.
"""

import hashlib

import numpy as np


def generator(seed: int, instance_id: str, sample_index: int, purpose: str = "sample") -> np.random.Generator:
    """The generator of one sample's stream; `purpose` sets streams apart that share the other three."""
    if sample_index < 0:
        raise ValueError(f"sample_index must be 0 or more, not {sample_index}")
    name = f"{int(seed)}\x00{purpose}\x00{instance_id}".encode()
    key = np.frombuffer(hashlib.sha256(name).digest()[:16], dtype="<u8").astype(np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=np.array([0, 0, 0, sample_index], dtype=np.uint64)))


def standard_normal(
    seed: int, instance_id: str, sample_index: int, shape: tuple[int, ...], purpose: str = "sample"
) -> np.ndarray:
    """Independent N(0, 1) numbers, float32, of the given shape: a pure function of the arguments."""
    return generator(seed, instance_id, sample_index, purpose).standard_normal(shape, dtype=np.float32)


def standard_normal_batch(
    seed: int, instance_ids: list[str], sample_indices: list[int], shape: tuple[int, ...], purpose: str = "sample"
) -> np.ndarray:
    """(len(instance_ids), *shape) float32: row i is `standard_normal` of the i-th instance and sample index."""
    rows = [
        standard_normal(seed, name, index, shape, purpose)
        for name, index in zip(instance_ids, sample_indices, strict=True)
    ]
    return np.stack(rows) if rows else np.zeros((0, *shape), dtype=np.float32)
