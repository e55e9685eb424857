"""Npz files that numpy would not write, for tests."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np


def npy(shape: str, descr: str = "<f4", values: bytes = b"") -> bytes:
    """A .npy whose header says `shape`, whatever the values are."""
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (64 - (len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + values


def pickled(pickle: bytes, shape: str = "()") -> bytes:
    """A .npy of Python objects with a pickle of our own."""
    return npy(shape, "|O", pickle)


def archive(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    """A zip of members as they are given."""
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return path


def saved(**arrays: Any) -> bytes:
    """What numpy.savez makes of arrays."""
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()
