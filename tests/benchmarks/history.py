"""What a long history costs: `python -m tests.benchmarks.history [ROUNDS] [--s3]`.

Two stores are made by real commits, one of 10 rounds and one of ROUNDS (1,000), and the same commands are run on both,
each in a process of its own. What is counted does not depend on the machine: files of the store that are opened (told
by the kernel, whoever opens them), bytes that the whole process reads, and with --s3 requests and bytes of answers.
Seconds are printed beside it. How many entries a log has since its checkpoint, and how many files wait to be merged,
goes up and down with each round: so all figures are means over a few rounds, one after another.
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
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from statistics import mean
from typing import Any

import boto3
from moto.server import ThreadedMotoServer

from infra import rounds
from infra.merging import MERGED_FROM
from infra.stages import StageSpec, commit_rows
from infra.store import Store
from schemas.digests import digest
from schemas.tables import build
from tests.faults.flaky_s3 import FlakyS3

SHORT, LONG = 10, 1000
WINDOW = MERGED_FROM - 1
"""Rounds over which the means are taken: after so many the merges come round again."""
CAMPAIGN = "micro"
ROOT = Path(__file__).resolve().parents[2]
_KEYS: Mapping[str, Any] = {
    "aws_access_key_id": "test",
    "aws_secret_access_key": "test",
    "region_name": "us-east-1",
}
_IN_OPEN, _IN_ISDIR, _IN_Q_OVERFLOW = 0x20, 0x40000000, 0x4000

_RUN = """
import sys, time
from flows.cli.main import main
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

    opened: float
    requests: float
    read_mb: float
    answered_mb: float
    seconds: float

    @property
    def taken_mb(self) -> float:
        """All bytes, whether a disk or S3 gave them."""
        return self.read_mb + self.answered_mb


@dataclass
class History:
    """A store in which a campaign has been through `count` rounds."""

    store: Store
    count: int = 0

    @staticmethod
    def make(url: str, count: int) -> "History":
        """A new one."""
        made = History(Store.open(url))
        rounds.begin(made.store, CAMPAIGN, digest(0))
        for _ in range(count):
            made.go_on()
        return made

    def go_on(self) -> None:
        """Another round: its four events and two stages."""
        self.count += 1
        store, number, promoted = self.store, self.count, self.count % 4 == 0
        rounds.open_round(store, CAMPAIGN, number, "dpo round")
        _stage(store, "align", number)
        compared = _stage(store, "compare", number)
        if promoted:
            rounds.promote(store, CAMPAIGN, number, digest(number), "all gates hold", compared)
        else:
            rounds.keep(store, CAMPAIGN, number, "zero-noise MPVPE: -0.3 % [-1.0, +0.4]", compared)
        rounds.close_round(store, CAMPAIGN, number, "promoted" if promoted else "kept")


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
    environment = {**os.environ, **(environment_to(proxy.url) if proxy else {})}
    asked, sent = (proxy.requests, proxy.sent_bytes) if proxy else (0, 0)
    with opened_files(Path(url)) as opened:
        done = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    words = done.stderr.rstrip().rsplit("\n", 1)[-1].split()
    asked, sent = (proxy.requests - asked, proxy.sent_bytes - sent) if proxy else (0, 0)
    return Cost(len(opened), asked, int(words[1]) / 1e6, sent / 1e6, float(words[4]))


def environment_to(address: str) -> dict[str, str]:
    """The environment of a process that finds S3 at an address."""
    return {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_REGION": "us-east-1",
    }


class Mirror:
    """Stores on a disk, copied below s3://history/ by their names, on a test server behind a proxy that counts."""

    def __init__(self, client: Any, proxy: FlakyS3) -> None:
        self.client, self.proxy = client, proxy
        self._sent: dict[Path, dict[str, tuple[int, int]]] = {}

    def url(self, history: History) -> str:
        """Where the copy of a store is, brought up to date."""
        folder = Path(history.store.root)
        here = {
            path.relative_to(folder).as_posix(): (path.stat().st_size, path.stat().st_mtime_ns)
            for path in folder.rglob("*")
            if path.is_file()
        }
        sent = self._sent.get(folder, {})
        for name in here.keys() - {name for name, state in sent.items() if here.get(name) == state}:
            self.client.put_object(Bucket="history", Key=f"{folder.name}/{name}", Body=(folder / name).read_bytes())
        for name in sent.keys() - here.keys():
            self.client.delete_object(Bucket="history", Key=f"{folder.name}/{name}")
        self._sent[folder] = here
        return f"s3://history/{folder.name}"


@contextmanager
def on_s3() -> Iterator[Mirror]:
    """Where copies of stores can be."""
    with s3_behind_proxy("history") as proxy:
        host, port = proxy.target
        yield Mirror(boto3.client("s3", endpoint_url=f"http://{host}:{port}", **_KEYS), proxy)


@contextmanager
def s3_behind_proxy(bucket: str) -> Iterator[FlakyS3]:
    """A test server of S3 with this bucket, behind a proxy that counts."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it tells of every request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        boto3.client("s3", endpoint_url=f"http://{host}:{port}", **_KEYS).create_bucket(Bucket=bucket)
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


def compare(short: History, long: History, mirror: Mirror | None = None) -> dict[str, tuple[Cost, Cost]]:
    """What each command takes of both stores, as means over some rounds, which are added; printed as well."""
    found = [_mean_costs(one, mirror) for one in (short, long)]
    heads = (f"{field.name:>20}" for field in fields(Cost))
    print(f"{'':8} {' '.join(heads)}   ({short.count} and {long.count} rounds)")
    both = {command: (found[0][command], found[1][command]) for command in COMMANDS}
    for command, (one, other) in both.items():
        pairs = zip(astuple(one), astuple(other), strict=True)
        print(f"{command:8} {' '.join(f'{few:>10,.1f}{many:>10,.1f}' for few, many in pairs)}", flush=True)
    return both


def _mean_costs(history: History, mirror: Mirror | None) -> dict[str, Cost]:
    measured: dict[str, list[Cost]] = {command: [] for command in COMMANDS}
    for _ in range(WINDOW):
        history.go_on()
        url = mirror.url(history) if mirror else history.store.url
        for command, costs in measured.items():
            costs.append(cost(url, command, mirror.proxy if mirror else None))
    return {
        command: Cost(*(mean(values) for values in zip(*map(astuple, costs), strict=True)))
        for command, costs in measured.items()
    }


def main() -> None:
    """Make both stores and print what they cost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rounds", nargs="?", type=int, default=LONG)
    parser.add_argument("--s3", action="store_true", help="count requests to a test server as well")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        histories = []
        for count in (SHORT, given.rounds):
            began = time.perf_counter()
            histories.append(History.make(f"{folder}/{count}", count))
            print(f"{count} rounds made in {time.perf_counter() - began:.0f} s", flush=True)
        short, long = histories
        if given.s3:
            with on_s3() as mirror:
                compare(short, long, mirror)
        compare(short, long)


if __name__ == "__main__":
    main()
