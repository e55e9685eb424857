"""Small files that tell by themselves whether they are whole: a flipped bit in them is noticed when they are read.

JSON holds the digest of its other fields, under `sha256`; other bytes follow a line with theirs. Files of older
versions have neither and are taken as they are.
"""

import io
import json
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

from schemas.digests import bytes_digest, canonical_json, digest
from schemas.errors import DamagedError

_FIELD = "sha256"
_LINE = b"adhmr sealed "
_LENGTH = len(_LINE) + 64 + 1


def sealed_json(value: Mapping[str, Any]) -> bytes:
    """Canonical JSON of `value` with its digest. `value` has no field `sha256` of its own."""
    return canonical_json({**value, _FIELD: digest(value)}).encode() + b"\n"


def read_json(data: bytes, where: str) -> dict[str, Any]:
    """What `sealed_json` was given. DamagedError, which names the file as `where`, for anything else."""
    try:
        fields = json.loads(data)
    except ValueError as error:
        raise DamagedError(f"{where} is damaged: it is no JSON ({error}).") from error
    if not isinstance(fields, dict):
        raise DamagedError(f"{where} is damaged: it holds no fields.")
    seal = fields.pop(_FIELD, None)
    if seal is not None and seal != digest(fields):
        raise DamagedError(f"{where} is damaged: its fields do not have the digest that it says.")
    return fields


def keeps_seal(data: bytes) -> bool:
    """Whether these are the bytes of `sealed_json`, as they were."""
    try:
        fields = json.loads(data)
        return bool(fields.pop(_FIELD) == digest(fields))
    except (ValueError, TypeError, AttributeError, KeyError):
        return False


def sealed_bytes(data: bytes) -> bytes:
    """`data` behind a line that holds its digest."""
    return b"%s%s\n%s" % (_LINE, bytes_digest(data).encode(), data)


def sealed_by(write: Callable[[BinaryIO], None]) -> bytes:
    """`sealed_bytes` of what `write` writes, which is in memory once, however large it is."""
    made = io.BytesIO()
    made.write(bytes(_LENGTH))
    write(made)
    with made.getbuffer() as data:
        data[:_LENGTH] = b"%s%s\n" % (_LINE, bytes_digest(data[_LENGTH:]).encode())
    return made.getvalue()


def read_bytes(data: bytes, where: str) -> bytes:
    """What `sealed_bytes` was given. DamagedError, which names the file as `where`, where the two do not fit."""
    seal, content = data[len(_LINE) : _LENGTH - 1], data[_LENGTH:]
    if seal == bytes_digest(content).encode():
        return content
    if data.startswith(_LINE):
        raise DamagedError(f"{where} is damaged: its content does not have the digest that it says.")
    return data
