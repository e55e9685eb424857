"""Pickles of arrays, read without running anything that is in them.

Official SMPL files are pickles, most of them written by Python 2 with chumpy, which no current Python can install. A
pickle is a program: it may call whatever it names. Here it may name a few exact (module, name) pairs only, and each of
them stands for a class of this module that keeps numbers and does nothing else; numpy's own rebuilding is not used
either, because it trusts the type that the file names. Any other name is refused before it is looked up.
"""

import math
import pickle
import re
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from schemas.errors import DataError

_PLAIN = re.compile(r"[<>=|]?([biufc](1|2|4|8|16)|[SU]\d{1,6}|\?)")
_LARGEST = 2**28
"""Bytes of a sparse matrix made dense; the largest of a body takes 5 MB."""
_DEEPEST, _MOST = 12, 5_000_000
"""Nesting, and values in all, beyond which a file is no body."""
_STEPS = 4
"""Steps of a pickle for each of its values: one makes it, the others remember it and put it in its place."""
_SPOOLED, _PIECE = 2**20, 2**18
"""Bytes from which on an array goes to a file, where there is a place for it, and how many are copied at once."""
_ATTACK = "Get the file again from where it is published; a changed one may be an attack."
_CURES: Final = {
    "pathlib.": "Its paths are Python objects: save them as texts (str(path)).",
    "torch.": "Its numbers are torch's tensors: save them as arrays (tensor.numpy()).",
    "pandas.": "Its columns are pandas' objects: save them as arrays (column.to_numpy()).",
}
"""What helps where a file holds harmless objects of a library, by the beginning of their names."""
_BROKEN = (
    *(pickle.UnpicklingError, EOFError, AttributeError, ImportError, LookupError, TypeError, ValueError),
    *(OverflowError, MemoryError, RecursionError, struct.error),
)


def load_restricted(stream: BinaryIO, where: str, spool: Path | None = None, most: int = _MOST) -> Any:
    """What the pickle in `stream` holds: arrays, numbers, texts, and dictionaries (ordered and default ones, too) and
    lists of them.

    Sparse matrices come out dense, chumpy objects as their values; an object that is neither is None. `where` names
    the file in errors. With a folder `spool`, arrays from a megabyte on are copied to files there while they are read,
    and come out as memory-maps, so that a pickle larger than the memory can be read (protocols from 3 on). `most` is
    how many values there may be in all. Raises DataError for a file that names anything else than such arrays, and for
    one that is truncated or damaged.
    """
    try:
        return _Plain(most).of(_Restricted(stream, spool, _STEPS * most).load())
    except _RefusedError as problem:
        cure = next((cure for begin, cure in _CURES.items() if str(problem).startswith(begin)), _ATTACK)
        raise DataError(
            f"{where} asks for {problem}, which no file of arrays needs. It was not read, and nothing in it was run. "
            f"{cure}"
        ) from None
    except _BROKEN as problem:
        cause = str(problem) or type(problem).__name__
        raise DataError(
            f"{where} is truncated or damaged, or no file of arrays ({cause}). Copy it again and compare its size with "
            "the published one."
        ) from None


class _RefusedError(Exception):
    """A global that is not in the list; its text is the dotted name."""


class _Part:
    """What a pickle may build. Without a __dict__, and with a state of its own, so that no pickle can change it."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError(f"{type(self).__name__} takes no state")


class _Name(_Part):
    """numpy.ndarray and object: only ever mentioned. Also the sets in which chumpy keeps its books: not needed."""

    __slots__ = ()

    def __init__(self, *_: Any) -> None:
        return


class _Spooled(_Part):
    """Bytes that were copied to a file."""

    __slots__ = ("path", "size")

    def __init__(self, path: Path, size: int) -> None:
        self.path, self.size = path, size


class _Dtype(_Part):
    """numpy.dtype of numbers, texts, or objects; no fields, no subarrays."""

    __slots__ = ("value",)

    def __init__(self, text: Any, *_: Any) -> None:
        if not isinstance(text, str) or not (text in ("O", "O8", "|O") or _PLAIN.fullmatch(text)):
            raise pickle.UnpicklingError(f"an array of type {text!r}")
        self.value: np.dtype[Any] = np.dtype(object) if "O" in text else np.dtype(text)

    def __setstate__(self, state: Any) -> None:
        _, order, *structure = state[:5]
        if any(part is not None for part in structure):
            raise pickle.UnpicklingError("an array of structures")
        if order in ("<", ">"):
            self.value = self.value.newbyteorder(order)


class _Array(_Part):
    """numpy.core.multiarray._reconstruct, and the array that its state makes."""

    __slots__ = ("value",)

    def __init__(self, *_: Any) -> None:
        self.value: NDArray[Any] | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, raw = state
        self.value = _array(raw, dtype, shape, "F" if fortran else "C")


class _Scalar(_Array):
    """numpy.core.multiarray.scalar(dtype, bytes)."""

    __slots__ = ()

    def __init__(self, dtype: Any, raw: Any) -> None:
        self.value = _array(raw, dtype, (), "C")


class _Buffer(_Array):
    """numpy.core.numeric._frombuffer, as newer pickles write arrays."""

    __slots__ = ()

    def __init__(self, raw: Any, dtype: Any, shape: Any, order: Any, axes: Any = None) -> None:
        if axes is not None:
            raise pickle.UnpicklingError("an array with its axes in another order")
        self.value = _array(raw, dtype, shape, order)


class _Dictionary(_Part, dict[Any, Any]):
    """collections.OrderedDict and defaultdict: what they hold. What a defaultdict would make is not called."""

    __slots__ = ()

    def __init__(self, *parts: Any) -> None:
        pairs = parts[0] if len(parts) == 1 and isinstance(parts[0], list | tuple) else ()  # as Python 2 wrote them
        super().__init__(pairs)


class _Object(_Part):
    """An instance of a class that is known by what it keeps."""

    __slots__ = ("state",)
    state: dict[str, Any]

    def __new__(cls, *_: Any) -> "_Object":
        instance = super().__new__(cls)
        instance.state = {}
        return instance

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise pickle.UnpicklingError(f"{type(self).__name__} with a state that is no dictionary")
        self.state = state


class _Chumpy(_Object):
    """chumpy.ch.Ch: its value is its attribute x."""

    __slots__ = ()


class _ChumpySelect(_Object):
    """chumpy.reordering.Select: some entries of another array."""

    __slots__ = ()


class _Columns(_Object):
    """scipy's csc_matrix."""

    __slots__ = ()


