"""The URL of a store: which place it names, and that everybody who reads the store takes it for the same place.

Delta reads a path as a URL (`#`, `?`, `%20`, a backslash), DuckDB as a pattern (`*`, `?`, `[`, `]`) and a folder
NAME=VALUE as a column of the rows below it. A path that one of them would take for another one is refused.
"""

import re
import shlex
from pathlib import Path
from typing import Final

from fsspec import get_filesystem_class
from fsspec.core import split_protocol

from schemas.errors import StoreError
from schemas.tables import TABLES

_MISREAD: Final = re.compile(r"[#?%*\[\]\\\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_PLAIN: Final = re.compile(r"[^\w.=+@,-]+")
_COLUMNS: Final = frozenset(name.lower() for table in TABLES.values() for name in table.schema.names)


def parse(text: str) -> tuple[str, str]:
    """Protocol ("file" or "s3") and root (an absolute path, or bucket/prefix) of a store's path or URL.

    Raises StoreError for a URL of another kind, one with a password, and a path that would be misread.
    """
    protocol, root = _protocol_and_root(text)
    _refuse_misread(protocol, root)
    return protocol, root


def _protocol_and_root(text: str) -> tuple[str, str]:
    if "://" not in text:
        try:
            return "file", str(Path(text).expanduser().absolute())
        except RuntimeError as error:  # ~name of no user, or of one without a home
            raise StoreError(f"The store {text} can't be found: {error} Give its whole path instead of ~.") from error
    if "@" in text.partition("://")[2].partition("/")[0]:
        raise StoreError(
            "The URL of a store can't hold a name and a password, as it is shown and recorded in many places: give "
            "them by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or as your other S3 tools have them."
        )
    try:
        kind = get_filesystem_class(split_protocol(text)[0])
    except (ImportError, ValueError) as error:
        raise StoreError(f"{text} is no URL that this installation can open: {error}") from error
    protocol = kind.protocol if isinstance(kind.protocol, str) else kind.protocol[0]
    if protocol not in ("file", "s3"):
        raise StoreError(f"{text}: only local paths and s3:// are known, not {protocol}://.")
    root = str(kind._strip_protocol(text)).rstrip("/")
    if protocol == "s3" and not root:
        raise StoreError(f"{text} names no bucket: give s3://BUCKET/PREFIX.")
    return protocol, root


def _refuse_misread(protocol: str, root: str) -> None:
    folders = root.split("/")
    for place, name in enumerate(folders):
        why = _why_misread(name, protocol)
        if not why:
            continue
        other = _PLAIN.sub("-", name).replace("=", "-").strip("-.") or "store"
        before, after = ("/".join([*folders[:place], one]) for one in (name, other))
        cure = f"mv {_quoted(before)} {_quoted(after)}"
        if protocol == "s3":
            urls = (_quoted(f"s3://{path}/") for path in (before, after))
            cure = f"aws s3 mv --recursive {' '.join(urls)}"
        raise StoreError(f"The store's path {_shown(root)} can't be used: {why}. Choose another name, or: {cure}")


def _why_misread(name: str, protocol: str) -> str:
    misread = sorted(set(_MISREAD.findall(name)))
    if misread:
        signs = " ".join(_shown(sign) for sign in misread)
        return f"the name {_shown(name)} holds {signs}, which Delta or DuckDB would read as something else"
    column, sign, _ = name.partition("=")
    if sign and column.lower() in _COLUMNS:
        return f"DuckDB would take the folder {_shown(name)} for the column {column} of every row"
    if protocol == "s3" and name in ("", ".", ".."):
        return f"HTTP clients would leave out the part {name!r} of it"
    return ""


def _shown(text: str) -> str:
    """With escapes for what can't be shown: control characters, bytes of a file name that are no UTF-8."""
    return "".join(sign if sign.isprintable() else _escaped(sign) for sign in text)


def _escaped(sign: str) -> str:
    is_byte = "\udc80" <= sign <= "\udcff"  # as Python reads a byte that is no UTF-8 from a name
    data = sign.encode(errors="surrogateescape" if is_byte else "surrogatepass")
    return "".join(f"\\x{byte:02x}" for byte in data)


def _quoted(text: str) -> str:
    """As a shell takes it."""
    if all(sign.isprintable() for sign in text):
        return shlex.quote(text)
    return "$'" + _shown(text.replace("\\", "\\\\").replace("'", "\\'")) + "'"
