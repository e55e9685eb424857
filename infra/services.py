"""Programs that go on after the command that started them, and the folder that knows of them.

services.json   the process that each service is, and its port
<name>.log      what it says
lock            held while one command starts or ends services

A process is identified by its number and the moment it began, so that what a crash or a restart of the machine left in
the file is seen through. All of a service's descendants carry a mark in their environment, and end with it.
"""

import fcntl
import json
import os
import random
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import psutil

from infra.private import is_private
from infra.processes import birth, end_all
from schemas.errors import EngineError

LOOPBACK = "127.0.0.1"
_FILE, _LOCK = "services.json", "lock"
_MARK = "ADHMR_SERVED_FROM"
OWN_RAY: Final = "ADHMR_OWN_RAY"
"""The variable with the address of a Ray that was started as a service: its workers see the files that we see."""
_ANY_PORT, _PORTS_TRIED = range(20000, 32000), 50


class ServiceError(EngineError):
    """A service did not start, or its folder or port can't be had."""


@dataclass(frozen=True)
class Service:
    """A process that serves, as the folder's file has it. `port` is 0 for one that listens to nothing.

    `note` is for the command that started it.
    """

    name: str
    pid: int
    born: str
    port: int
    log: str
    note: str = ""

    @property
    def is_alive(self) -> bool:
        return self.process() is not None

    def process(self) -> psutil.Process | None:
        """The process; None if it has ended, or its number belongs to another one now."""
        try:
            process = psutil.Process(self.pid)
            gone = birth(self.pid) != self.born or process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return None
        return None if gone else process


@dataclass(frozen=True)
class Services:
    """The services of one folder."""

    folder: Path

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other commands off the folder, and other users out of it; it is made if it isn't there.

        Raises ServiceError.
        """
        try:
            self._own_folder()
            lock = open(self.folder / _LOCK, "w")  # noqa: SIM115 - closed by the with statement below
        except OSError as error:
            raise ServiceError(f"{self.folder} can't hold what services need: {error}. Name another folder.") from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ServiceError(f"Another command starts or ends the services of {self.folder} just now.") from error
            yield

    def _own_folder(self) -> None:
        """Make the folder, or keep other users out of the one that is there."""
        with suppress(FileExistsError):
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            self.folder.mkdir(mode=0o700)
        if is_private(self.folder.stat()):
            return
        # one of an earlier version is closed; what else may be in a folder is for others to see, or not, as it was
        if not (self.folder / _FILE).is_file() and any(self.folder.iterdir()):
            raise ServiceError(f"Others have a right to {self.folder}, which holds other things: name another folder.")
        self.folder.chmod(0o700)

    def alive(self) -> dict[str, Service]:
        """Name -> service, of those whose process lives."""
        return {name: service for name, service in self._known().items() if service.is_alive}

    def last_port(self, name: str) -> int:
        """The port that a service had when it was last started, also if it is gone since; 0 if there was none."""
        service = self._known().get(name)
        return service.port if service else 0

    def start(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], port: int = 0, note: str = ""
    ) -> Service:
        """Start a program as a service; what it says goes to its log."""
        log = self.folder / f"{name}.log"
        with open(log, "ab") as output:
            process = subprocess.Popen(
                command,
                env={**environment, _MARK: self._mark()},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the command that starts, not for what it has started
            )
        service = Service(name, process.pid, birth(process.pid) or "", port, str(log), note)
        services = {**self._known(), name: service}
        self._store({"mark": self._mark(), "services": [asdict(one) for one in services.values()]})
        return service

    def end(self, name: str, seconds: float) -> bool:
        """Ask a service to end and wait for so many seconds, then end by force what is left of it and its descendants.

        False if it had ended before.
        """
        service = self.alive().get(name)
        process = service.process() if service else None
        if process is None:
            return False
        family = [process, *_descendants(process)]
        process.terminate()
        psutil.wait_procs([process], timeout=seconds)
        end_all(family)
        return True

    def end_strays(self) -> None:
        """End by force what services have started, whatever its parent now, unless it belongs to a living one."""
        end_all(self.strays())

    def strays(self) -> list[psutil.Process]:
        """Living processes that services have started and that outlived them."""
        kept = {os.getpid()}
        for service in self.alive().values():
            process = service.process()
            if process is not None:
                kept |= {one.pid for one in (process, *_descendants(process))}
        return [one for one in self._marked() if one.pid not in kept]

    def forget(self) -> None:
        """Nothing is to be known of services any more."""
        (self.folder / _FILE).unlink(missing_ok=True)

    def _marked(self) -> Iterator[psutil.Process]:
        mark = self._mark()
        for one in psutil.process_iter():
            try:
                if one.environ().get(_MARK) == mark and _lives(one):
                    yield one
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue

    def _mark(self) -> str:
        """The mark of this folder's services; made with the first."""
        plain = self._read()
        if "mark" not in plain:
            plain = {"mark": uuid4().hex, "services": []}
            self._store(plain)
        return str(plain["mark"])

    def _known(self) -> dict[str, Service]:
        try:
            return {one["name"]: Service(**one) for one in self._read().get("services", [])}
        except (KeyError, TypeError):  # written by another version
            return {}

    def _read(self) -> dict[str, Any]:
        try:
            plain = json.loads((self.folder / _FILE).read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return {}
        return plain if isinstance(plain, dict) else {}

    def _store(self, plain: Mapping[str, Any]) -> None:
        temporary = self.folder / f".tmp-{_FILE}"
        temporary.write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")
        temporary.replace(self.folder / _FILE)


def free_port(wanted: int = 0) -> int:
    """A port of the loopback that nothing listens on: the wanted one, or any for 0. Raises ServiceError.

    Any: by chance, below those that the system gives to connections, which could take it before it is used.
    """
    for port in [wanted] if wanted else random.SystemRandom().sample(_ANY_PORT, _PORTS_TRIED):
        try:
            socket.create_server((LOOPBACK, port)).close()
            return port
        except (OSError, OverflowError) as error:
            last = port, error
    raise ServiceError(f"Port {last[0]} of {LOOPBACK} can't be had ({last[1]}): name another one.") from last[1]


def past_proxies(environment: Mapping[str, str]) -> dict[str, str]:
    """NO_PROXY and no_proxy of an environment, with the loopback added, for clients that ask a proxy even for that."""
    names = ("no_proxy", "NO_PROXY")
    before = next((environment[name] for name in names if environment.get(name)), "")
    hosts = [host.strip() for host in before.split(",") if host.strip()]
    added = [] if "*" in hosts else [host for host in (LOOPBACK, "localhost") if host not in hosts]
    return dict.fromkeys(names, ",".join([*hosts, *added]))


def answers(port: int, host: str = LOOPBACK) -> bool:
    """Whether something listens there."""
    try:
        with socket.create_connection((host, port), timeout=2.0):
            return True
    except OSError:
        return False


def last_words(log: str, lines: int = 12) -> str:
    """The end of a log, for an error message."""
    try:
        return "\n".join(Path(log).read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
    except OSError:
        return ""


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
