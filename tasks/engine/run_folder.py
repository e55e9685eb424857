"""The folder of a training in the store: what its worker and its driver leave for each other, and for the next run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final, Self, TypeVar

from infra import sealed
from infra.store import Store
from schemas.errors import DamagedError, StoreError

Content = TypeVar("Content")
_LOOK_SECONDS: Final = 0.5
LOOK_SECONDS_ON_S3: Final = 5.0


def seconds_between_looks(store: Store) -> float:
    """How long the driver waits before it reads again what a training says: on S3 each look is a request."""
    return _LOOK_SECONDS if store.is_local else LOOK_SECONDS_ON_S3


@dataclass(frozen=True)
class RunFolder:
    """A run's own files in the store, beside Ray's: progress, checkpoint, result, error, and what builders keep.

    Each holds what shows whether it is whole: JSON a digest, other bytes a line before them.
    """

    store: Store
    name: str
    warnings: list[str] = field(default_factory=list, compare=False)
    """What was damaged and had to be made anew; part of every word of progress."""

    @classmethod
    def of(cls, store: Store, stage: str, key: str) -> Self:
        """That of the training which is this stage."""
        return cls(store, f"{stage}-{key[:16]}")

    @property
    def ray_folder(self) -> str:
        """All that belongs to the run, Ray's files included; below the store's root."""
        return f"ray/{self.name}"

    def say(self, step: int, note: str, figures: Mapping[str, float] | None = None) -> None:
        """Let the driver know how far this is, and the newest point of the curves."""
        word = {"step": step, "note": note, "warnings": self.warnings}
        self.write_json("progress.json", word | ({"figures": dict(figures)} if figures else {}), lasting=False)

    def load_or_make(self, file: str, make: Callable[[], bytes]) -> bytes:
        """A file that is made once in a run's life, resumed or not; a damaged one is made anew, with a warning."""
        data = self.undamaged(lambda: self.read(file), "it is made anew.")
        if data is None:
            data = make()
            self.write(file, data)
        return data

    def undamaged(self, read: Callable[[], Content | None], instead: str) -> Content | None:
        """What `read` gives; None where the file is damaged, which is noted with what is done instead."""
        try:
            return read()
        except DamagedError as error:
            self.warnings.append(f"{error} So {instead}")
            return None

    def read(self, file: str) -> bytes | None:
        """The bytes that were written, or None if the file isn't there. DamagedError if they are others."""
        data = self._read(file)
        return None if data is None else sealed.read_bytes(data, self.uri(file))

    def write(self, file: str, data: bytes) -> None:
        """Write a file, whole or not at all."""
        self.store.atomic_write(self._path(file), sealed.sealed_bytes(data))

    def write_by(self, file: str, write: Callable[[BinaryIO], None]) -> None:
        """Write a file of what `write` writes, whole or not at all; it is in memory once."""
        self.store.atomic_write(self._path(file), sealed.sealed_by(write))

    def read_json(self, file: str) -> dict[str, Any] | None:
        """The fields that were written, or None if the file isn't there. DamagedError if they are others."""
        data = self._read(file)
        return None if data is None else sealed.read_json(data, self.uri(file))

    def write_json(self, file: str, value: Mapping[str, Any], *, lasting: bool = True) -> None:
        """Write fields, whole or not at all; what is `lasting` survives a loss of power."""
        self.store.atomic_write(self._path(file), sealed.sealed_json(value), lasting=lasting)

    def uri(self, file: str) -> str:
        """A file's full name, for people."""
        return self.store.uri(self._path(file))

    def remove(self, file: str) -> None:
        """Remove a file if it is there."""
        self.store.remove(self._path(file))

    def _read(self, file: str) -> bytes | None:
        try:
            return self.store.read_bytes(self._path(file))
        except StoreError:  # not there
            return None

    def _path(self, file: str) -> str:
        return f"{self.ray_folder}/engine/{file}"
