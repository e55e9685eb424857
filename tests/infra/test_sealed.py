"""Sealed files: any flipped bit is noticed, or leaves what was written."""

import io
import json
import tracemalloc
from functools import partial
from typing import BinaryIO

import pytest
import torch

from infra.sealed import read_bytes, read_json, sealed_by, sealed_bytes, sealed_json
from schemas.errors import DamagedError

VALUE = {"ok": 12, "share": 0.25, "files": [["scores", "part-1.parquet", 4]], "text": "mm", "none": None}


def test_every_flip_of_a_sealed_json_is_noticed_or_harmless() -> None:
    data = sealed_json(VALUE)
    assert read_json(data, "x") == VALUE
    harmless = 0
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            found = read_json(bytes(flipped), "x")
        except DamagedError:
            continue
        harmless += 1
        assert {name: found.get(name) for name in VALUE} == VALUE
    assert harmless < 60  # in the name of the digest's field, and blanks at the end


def test_large_bytes_are_in_memory_once() -> None:
    """And a checkpoint that torch writes behind the seal is what it writes alone."""
    piece, count = bytes(2**20), 32

    def write(file: BinaryIO) -> None:
        for _ in range(count):
            file.write(piece)

    tracemalloc.start()
    try:
        data = sealed_by(write)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 1.5 * len(data)
    assert data == sealed_bytes(piece * count)
    state, alone = {"weights": torch.arange(100.0)}, io.BytesIO()
    torch.save(state, alone)
    assert sealed_by(partial(torch.save, state)) == sealed_bytes(alone.getvalue())


def test_every_flip_of_sealed_bytes_is_noticed_or_harmless() -> None:
    data = sealed_bytes(b"PK weights")
    harmless = 0
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            assert read_bytes(bytes(flipped), "x") == b"PK weights"
        except DamagedError:
            continue
        harmless += 1
    assert harmless == 8 * len(b"adhmr sealed \n")


def test_files_of_older_versions_are_taken_as_they_are() -> None:
    assert read_json(json.dumps(VALUE).encode(), "x") == VALUE
    assert read_bytes(b"PK weights", "x") == b"PK weights"


@pytest.mark.parametrize("data", [b"", b"{", b"[1]", b"\xff", b'{"a": 1, "sha256": "no"}'])
def test_what_is_no_json_of_ours_is_damaged(data: bytes) -> None:
    with pytest.raises(DamagedError, match=r"^receipt 1 is damaged: "):
        read_json(data, "receipt 1")
