"""What a long history costs: `python -m tests.benchmarks.history [ROUNDS] [--s3]`, or `tests/benchmarks/test_history`.

Two stores are made by real commits, one of 10 rounds and one of ROUNDS (1,000), and the same commands are run on both,
each in a process of its own. What is counted does not depend on the machine: files of the store that are opened (told
by the kernel, whoever opens them), bytes that the whole process reads, and with --s3 requests and bytes of answers.
Seconds are printed beside it.
"""

import ctypes
import os
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra import rounds
from infra.stages import StageSpec, commit_rows
from infra.store import Store
from schemas.digests import digest
from schemas.tables import build

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


def cost(url: str, command: str, environment: Mapping[str, str] | None = None, proxy: object | None = None) -> Cost:
    """Run one of COMMANDS on the store, in a process of its own."""
    if command == "open":
        line = [sys.executable, "-c", _OPEN_ROUND, url, CAMPAIGN]
    else:
        line = [sys.executable, "-c", _RUN, *COMMANDS[command], "--store", url]
    asked, sent = _traffic(proxy)
    with opened_files(Path(url)) as opened:
        done = subprocess.run(
            line, cwd=_ROOT, env={**os.environ, **(environment or {})}, capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stderr
    words = done.stderr.rstrip().rsplit("\n", 1)[-1].split()
    now_asked, now_sent = _traffic(proxy)
    return Cost(len(opened), now_asked - asked, int(words[1]), now_sent - sent, float(words[4]))


def _traffic(proxy: object | None) -> tuple[int, int]:
    return (getattr(proxy, "requests", 0), getattr(proxy, "sent_bytes", 0))


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


def compare(short: str, long: str, counts: tuple[int, int]) -> dict[str, tuple[Cost, Cost]]:
    """What each command takes of both stores; printed as it goes."""
    print(f"{'':8} {'files opened':>16} {'requests':>12} {'MB read':>14} {'MB answered':>14} {'seconds':>14}")
    print(f"{'rounds':8} " + "  ".join(f"{counts[0]:>7} {counts[1]:>6}" for _ in range(5)))
    found = {}
    for command in COMMANDS:
        one, other = cost(short, command), cost(long, command)
        found[command] = (one, other)
        print(
            f"{command:8} {one.opened:>7} {other.opened:>6}  {one.requests:>7} {other.requests:>6}  "
            f"{one.read_bytes / 1e6:>7.2f} {other.read_bytes / 1e6:>6.2f}  {one.seconds:>7.2f} {other.seconds:>6.2f}"
        )
    return found
