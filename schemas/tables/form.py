"""What a contract says of a table as a whole."""

from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True)
class TableContract:
    """What a table must look like.

    `key` names the columns that identify a row within one stage's rows; `partition_by` the columns that become folders;
    `fenced` says that readers see only rows whose stage is finished.

    Stores live longer than releases (`infra.evolution`): a nullable column may be added, and a column may come to allow
    null; any other change raises `version`, and stores from before it are refused.
    """

    name: str
    doc: str
    schema: pa.Schema
    key: tuple[str, ...]
    partition_by: tuple[str, ...] = ()
    fenced: bool = True
    version: int = 1

    @property
    def file_schema(self) -> pa.Schema:
        """The schema of a data file: without the partition columns, whose values are in the file's path."""
        return pa.schema([field for field in self.schema if field.name not in self.partition_by])

    @property
    def unit(self) -> str | None:
        """The column that names whom or what a row is about: a person, a picture, a stage's unit; None if none does."""
        return next((name for name in ("instance_id", "image_id", "id") if name in self.schema.names), None)

    def vector_length(self, column: str) -> int | None:
        """How long each value of `column` must be; None for a column that holds no vectors of fixed length."""
        length = (self.schema.field(column).metadata or {}).get(b"length")
        return int(length) if length else None
