"""The store's files as DuckDB may have them: to read, by their plain names, and none beside them."""

from collections.abc import Sequence
from typing import Any

from fsspec.spec import AbstractFileSystem

from infra.store import Store

REFUSED = "is not a file of the store"


class StoreFiles(AbstractFileSystem):
    """The filesystem of a store on S3 for `DuckDBPyConnection.register_filesystem`; PermissionError for all else.

    DuckDB compares names with its allowed directories as text, and only once it has looked which files a name means;
    `s3://bucket/store/../x` passes as text, and HTTP clients make `s3://bucket/x` of it.
    """

    cachable = False

    def __init__(self, store: Store) -> None:
        super().__init__()
        self._inner, self._root = store.fs, store.root
        self.protocol = self._inner.protocol

    def open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        if mode != "rb":
            raise PermissionError(f"{path} may only be read.")
        return self._inner.open(self._inside(path), mode, **options)

    def glob(self, path: str, **options: Any) -> Sequence[str]:
        paths: Sequence[str] = self._inner.glob(self._inside(path), **options)
        return paths

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        about: dict[str, Any] = self._inner.info(self._inside(path), **options)
        return about

    def modified(self, path: str) -> Any:
        return self._inner.modified(self._inside(path))

    def _inside(self, path: str) -> str:
        plain = str(self._inner._strip_protocol(path))
        if not plain.startswith(f"{self._root}/") or {"", ".", ".."} & set(plain.split("/")):
            raise PermissionError(f"{path} {REFUSED}.")
        return plain
