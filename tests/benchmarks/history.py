"""What a long history costs: `python -m tests.benchmarks.history [ROUNDS] [--s3]`.

Two stores are made by real commits, one of 10 rounds and one of ROUNDS (1,000), and the same commands are run on both,
each in a process of its own. What is counted does not depend on the machine: files of the store that are opened (told
by the kernel, whoever opens them), bytes that the whole process reads, and with --s3 requests and bytes of answers.
Seconds are printed beside it.
"""

import argparse
import ctypes
import logging
import os
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import boto3
from moto.server import ThreadedMotoServer

from infra import rounds
from infra.stages import StageSpec, commit_rows
from infra.store import Store
from schemas.digests import digest
from schemas.tables import build
from tests.faults.flaky_s3 import FlakyS3

SHORT, LONG = 10, 1000
CAMPAIGN = "micro"
_ROOT = Path(__file__).resolve().parents[2]
_IN_OPEN, _IN_ISDIR, _IN_Q_OVERFLOW = 0x20, 0x40000000, 0x4000

_RUN = """
import sys, time
from flows.cli import main
began = time.perf_counter()
try:
    main()
except SystemExit as end:
    code = end.code
finally:
    seconds = time.perf_counter() - began
    io = dict(line.split(": ") for line in open("/proc/self/io").read().splitlines())
    print(f"\\nread {io['rchar']} bytes in {seconds} s", file=sys.stderr)
sys.exit(code)
"""
_OPEN_ROUND = """
import sys, time
from infra import rounds
from infra.store import Store
began = time.perf_counter()
store = Store.open(sys.argv[1])
assert rounds.open_round(store, sys.argv[2], rounds.state(store, sys.argv[2]).next_round)
seconds = time.perf_counter() - began
io = dict(line.split(": ") for line in open("/proc/self/io").read().splitlines())
print(f"\\nread {io['rchar']} bytes in {seconds} s", file=sys.stderr)
"""
COMMANDS: Mapping[str, tuple[str, ...]] = {
    "status": ("status",),
    "rounds": ("rounds",),
    "plan": ("plan", "--profile", "micro"),
    "query": ("query", "SELECT event, count(*) AS n FROM rounds GROUP BY event ORDER BY event"),
    "open": (),
}


@dataclass(frozen=True)
class Cost:
    """What a command took. `opened` counts openings of the store's files, `requests` those to S3."""

    opened: int
    requests: int
    read_bytes: int
    answered_bytes: int
    seconds: float


def make_history(url: str, count: int) -> Store:
    """A store in which a campaign has been through so many rounds: for each its four events and two stages."""
    store = Store.open(url)
    policy = digest(0)
    rounds.begin(store, CAMPAIGN, policy)
    for number in range(1, count + 1):
        rounds.open_round(store, CAMPAIGN, number, "dpo round")
        _stage(store, "align", number)
        compared = _stage(store, "compare", number)
        if number % 4:
            rounds.keep(store, CAMPAIGN, number, "zero-noise MPVPE: -0.3 % [-1.0, +0.4]", compared)
        else:
            policy = digest(number)
            rounds.promote(store, CAMPAIGN, number, policy, "all gates hold", compared)
        rounds.close_round(store, CAMPAIGN, number, "kept" if number % 4 else "promoted")
    return store


def _stage(store: Store, name: str, number: int) -> str:
    spec = StageSpec(name, 1, {"made for": "history"}, round=number, campaign=CAMPAIGN)
    points = {"stage_key": [spec.key] * 2, "series": ["loss"] * 2, "step": [0, 1], "value": [1.0, 1.0 / number]}
    commit_rows(store, spec, {"curves": build("curves", points)})
    return spec.key


