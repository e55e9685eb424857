"""Whether a table's log is as it was written: a flipped bit in it may read as if rows had never been there.

An entry's commitInfo holds the digest of all that the entry says. Beside a checkpoint that the engine made is an
empty file whose name holds digits of the checkpoint's digest: it is there first, and stays if another process makes the
checkpoint of the same version in other bytes. Entries and checkpoints of older versions, and checkpoints on S3, which
deltalake writes itself, have neither.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from typing import Any

from schemas.digests import bytes_digest, canonical_json, digest

_FIELD = "sha256"
_DIGITS = 16
_NO_SEAL = "0" * 64
_INFO = b'{"commitInfo"'
"""How the line of a commitInfo begins."""


def sealed_lines(actions: Iterable[Mapping[str, Any]]) -> bytes:
    """The lines of an entry that says this; one of its actions is a commitInfo.

    Each action is a line as soon as it comes, and digested with it: an entry may add many thousands of files.
    """
    lines, total = BytesIO(), hashlib.sha256(b"[")  # the digest of the list of all actions
    infos: list[tuple[int, Mapping[str, Any]]] = []
    for number, action in enumerate(actions):
        line = canonical_json(action).encode()
        total.update(b"," + line if number else line)
        if "commitInfo" in action:
            infos.append((lines.tell(), action["commitInfo"]))
            line = _sealed(action["commitInfo"], _NO_SEAL)
        lines.write(line + b"\n")
    total.update(b"]")
    for place, info in infos:
        lines.seek(place)
        lines.write(_sealed(info, total.hexdigest()))
    return lines.getvalue()


def actions_of(entry: bytes) -> list[dict[str, Any]]:
    """What an entry says, without its seal."""
    actions: list[dict[str, Any]] = [json.loads(line) for line in entry.splitlines()]
    for action in actions:
        action.get("commitInfo", {}).pop(_FIELD, None)
    return actions


def breaks_seal(entry: bytes) -> bool:
    """Whether an entry is not as it was sealed; one without a seal breaks none, unless it can't be read."""
    return _fits(entry) is False


def keeps_seal(entry: bytes) -> bool:
    """Whether an entry has a seal, and is as it was sealed."""
    return _fits(entry) is True


def _fits(entry: bytes) -> bool | None:
    """None for an entry without a seal."""
    # read whole it takes several times its bytes, which may be those of many thousands of files
    return True if _fits_as_written(entry) else _fits_as_read(entry)


def _fits_as_written(entry: bytes) -> bool:
    """Whether an entry has a seal and is, to the byte, what `sealed_lines` made; only its commitInfo is parsed."""
    seal, total = None, hashlib.sha256(b"[")
    try:
        for number, line in enumerate(BytesIO(entry)):
            said = line.removesuffix(b"\n")
            if said.startswith(_INFO):
                action = json.loads(said)
                seal = action["commitInfo"].pop(_FIELD, seal)
                said = canonical_json(action).encode()
            total.update(b"," + said if number else said)
    except (ValueError, TypeError, AttributeError):
        return False
    total.update(b"]")
    return seal == total.hexdigest()


def _fits_as_read(entry: bytes) -> bool | None:
    """Whether what an entry says is what was sealed, however it is written; None for one without a seal."""
    seal = None
    actions = []
    try:
        for line in entry.splitlines():
            action = json.loads(line)
            if "commitInfo" in action:
                seal = action["commitInfo"].pop(_FIELD, seal)
            actions.append(action)
    except (ValueError, TypeError, AttributeError):
        return False
    return None if seal is None else seal == digest(actions)


def checkpoint_seal(checkpoint: str, data: bytes) -> str:
    """The name of the file that seals a checkpoint (named below the store's root) with this content."""
    return f"{_stem(checkpoint)}{bytes_digest(data)[:_DIGITS]}.seal"


def seals_of(checkpoint: str, names: Sequence[str]) -> list[str]:
    """The seals of a checkpoint among the files of its log."""
    return [name for name in names if name.startswith(_stem(checkpoint)) and name.endswith(".seal")]


def breaks_its_seals(checkpoint: str, data: bytes, names: Sequence[str]) -> bool:
    """Whether a checkpoint is none of those that were sealed, of all files of its log; without seals it breaks none."""
    seals = seals_of(checkpoint, names)
    return bool(seals) and checkpoint_seal(checkpoint, data) not in seals


def _sealed(info: Mapping[str, Any], seal: str) -> bytes:
    """The line of a commitInfo with this seal; its length depends on `info` alone."""
    return canonical_json({"commitInfo": {**info, _FIELD: seal}}).encode()


def _stem(checkpoint: str) -> str:
    return checkpoint.removesuffix("parquet")