class _Rows(_Object):
    """scipy's csr_matrix."""

    __slots__ = ()


class _Reconstructor(_Part):
    """copyreg._reconstructor(class, object, None): an instance without its constructor, in old protocols."""

    __slots__ = ()

    def __new__(cls, kind: Any, *_: Any) -> Any:
        if not (isinstance(kind, type) and issubclass(kind, _Object)):
            raise pickle.UnpicklingError("an instance of something else than a chumpy or scipy array")
        return kind()


class _Encode(_Part):
    """_codecs.encode(text, "latin1"): bytes, in old protocols."""

    __slots__ = ()

    def __new__(cls, text: Any, encoding: Any) -> Any:
        if encoding not in ("latin1", "latin-1") or not isinstance(text, str):
            raise pickle.UnpicklingError(f"bytes in the encoding {encoding!r}")
        return text.encode("latin1")


ALLOWED: Final[dict[tuple[str, str], type]] = {
    ("numpy", "ndarray"): _Name,
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy.core.multiarray", "scalar"): _Scalar,
    ("numpy._core.multiarray", "scalar"): _Scalar,
    ("numpy.core.numeric", "_frombuffer"): _Buffer,
    ("numpy._core.numeric", "_frombuffer"): _Buffer,
    ("scipy.sparse.csc", "csc_matrix"): _Columns,
    ("scipy.sparse._csc", "csc_matrix"): _Columns,
    ("scipy.sparse.csr", "csr_matrix"): _Rows,
    ("scipy.sparse._csr", "csr_matrix"): _Rows,
    ("chumpy.ch", "Ch"): _Chumpy,
    ("chumpy.reordering", "Select"): _ChumpySelect,
    ("copy_reg", "_reconstructor"): _Reconstructor,
    ("copyreg", "_reconstructor"): _Reconstructor,
    ("_codecs", "encode"): _Encode,
    ("__builtin__", "object"): _Name,
    ("builtins", "object"): _Name,
    ("__builtin__", "set"): _Name,
    ("builtins", "set"): _Name,
    ("collections", "OrderedDict"): _Dictionary,
    ("collections", "defaultdict"): _Dictionary,
    # what a defaultdict makes of keys that it lacks
    **{
        (module, name): _Name
        for module in ("__builtin__", "builtins")
        for name in ("list", "dict", "int", "float", "str", "tuple")
    },
}
"""Every global that a file may name, as the file spells it (Python 2 or 3), and what stands for it."""


class _Counted(dict[int, Callable[[Any], None]]):
    """What each step of a pickle does; each takes a byte and may make an object of a hundred, so not without end."""

    def __init__(self, steps: int, actions: dict[int, Callable[[Any], None]]) -> None:
        super().__init__(actions)
        self.left = steps

    def __getitem__(self, step: int) -> Callable[[Any], None]:
        self.left -= 1
        if self.left < 0:
            raise pickle.UnpicklingError("more values than arrays need")
        return super().__getitem__(step)


