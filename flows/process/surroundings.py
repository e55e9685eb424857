"""What the libraries need of the machine, and what is put right where it lacks: temporary folders, a home, a terminal.

Ray's sockets need short paths, Numba, Matplotlib and Prefect a place of their own to write to, the output signs that
its encoding has. `settle` puts into the environment what they then find; it comes before they are imported, costs
next to nothing, and never fails. What the user alone can put right is a problem, which `refuse` raises.
"""

import getpass
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path

from infra.private import is_private
from schemas.errors import ConfigError

RAY_FOLDER = "RAY_TMPDIR"
LONGEST_SOCKET = 107
"""Bytes of a socket's path, on Linux."""
_BELOW_RAYS = len("/adhmr-ray-xxxxxxxx/r/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store")
_SHORT_PLACES = ("/tmp", "/var/tmp", "/dev/shm")
_LEAST_BYTES = 64 * 1024**2
"""What the libraries write at home in a round is a few MB; a disk with less room than this is as good as full."""
_SIGNS = "−…°"  # some of those in reports


@dataclass(frozen=True)
class Surrounding:
    """One thing that was looked at: fine, put right (as a rule by `variables`), or a problem."""

    what: str
    text: str
    is_problem: bool = False
    is_put_right: bool = False
    variables: Mapping[str, str] = field(default_factory=dict)


_settled: list[Surrounding] = []


def settle(environment: MutableMapping[str, str] = os.environ) -> None:
    """Put right what can be; once in a process."""
    if not _settled:
        _settled.extend(look(environment))
        for one in _settled:
            environment.update(one.variables)
    for stream in (sys.stdout, sys.stderr):
        if not _has_signs(stream.encoding) and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def settled() -> list[Surrounding]:
    """What `settle` found, and did."""
    settle()
    return list(_settled)


def refuse() -> None:
    """Raise ConfigError, which names the cure, for what keeps a run from working."""
    for one in settled():
        if one.is_problem:
            raise ConfigError(one.text)


def look(environment: Mapping[str, str]) -> Iterator[Surrounding]:
    """All of it."""
    temporary = _temporary(environment)
    yield temporary
    if not temporary.is_problem:
        yield _for_ray(environment, temporary.variables.get("TMPDIR") or tempfile.gettempdir())
        yield _home(environment)
    yield _user()
    yield _terminal()


def _temporary(environment: Mapping[str, str]) -> Surrounding:
    named = environment.get("TMPDIR")
    try:
        used = tempfile.gettempdir()  # the first that can be written of TMPDIR, TEMP, TMP, /tmp, /var/tmp, ...
    except FileNotFoundError:
        text = "There is no folder for temporary files that can be written: set TMPDIR to one with a short path."
        return Surrounding("temporary files", text, is_problem=True)
    if named and not _is_writable(Path(named)):
        text = f"{used}, as TMPDIR={named} is no folder that can be written"
        return Surrounding("temporary files", text, is_put_right=True, variables={"TMPDIR": used})
    return Surrounding("temporary files", used)


def _for_ray(environment: Mapping[str, str], temporary: str) -> Surrounding:
    what = "Ray's files"
    named = environment.get(RAY_FOLDER)
    if environment.get("RAY_ADDRESS", "local") != "local" and not named:
        return Surrounding(what, "where the cluster has them")
    place = named or temporary
    why = _why_not_ray(place)
    if not why:
        return Surrounding(what, place)
    if named:
        text = f"{RAY_FOLDER}={named} {why}: set it to another one, of {_longest()} characters at most."
        return Surrounding(what, text, is_problem=True)
    for short in _SHORT_PLACES:
        if not _why_not_ray(short):
            return Surrounding(what, f"{short}, as {place} {why}", is_put_right=True, variables={RAY_FOLDER: short})
    text = f"{place} {why}: set {RAY_FOLDER} to a folder with a path of {_longest()} characters at most."
    return Surrounding(what, text, is_problem=True)


def _home(environment: Mapping[str, str]) -> Surrounding:
    """Where the libraries keep their caches and Prefect its database: at home, if that can be written and has room."""
    home = _home_folder(environment)
    named = environment.get("PREFECT_HOME")
    if named and not _can_be_made(Path(named).expanduser()):
        return Surrounding("home", f"PREFECT_HOME={named} can't be written: set it to another folder.", is_problem=True)
    trouble = "" if home else "there is none"
    if home is not None and not _is_writable(home):
        trouble = f"{home} can't be written"
    elif home is not None and _is_full(home):
        trouble = f"{home} is on a disk that is full"
    if not trouble:
        return Surrounding("home", str(home))
    own = _own_folder()
    places = {
        "NUMBA_CACHE_DIR": own / "numba",
        "MPLCONFIGDIR": own / "matplotlib",
        "PREFECT_HOME": own / "prefect",
        "ADHMR_CACHE": own / "cache",
    }
    if home is not None and (home / ".prefect/profiles.toml").is_file():
        places["PREFECT_PROFILES_PATH"] = home / ".prefect/profiles.toml"
    variables = {name: str(path) for name, path in places.items() if name not in environment}
    if home is None:
        variables["HOME"] = str(own)
    return Surrounding(
        "home", f"{trouble}; caches and Prefect's database are in {own}", is_put_right=True, variables=variables
    )


def _home_folder(environment: Mapping[str, str]) -> Path | None:
    try:
        return Path(environment["HOME"]) if environment.get("HOME") else Path.home()
    except RuntimeError:  # no HOME, and the system doesn't know this user
        return None


def _user() -> Surrounding:
    try:
        return Surrounding("user", getpass.getuser())
    except (KeyError, OSError):
        name = f"uid-{os.getuid()}"
        return Surrounding(
            "user", f"has no name here, {name} is written instead", is_put_right=True, variables={"USER": name}
        )


def _terminal() -> Surrounding:
    encoding = sys.stdout.encoding
    if _has_signs(encoding):
        return Surrounding("output", encoding)
    return Surrounding(
        "output", f"{encoding} lacks some signs, shown as ? (PYTHONIOENCODING=utf-8 has them)", is_put_right=True
    )


def _own_folder() -> Path:
    """A folder among the temporary files that no other user can get at: Numba runs what it reads there."""
    path = Path(tempfile.gettempdir()) / f"adhmr-{os.getuid()}"
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        status = path.lstat()
        if stat.S_ISDIR(status.st_mode) and is_private(status):
            return path
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="adhmr-"))


def _why_not_ray(place: str) -> str:
    """Why Ray can't have its files there; empty if it can."""
    if len(os.fsencode(place)) > _longest():
        return "is too long a path for its sockets"
    if not _is_writable(Path(place)):
        return "is no folder that can be written"
    return "is on a disk that is full" if _is_full(Path(place)) else ""


def _is_full(folder: Path) -> bool:
    return shutil.disk_usage(folder).free < _LEAST_BYTES


def _longest() -> int:
    return LONGEST_SOCKET - _BELOW_RAYS


def _is_writable(folder: Path) -> bool:
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def _can_be_made(folder: Path) -> bool:
    return _is_writable(next((place for place in (folder, *folder.absolute().parents) if place.exists()), folder))


def _has_signs(encoding: str | None) -> bool:
    try:
        _SIGNS.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
