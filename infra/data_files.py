"""Data files of tables, and what their names say: whose rows they hold, and which bytes.

`part-<key>-<which>.parquet`: the key of the stage that wrote the file, so that whose rows it holds is known without
opening it; "log" for files that hold rows of many (`stages` once compacted, `rounds`, `reviews`). `which` ends, after
an "x", with the first digits of the SHA-256 of its bytes, but for files of older versions.
"""

import re
import uuid
from dataclasses import dataclass, field
from typing import NamedTuple

from schemas.digests import bytes_digest
from schemas.errors import StoreError

MANY = "log"
"""In place of a key: the file holds rows of no stage, or of several."""
KEY_PATTERN = rf"part-(?P<key>[0-9a-f]{{64}}|{MANY})-[0-9a-z]+\.parquet$"
_NAME = re.compile(KEY_PATTERN)
_DIGEST = re.compile(r"-[0-9a-z]*x([0-9a-f]{16})\.parquet$")
_DIGITS = 16


class IdRange(NamedTuple):
    """No id of a file comes before `low` or after `high`, in the order of their code points (that of UTF-8's bytes)."""

    low: str
    high: str


@dataclass(frozen=True, slots=True)
class DataFile:
    """A Parquet file of a table. `path` is below the table's folder and names the partition; `size` in bytes.

    `ids` bounds what its rows are about (the contract's `unit`); None where nothing is known of that: a file of an
    older version, or of a table whose rows are about nobody. A file is the same with and without them.
    """

    table: str
    path: str
    partition: tuple[tuple[str, str], ...]
    rows: int
    size: int
    ids: IdRange | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        """Its path below the store's root."""
        return f"tables/{self.table}/{self.path}"

    @property
    def stage_key(self) -> str:
        """Whose rows it holds; MANY in tables that no stage writes, and where there are rows of several."""
        match = _NAME.fullmatch(self.path.rsplit("/", 1)[-1])
        if match is None:
            raise no_name_of_ours(self.table, self.path)
        return match.group(1)


def no_name_of_ours(table: str, path: str) -> StoreError:
    """The error about a file that something else put into a table."""
    return StoreError(f"Table {table} holds a file that this engine did not write: {path}.")


def file_name(stage_key: str, which: str) -> str:
    """`part-<key>-<which>.parquet`; `which` of small letters and digits."""
    return f"part-{stage_key}-{which}.parquet"


def shard_file_name(stage_key: str, shard: int, data: bytes) -> str:
    """The name of a shard's file, by its content: a run that makes the same rows as one that died meets its file again,
    and one that makes others has a file of its own."""
    return file_name(stage_key, f"{shard:05d}x{bytes_digest(data)[:_DIGITS]}")


def fresh_file_name(stage_key: str, data: bytes) -> str:
    """A name that no other file has, whatever its content."""
    return file_name(stage_key, f"{uuid.uuid4().hex}x{bytes_digest(data)[:_DIGITS]}")


def content_digits(path: str) -> str | None:
    """The digits of its content's digest that a file's name carries; None where an older name has none."""
    match = _DIGEST.search(path)
    return match.group(1) if match else None


def holds_what_its_name_says(path: str, data: bytes) -> bool:
    """Whether bytes are those that the file was given its name for; True where an older name doesn't tell."""
    return bytes_digest(data).startswith(content_digits(path) or "")
