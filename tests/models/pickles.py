"""Pickles as Python 2 wrote them, with chumpy objects, and pickles that name whatever a test wants."""

import io
import pickle
import struct
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar


class _Python2Pickler(pickle._Pickler):
    """Texts and bytes alike become Python 2's strings."""

    proto: int
    write: Callable[[bytes], int]
    memoize: Callable[[Any], None]
    dispatch: ClassVar[dict[type, Any]] = dict(pickle._Pickler.dispatch)

    def save_string(self, value: str | bytes) -> None:
        raw = value if isinstance(value, bytes) else value.encode("latin1")
        if self.proto == 0:
            self.write(b"S" + repr(raw)[1:].encode() + b"\n")
        else:
            self.write(b"T" + struct.pack("<i", len(raw)) + raw)
        self.memoize(value)

    dispatch[str] = dispatch[bytes] = save_string


def python2_pickle(value: Any, protocol: int = 2) -> bytes:
    """`value` as Python 2, numpy 1 and the scipy of that time would have written it."""
    stream = io.BytesIO()
    _Python2Pickler(stream, protocol).dump(value)
    raw = stream.getvalue()
    for new, old in ((b"numpy._core.multiarray", b"numpy.core.multiarray"), (b"scipy.sparse._cs", b"scipy.sparse.cs")):
        raw = raw.replace(b"c" + new, b"c" + old)
    return raw


@contextmanager
def chumpy() -> Iterator[types.SimpleNamespace]:
    """Ch and Select of a chumpy that is there for writing only."""
    modules = {name: types.ModuleType(name) for name in ("chumpy", "chumpy.ch", "chumpy.reordering")}

    class Ch:
        def __init__(self, x: Any) -> None:
            self.x, self._dirty_vars, self._status = x, {"x"}, "new"
            self._depends_on_deps: dict[str, Any] = {}

    class Select:
        def __init__(self, a: Any, idxs: Any, preferred_shape: Any) -> None:
            self.a, self.idxs, self.preferred_shape = a, idxs, preferred_shape

    for kind, module in ((Ch, "chumpy.ch"), (Select, "chumpy.reordering")):
        kind.__module__, kind.__qualname__ = module, kind.__name__
        setattr(modules[module], kind.__name__, kind)
    sys.modules.update(modules)
    try:
        yield types.SimpleNamespace(Ch=Ch, Select=Select)
    finally:
        for name in modules:
            del sys.modules[name]


def calling(module: str, name: str, argument: str) -> bytes:
    """A pickle that calls module.name(argument) when it is loaded."""

    def text(value: str) -> bytes:
        return b"\x8c" + bytes([len(value.encode())]) + value.encode()

    return b"\x80\x04" + text(module) + text(name) + b"\x93" + text(argument) + b"\x85R."
