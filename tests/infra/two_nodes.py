"""A Ray cluster of two nodes on this machine, started with `ray start`, on the loopback alone, gone after the block.

Ray has a switch that keeps it on the loopback, but then refuses second nodes; the few lines of NODE lift that refusal
and keep the switch, which its other processes get by the environment.
"""

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from infra.services import free_port

_MARK = "ADHMR_TEST_CLUSTER"
_SECONDS = 90
NODE = """
from ray._private import ray_constants, services
from ray.scripts import scripts
ray_constants.ENABLE_RAY_CLUSTER = True
services.resolve_ip_for_localhost = lambda host: host
scripts.main()
"""


@dataclass(frozen=True)
class Cluster:
    """Its address, and the environment (mark and token included) that its processes have and drivers need."""

    address: str
    environment: dict[str, str]
    folder: Path

    def processes(self, name: str = "") -> list[psutil.Process]:
        """Living processes of the cluster and of its drivers, or those of one program ("raylet", "gcs_server")."""
        found = []
        for one in psutil.process_iter():
            try:
                if one.environ().get(_MARK) == self.environment[_MARK] and one.name().startswith(name):
                    found.append(one)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found

    def start_node(self, *options: str, **environment: str) -> None:
        """One more `ray start`, with its options; `environment` is what this node has beside that of all."""
        command = [sys.executable, "-c", NODE, "start", "--node-ip-address=127.0.0.1", "--disable-usage-stats"]
        limits = ["--object-store-memory=100000000", *options]
        subprocess.run(
            [*command, *limits],
            env={**self.environment, **environment},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
            timeout=_SECONDS,
        )


def two_nodes(cpus: tuple[int, int] = (1, 1), **environment: str) -> AbstractContextManager[Cluster]:
    """As `nodes`: head and second node."""
    return nodes(cpus, **environment)


@contextmanager
def nodes(cpus: Sequence[int], **environment: str) -> Iterator[Cluster]:
    """Nodes with so many CPUs, the head first; `environment` is added to theirs. Every process is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # short: Ray's sockets lie below
    token = folder / "token"
    token.write_text(secrets.token_hex(32))
    fixed = {
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "OMP_NUM_THREADS": "1",
        _MARK: uuid.uuid4().hex,
    }
    inherited = {name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "PYTHONPATH")}
    port = free_port()
    cluster = Cluster(f"127.0.0.1:{port}", {**inherited, **environment, **fixed}, folder)
    try:
        ports = ["--min-worker-port=0", "--max-worker-port=0"]
        head = [f"--port={port}", "--include-dashboard=false", f"--temp-dir={folder}"]
        cluster.start_node("--head", f"--num-cpus={cpus[0]}", *head, *ports)
        for count in cpus[1:]:
            cluster.start_node(f"--address={cluster.address}", f"--num-cpus={count}", *ports)
        yield cluster
    finally:
        end = time.monotonic() + 20
        while (left := cluster.processes()) and time.monotonic() < end:
            for one in left:
                try:
                    one.kill()
                except psutil.NoSuchProcess:
                    continue
            psutil.wait_procs(left, timeout=2)
        shutil.rmtree(folder, ignore_errors=True)
