"""Whether a table's log is as it was written: a flipped bit in it may read as if rows had never been there.

An entry's commitInfo holds the digest of all that the entry says. Beside a checkpoint that the engine made is an
empty file whose name holds digits of the checkpoint's digest: it is there first, and stays if another process makes the
checkpoint of the same version in other bytes. Entries and checkpoints of older versions, and checkpoints on S3, which
deltalake writes itself, have neither.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from schemas.digests import bytes_digest, canonical_json, digest

_FIELD = "sha256"
_DIGITS = 16


def sealed_lines(actions: Iterable[Mapping[str, Any]]) -> bytes:
    """The lines of an entry that says this; one of its actions is a commitInfo.

    Each action is a line as soon as it comes: an entry may add many thousands of files.
    """
    lines: list[str] = []
    infos: dict[int, Mapping[str, Any]] = {}
    for action in actions:
        if "commitInfo" in action:
            infos[len(lines)] = action["commitInfo"]
        lines.append(canonical_json(action))
    seal = bytes_digest(f"[{','.join(lines)}]".encode())  # the digest of the list of all actions
    for place, info in infos.items():
        lines[place] = canonical_json({"commitInfo": {**info, _FIELD: seal}})
    return "".join(f"{line}\n" for line in lines).encode()


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


def _stem(checkpoint: str) -> str:
    return checkpoint.removesuffix("parquet")
