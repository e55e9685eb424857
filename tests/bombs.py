"""Files that are small and claim to be large, and a process in which reading one may not take much memory."""

import gzip
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

_BLOCK = bytes(1 << 20)
_LIMITED = """
import resource, sys
{imports}
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + {megabytes} * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
{code}
"""


def said_in_bounds(imports: str, code: str, *words: str, megabytes: int = 500) -> str:
    """What `code` prints, with `words` in sys.argv[1:], if it needs no more memory on top of its imports."""
    script = _LIMITED.format(imports=imports, code=code, megabytes=megabytes)
    run = subprocess.run(
        [sys.executable, "-c", script, *words], capture_output=True, text=True, timeout=120, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def zeros_npz(path: Path, member: str, shape: tuple[int, ...]) -> None:
    """An .npz with one member of zeros (float64, at most 4 GB): packed, a thousandth of that."""
    header = _npy_header(shape)
    count = -(-8 * int(np.prod(shape)) // len(_BLOCK))
    size = len(header) + count * len(_BLOCK)
    assert 8 * int(np.prod(shape)) == count * len(_BLOCK), "whole blocks"
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    begins = packer.compress(header) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(_BLOCK) + packer.flush(zlib.Z_FULL_FLUSH)
    data = begins + block * count + packer.flush(zlib.Z_FINISH)
    name = f"{member}.npy".encode()
    about = struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 0, 0, len(data), size, len(name), 0)
    local = b"PK\x03\x04" + about + name + data
    central = b"PK\x01\x02" + struct.pack("<H", 20) + about + struct.pack("<HHHII", 0, 0, 0, 0, 0) + name
    ends = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local), 0)
    path.write_bytes(local + central + ends)


def _npy_header(shape: tuple[int, ...]) -> bytes:
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}"
    text += " " * (118 - len(text) - 1) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def equal_rows(path: Path, rows: int, text: str = "a.jpg") -> None:
    """A Parquet table of boxes whose rows are all the same: however many, it takes a few kB."""
    numbers = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([1.0]))
    texts = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([text]))
    table = pa.table({"path": texts, **dict.fromkeys("xywh", numbers)})
    pq.write_table(table, path, compression="zstd", store_schema=False)


def endless_json(path: Path, megabytes: int) -> None:
    """A JSON list of equal objects, packed with gzip."""
    piece = b'{"path": "a.jpg", "x": 1, "y": 1, "w": 1, "h": 1},' * 20_000
    packed = gzip.compress(piece, 9)
    path.write_bytes(gzip.compress(b"[") + packed * (-(-megabytes * 2**20 // len(piece))))