def cost(url: str, command: str, proxy: FlakyS3 | None = None) -> Cost:
    """Run one of COMMANDS on the store, in a process of its own; one on S3 through the proxy."""
    if command == "open":
        line = [sys.executable, "-c", _OPEN_ROUND, url, CAMPAIGN]
    else:
        line = [sys.executable, "-c", _RUN, *COMMANDS[command], "--store", url]
    environment = {**os.environ, **(_to(proxy.url) if proxy else {})}
    asked, sent = (proxy.requests, proxy.sent_bytes) if proxy else (0, 0)
    with opened_files(Path(url)) as opened:
        done = subprocess.run(line, cwd=_ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    words = done.stderr.rstrip().rsplit("\n", 1)[-1].split()
    asked, sent = (proxy.requests - asked, proxy.sent_bytes - sent) if proxy else (0, 0)
    return Cost(len(opened), asked, int(words[1]), sent, float(words[4]))


def _to(address: str) -> dict[str, str]:
    """The environment of a process that finds S3 at an address."""
    return {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_REGION": "us-east-1",
    }


@contextmanager
def on_s3(folders: Mapping[str, Path]) -> Iterator[FlakyS3]:
    """Copies of stores, by name below s3://history/, on a test server behind a proxy that counts."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it tells of every request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
        client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", **keys)
        client.create_bucket(Bucket="history")
        for name, folder in folders.items():
            for path in sorted(folder.rglob("*")):
                if path.is_file():
                    key = f"{name}/{path.relative_to(folder).as_posix()}"
                    client.put_object(Bucket="history", Key=key, Body=path.read_bytes())
        with FlakyS3(host, port, lambda method, path: None) as proxy:
            yield proxy
    finally:
        server.stop()


@contextmanager
def opened_files(folder: Path) -> Iterator[list[str]]:
    """The files below a folder that anybody opens in the length of the block, with each time; told by inotify.

    The list is complete when the block is left. Folders that are made meanwhile are not watched.
    """
    opened: list[str] = []
    if not folder.is_dir():
        yield opened
        return
    libc = ctypes.CDLL(None, use_errno=True)
    watcher = libc.inotify_init1(0)
    assert watcher >= 0, os.strerror(ctypes.get_errno())
    places = {}
    for place, _, _ in os.walk(folder):
        number = libc.inotify_add_watch(watcher, os.fsencode(place), _IN_OPEN)
        assert number >= 0, os.strerror(ctypes.get_errno())
        places[number] = place
    end = folder / f".tmp-end-{time.monotonic_ns()}"

    def listen() -> None:
        while True:
            events, at = os.read(watcher, 2**16), 0
            while at < len(events):
                number, mask, _, length = struct.unpack_from("iIII", events, at)
                name = events[at + 16 : at + 16 + length].rstrip(b"\0").decode()
                at += 16 + length
                assert not mask & _IN_Q_OVERFLOW, "more files were opened than the kernel told of"
                if name == end.name:
                    return
                if name and not mask & _IN_ISDIR:
                    opened.append(f"{places[number]}/{name}")

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        yield opened
    finally:
        end.touch()
        listener.join()
        end.unlink()
        os.close(watcher)


def compare(short: str, long: str, proxy: FlakyS3 | None = None) -> dict[str, tuple[Cost, Cost]]:
    """What each command takes of both stores; printed as it goes."""
    print(f"{'':8} {'files opened':>16} {'requests':>16} {'MB read':>16} {'MB answered':>16} {'seconds':>16}")
    found = {}
    for command in COMMANDS:
        one, other = cost(short, command, proxy), cost(long, command, proxy)
        found[command] = (one, other)
        print(
            f"{command:8} {one.opened:>8}{other.opened:>8} {one.requests:>8}{other.requests:>8} "
            f"{one.read_bytes / 1e6:>8.2f}{other.read_bytes / 1e6:>8.2f} "
            f"{one.answered_bytes / 1e6:>8.2f}{other.answered_bytes / 1e6:>8.2f} "
            f"{one.seconds:>8.2f}{other.seconds:>8.2f}",
            flush=True,
        )
    return found


def main() -> None:
    """Make both stores and print what they cost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rounds", nargs="?", type=int, default=LONG)
    parser.add_argument("--s3", action="store_true", help="count requests to a test server as well")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        stores = {}
        for count in (SHORT, given.rounds):
            began = time.perf_counter()
            stores[f"{count}"] = Path(make_history(f"{folder}/{count}", count).root)
            print(f"{count} rounds made in {time.perf_counter() - began:.0f} s", flush=True)
        short, long = stores
        if given.s3:
            with on_s3(stores) as proxy:
                compare(f"s3://history/{short}", f"s3://history/{long}", proxy)
        compare(str(stores[short]), str(stores[long]))


if __name__ == "__main__":
    main()
