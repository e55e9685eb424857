"""Body files as they are published: which lies where, and the arrays in them, read without trusting them.

The folder of the SMPL family, `human_model_files`, has one folder for each model. A .npz or .npy is read without
pickles; what needs one (official .pkl files, and object arrays inside .npz files) goes through `restricted_pickle`.
SMPL and SMPL-X files are for non-commercial research only, by their own licences.
"""

import zipfile
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from models.npy_headers import read_header
from models.restricted_pickle import load_restricted
from schemas.errors import DataError
from schemas.regular_files import open_regular

Arrays = dict[str, NDArray[Any]]
BodyModel = Literal["smpl", "smplx"]
Gender = Literal["neutral", "male", "female"]

_FOLDER: Final = "human_model_files"
_ENDINGS: Final[dict[BodyModel, tuple[str, ...]]] = {"smpl": (".pkl", ".npz"), "smplx": (".npz", ".pkl")}
_MOST_BYTES: Final = 1 << 30
"""Bytes of a file, packed or not: the largest published one, a pickle of SMPL-X, has about half of that."""
_UNREADABLE = (OSError, ValueError, EOFError, AttributeError, KeyError, zipfile.BadZipFile)


def find_body(folder: Path, model: BodyModel, gender: Gender = "neutral") -> Path:
    """The file of a body in a published folder: `smpl/SMPL_NEUTRAL.pkl`, `smplx/SMPLX_MALE.npz` and so on.

    `folder` is `human_model_files`, the one that contains it, or the model's own. Raises DataError that names what
    was looked for.
    """
    if gender not in get_args(Gender):
        raise DataError(f"{gender!r} is no body's gender here: give {', '.join(get_args(Gender))}.")
    names = [f"{model.upper()}_{gender.upper()}{ending}" for ending in _ENDINGS[model]]
    return _first(folder, model, names, f"{gender} {model.upper()} body")


def find_companion(folder: Path, name: str, model: BodyModel = "smplx") -> Path:
    """A file beside the bodies, such as SMPLX_to_J14.pkl, in a published folder. Raises DataError if it is missing."""
    return _first(folder, model, [name], name)


def _first(folder: Path, model: BodyModel, names: list[str], what: str) -> Path:
    places = [folder / _FOLDER / model, folder / model, folder]
    for place in places:
        for name in names:
            if (place / name).is_file():
                return place / name
    raise DataError(
        f"{folder} has no {what}: looked for {' or '.join(names)} in {', '.join(str(place) for place in places)}. "
        "Download it from its project page (free for research, after registering) and keep its name."
    )


def read_arrays_file(path: Path) -> Arrays:
    """The arrays by name in a .npz file or in a pickled dictionary (.pkl), numbers only.

    Entries that are no arrays of numbers (texts, nested dictionaries) are left out: no body needs them. Raises
    DataError for a file that can't be read, is damaged, or names anything but arrays.
    """
    if path.suffix == ".pkl":
        content = _pickled(path)
        if not isinstance(content, dict):
            raise DataError(f"{path} holds no arrays by name, but a {type(content).__name__}; it is no body.")
    else:
        content = _zipped(path)
    return {str(key): value for key, value in content.items() if _is_numbers(value)}


def read_array(path: Path) -> NDArray[Any]:
    """The one array of numbers in a .npy or .pkl file. Raises DataError."""
    if path.suffix == ".pkl":
        value = _pickled(path)
    else:
        try:
            with _opened(path) as stream:
                value = _npy(stream, path.stat().st_size, str(path))
        except _UNREADABLE as problem:
            raise DataError(f"{path} is no readable .npy file ({problem}): copy it again.") from None
    if not _is_numbers(value):
        raise DataError(f"{path} holds no array of numbers, but a {type(value).__name__}.")
    array: NDArray[Any] = value
    return array


def _is_numbers(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "biuf"


def _opened(path: Path) -> BinaryIO:
    """The file, unless it is none or larger than any body's: then DataError. OSError as `open` raises it."""
    stream = open_regular(path)
    if path.stat().st_size > _MOST_BYTES:
        stream.close()
        raise DataError(f"{path} has {path.stat().st_size} bytes, more than the {_MOST_BYTES} of any body. It is none.")
    return stream


def _pickled(path: Path) -> Any:
    try:
        with _opened(path) as stream:
            return load_restricted(stream, str(path))
    except OSError as problem:
        raise DataError(f"{path} can't be read: {problem.strerror}.") from None


def _zipped(path: Path) -> dict[str, Any]:
    try:
        with _opened(path) as file, zipfile.ZipFile(file) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
            if unpacked > _MOST_BYTES:
                raise DataError(
                    f"{path} would unpack to {unpacked} bytes, more than the {_MOST_BYTES} of any body. It was not "
                    "unpacked. Get the file again from where it is published."
                )
            arrays = {}
            for member in archive.infolist():
                name = member.filename
                with archive.open(member) as stream:
                    arrays[name.removesuffix(".npy")] = _npy(stream, member.file_size, f"{path}, {name}")
            return arrays
    except (*_UNREADABLE, NotImplementedError, RuntimeError) as problem:
        raise DataError(
            f"{path} is no readable .npz file ({problem}); save the body's arrays with numpy.savez, or, if it came "
            "from a project page, copy it again"
        ) from None


def _npy(stream: Any, size: int, where: str) -> Any:
    """One array in numpy's own format, of a file of `size` bytes; objects through the restricted unpickler."""
    if read_header(stream, size).dtype.hasobject:
        return load_restricted(stream, where)
    stream.seek(0)
    return np.lib.format.read_array(stream, allow_pickle=False)