class _Restricted(pickle._Unpickler):
    """Python's own unpickler, not the one in C, which would set aside whatever memory a file's memo numbers ask for."""

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(pickle._Unpickler.dispatch)
    read: Callable[[int], bytes]
    append: Callable[[Any], None]

    def __init__(self, stream: BinaryIO, spool: Path | None, steps: int) -> None:
        super().__init__(stream, encoding="latin1")
        self.spool = spool
        self.dispatch = _Counted(steps, type(self).dispatch)  # type: ignore[misc]  # looked up by load

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise _RefusedError(f"{module}.{name}")
        return ALLOWED[module, name]

    def _bytes(self, size: int) -> None:
        if self.spool is None or size < _SPOOLED:
            self.append(self.read(size))
            return
        left = size
        with tempfile.NamedTemporaryFile(dir=self.spool, suffix=".bytes", delete=False) as file:
            while left:
                piece = self.read(min(left, _PIECE))
                if not piece:
                    raise EOFError(f"an array of {size} bytes ends after {size - left}")
                file.write(piece)
                left -= len(piece)
        self.append(_Spooled(Path(file.name), size))

    def _bytes_of_4(self) -> None:
        self._bytes(struct.unpack("<I", self.read(4))[0])

    def _bytes_of_8(self) -> None:
        self._bytes(struct.unpack("<Q", self.read(8))[0])

    dispatch[pickle.BINBYTES[0]] = _bytes_of_4
    dispatch[pickle.BINBYTES8[0]] = dispatch[pickle.BYTEARRAY8[0]] = _bytes_of_8


def _array(raw: Any, dtype: Any, shape: Any, order: Any) -> NDArray[Any]:
    if not isinstance(dtype, _Dtype) or not isinstance(shape, tuple) or order not in ("C", "F"):
        raise pickle.UnpicklingError("an array without type, shape or order")
    if dtype.value.hasobject:
        if not isinstance(raw, list):
            raise pickle.UnpicklingError("an array of objects that is no list")
        objects = np.empty(len(raw), object)
        for place, value in enumerate(raw):
            objects[place] = value
        return objects.reshape(shape, order=order)
    if isinstance(raw, _Spooled):
        if min(shape, default=1) < 1 or math.prod(shape) * dtype.value.itemsize != raw.size:
            raise pickle.UnpicklingError("an array whose bytes do not fit its shape")
        return np.memmap(raw.path, dtype.value, "r", shape=shape, order="F" if order == "F" else "C")
    if isinstance(raw, str):  # Python 2 wrote bytes as text
        raw = raw.encode("latin1")
    if not isinstance(raw, bytes | bytearray):
        raise pickle.UnpicklingError("an array without its bytes")
    values = np.frombuffer(raw, dtype.value).reshape(shape, order=order)
    return values.astype(dtype.value.newbyteorder("="))


class _Plain:
    """Makes numpy arrays and plain values of the parts that a pickle built."""

    def __init__(self, most: int) -> None:
        self.left = most

    def of(self, value: Any, depth: int = 0) -> Any:
        self.left -= 1
        if depth > _DEEPEST or self.left < 0:
            raise pickle.UnpicklingError("values nested more deeply, or more of them, than arrays need")
        if isinstance(value, dict):
            return {self.of(key, depth + 1): self.of(inner, depth + 1) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.of(inner, depth + 1) for inner in value]
        if isinstance(value, _Array):
            if value.value is not None and value.value.ndim == 0 and value.value.dtype.kind in "US":
                return value.value.item()  # numpy's texts, of which arrays of objects may be full
            return self._values(value.value, depth)
        if isinstance(value, _Object):
            return self._array_of(value, depth)
        if isinstance(value, _Spooled):
            return value.path.read_bytes()
        return value if isinstance(value, int | float | str | bytes) else None

    def _values(self, values: NDArray[Any] | None, depth: int) -> Any:
        if values is None or not values.dtype.hasobject:
            return values
        flat = np.empty(values.size, object)
        for place, inner in enumerate(values.ravel().tolist()):
            flat[place] = self.of(inner, depth + 1)
        return flat.reshape(values.shape)

    def _array_of(self, instance: _Object, depth: int) -> Any:
        state = {key: self.of(inner, depth + 1) for key, inner in instance.state.items()}
        if isinstance(instance, _Chumpy):
            return state.get("x")
        if isinstance(instance, _ChumpySelect):
            chosen = np.asarray(state["a"]).ravel()[np.asarray(state["idxs"], np.int64)]
            return chosen.reshape([int(side) for side in state["preferred_shape"]])
        return _dense(state, columns=isinstance(instance, _Columns))


def _dense(state: dict[str, Any], columns: bool) -> NDArray[Any]:
    rows, width = (int(side) for side in state["_shape"])
    data, starts, indices = (np.asarray(state[key]) for key in ("data", "indptr", "indices"))
    lines = width if columns else rows
    counts = np.diff(starts)
    fitting = len(counts) == lines and len(data) == len(indices) and (counts >= 0).all() and (indices >= 0).all()
    if not fitting or rows * width * data.itemsize > _LARGEST:
        raise ValueError("a sparse matrix whose parts do not fit")
    line = np.repeat(np.arange(lines), counts)
    dense = np.zeros((rows, width), data.dtype)
    # Entries that are listed twice count together.
    np.add.at(dense, (indices, line) if columns else (line, indices), data)
    return dense
