"""Torch files from elsewhere. A pickle can run any program: only tensors and plain values are ever built from one."""

import pickle
import pickletools
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from schemas.errors import DataError
from schemas.regular_files import NoFileError, open_regular

_ZIP, _LFS = b"PK\x03\x04", b"version https://git-lfs"
# Best figures so far were often saved as numpy scalars. By exact name, as old and new numpy spell it; nothing else.
_NUMPY_SCALARS: list[Any] = [
    (np.float64(0).__reduce__()[0], "numpy.core.multiarray.scalar"),
    (np.float64(0).__reduce__()[0], "numpy._core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("float64", "float32", "int64", "int32", "bool")),
]


def read_torch(path: Path | str) -> Any:
    """What `torch.save` wrote, on the CPU, read with `weights_only=True`; large tensors stay on disk until used.

    Raises DataError that names the file and what to do: it is missing, cut off or damaged, no torch file, or wants to
    build anything but tensors, containers and plain values (named; none of it is run).
    """
    path = Path(path)
    start = _start(path)
    try:
        with torch.serialization.safe_globals(_NUMPY_SCALARS), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol")
            return torch.load(path, map_location="cpu", weights_only=True, mmap=start.startswith(_ZIP) or None)
    except Exception as error:  # a damaged file raises whatever its bytes happen to lead to
        refused = _refused(path, error)
        if refused:
            raise DataError(
                f"{path} was refused: it is a pickle that asks for {', '.join(refused)}, which a file of weights has "
                "no need of; nothing of it was run. If you trust its makers, let them save its state dicts alone; "
                "otherwise delete it."
            ) from error
        kind = "is cut off or damaged" if start.startswith(_ZIP) or _is_pickle(start) else "is no torch checkpoint"
        reason = " ".join(str(error).split()).partition(". ")[0][:160]
        verdict = f"{kind} ({reason})" if len(reason) > 10 else kind  # some errors are a bare number
        raise DataError(
            f"{path}, of {path.stat().st_size:,} bytes, {verdict}. Compare its size with the original's, then copy or "
            "download it again."
        ) from error


def _start(path: Path) -> bytes:
    try:
        with open_regular(path) as opened:
            start = opened.read(64)
    except NoFileError as error:
        what = str(error).removeprefix("it ")
        raise DataError(f"The checkpoint {path} {what}: give the path of a checkpoint file.") from error
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(f"The checkpoint {path} is not there: give the path of a checkpoint file.") from error
    except OSError as error:
        raise DataError(f"The checkpoint {path} can't be read: {error.strerror}. Check its access rights.") from error
    if not start:
        raise DataError(f"{path} is empty: copy or download the checkpoint again.")
    if start.startswith(_LFS):
        raise DataError(f"{path} is only git-lfs's pointer to a checkpoint: run `git lfs pull` where it came from.")
    if start.lstrip().startswith(b"<"):
        raise DataError(f"{path} is a web page, saved in the place of a checkpoint: download it again while signed in.")
    return start


def _is_pickle(start: bytes) -> bool:
    return len(start) > 1 and start[0] == pickle.PROTO[0] and start[1] <= pickle.HIGHEST_PROTOCOL


def _refused(path: Path, error: Exception) -> list[str]:
    """Full names of what the file asked for and did not get; empty if the failure was of another kind."""
    if not isinstance(error, pickle.UnpicklingError):
        return []
    named = re.search(r"(?:GLOBAL|global) (?:GLOBAL )?([\w.]+) (?:was not|whose module)", str(error))
    names = (
        [named[1]] if named else [name for name in _globals(path) if not name.startswith(("torch.", "collections."))]
    )
    return [f"{name} (os.{name.partition('.')[2]})" if name.startswith(("posix.", "nt.")) else name for name in names]


def _globals(path: Path) -> list[str]:
    """What a pickle names, read without running it: for protocols that torch's own reader does not know."""
    names: list[str] = []
    strings: list[str] = []
    try:
        for operation, argument, _ in pickletools.genops(_pickle_bytes(path)):
            if operation.name in ("GLOBAL", "INST"):
                names.append(str(argument).replace(" ", "."))
            elif operation.name == "STACK_GLOBAL":
                names.append(".".join(strings[-2:]))
            elif "UNICODE" in operation.name:
                strings.append(str(argument))
    except (ValueError, OSError, KeyError, zipfile.BadZipFile):
        return names  # what could be read of a damaged pickle is enough to name what it wanted
    return list(dict.fromkeys(names))


def _pickle_bytes(path: Path) -> bytes:
    if not zipfile.is_zipfile(path):
        return path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        return b"".join(archive.read(name) for name in archive.namelist() if name.endswith("data.pkl"))
