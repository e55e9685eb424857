"""What many people cost: `make bench-scale`, or `python -m tests.benchmarks.scale [PEOPLE ...] [--s3] [--json FILE]`.

Invented people (10,000 if no number is given) go through generate, score and pair, 20 hypotheses each: the stages as
they are, with Ray, but for their models (`numbered`), so that what is left is the engine's own. Each size has a process
of its own. Memory is what that process, and the greatest of Ray's workers, held for themselves alone at its peak,
looked at ten times a second.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import psutil

from infra.shared_store import session_for
from infra.store import Store
from schemas.ids import StageKey
from tasks.engine.context import Context
from tasks.engine.stage import Stage
from tasks.rows.hypotheses import read_hypotheses
from tasks.stages.pair import Pair
from tests.benchmarks.history import ROOT, environment_to, opened_files, s3_behind_proxy
from tests.benchmarks.numbered import MODEL, TARGET, Invent, NumberedGenerate, NumberedScore, configured
from tests.benchmarks.surroundings import surroundings
from tests.faults.flaky_s3 import FlakyS3

SHARD, READS = 100, 20
READING = "one shard's read"
_PASSES = 3


@dataclass(frozen=True)
class Cost:
    """What a stage took. Memory is anonymous, at its peak; `requests` are those to S3, of driver and workers; `opened`
    counts openings of data files where READS shards are read (0: not counted)."""

    place: str
    people: int
    shards: int
    stage: str
    rows: int
    seconds: float
    driver_cpu_seconds: float
    driver_mb: float
    worker_mb: float
    written_mb: float
    opened: int = 0
    requests: int = 0

    @property
    def cells(self) -> tuple[str, ...]:
        """As they stand in the table."""
        asked = f"{self.requests / self.shards:.1f}" if self.requests else "–"
        pace = f"{self.rows / self.seconds:,.0f}"
        memory = f"{self.driver_mb:,.0f} / {self.worker_mb:,.0f}"
        seconds = f"{self.seconds:,.1f}"
        return (self.place, f"{self.people:,}", self.stage, seconds, pace, memory, f"{self.written_mb:,.0f}", asked)


HEADS = ("place", "people", "stage", "s", "rows/s", "MB driver / worker", "MB written", "requests a shard")


def measure(url: str, people: int, shard: int) -> Iterator[Cost]:
    """Send people through the stages; what each of these took, and at last what reading a shard takes."""
    context = Context(Store.open(url), configured(shard))
    store, config = context.store, context.config
    place = "disk" if store.is_local else "S3"
    shards = -(-people // shard)

    def run(stage: Stage) -> tuple[StageKey, Cost]:
        with peaks() as peak:
            began, cpu = time.perf_counter(), time.process_time()
            record = stage.run(context).record
            seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        rows, written = sum(record.rows.values()), sum(record.bytes.values()) / 1e6
        return record.stage_key, Cost(place, people, shards, stage.name, rows, seconds, cpu, *peak, written)

    with session_for(store, config.ray, config.ray.threads_per_actor):
        ingest, cost = run(Invent(people))
        yield cost
        generation, cost = run(NumberedGenerate((ingest,), (TARGET,), MODEL, config.generate))
        yield cost
        scores, cost = run(NumberedScore(generation, (ingest,), MODEL))
        yield cost
        yield run(Pair(generation, scores, config.pair))[1]
    yield _reading(Store.open(url), generation, people, shard)


def _reading(store: Store, generation: StageKey, people: int, size: int) -> Cost:
    """Reads of READS shards' hypotheses, from the first to the last, all of which were read before; the quickest of
    three times that they are read."""
    ids = Invent(people).ids(Context(store, configured(size)))
    shards = [ids[at : at + size].to_pylist() for at in np.linspace(0, max(0, people - size), READS).astype(int)]
    for shard in shards:  # a process looks at each file once, whether it is as it was written
        read_hypotheses(store, generation, shard)
    passes = []
    with opened_files(Path(store.root)) as opened, peaks() as peak:
        for _ in range(_PASSES):
            began, cpu = time.perf_counter(), time.process_time()
            rows = sum(read_hypotheses(store, generation, shard).hypotheses.root_depth.size for shard in shards)
            passes.append((time.process_time() - cpu, time.perf_counter() - began))
    cpu, seconds = min(passes)
    place = "disk" if store.is_local else "S3"
    files = sum(path.endswith(".parquet") and "/_delta_log/" not in path for path in opened) // _PASSES
    return Cost(place, people, READS * (1 + _PASSES), READING, rows, seconds, cpu, *peak, 0.0, files)


@contextmanager
def peaks() -> Iterator[list[float]]:
    """Megabytes that this process and the greatest of Ray's workers held at most in the length of the block."""
    most, ended = [0.0, 0.0], threading.Event()
    own = psutil.Process()

    def look() -> None:
        most[0] = max(most[0], _anonymous_mb(own))
        workers = [one for one in own.children(recursive=True) if _name(one).startswith("ray::")]
        most[1] = max([most[1], *map(_anonymous_mb, workers)])

    def watch() -> None:
        while not ended.wait(0.1):
            look()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield most
        look()
    finally:
        ended.set()
        watcher.join()


def _anonymous_mb(process: psutil.Process) -> float:
    try:
        memory = process.memory_info()
        return float(memory.rss - memory.shared) / 1e6
    except psutil.Error:
        return 0.0


def _name(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline()[:1])
    except psutil.Error:
        return ""


def costs(url: str, people: int, shard: int = SHARD, proxy: FlakyS3 | None = None) -> Iterator[Cost]:
    """`measure` in a process of its own; one on S3 finds it through the proxy."""
    line = [sys.executable, "-m", "tests.benchmarks.scale", "--child", url, str(people), str(shard)]
    environment = {**os.environ, **(environment_to(proxy.url) if proxy else {})}
    asked = proxy.requests if proxy else 0
    with subprocess.Popen(line, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as child:
        for text in child.stdout or ():
            now = proxy.requests if proxy else 0
            yield replace(Cost(**json.loads(text)), requests=now - asked)
            asked = now
    assert child.returncode == 0


def markdown(found: Sequence[Cost]) -> str:
    """The table of docs/benchmarks.md."""
    rows = [HEADS, ("---",) * len(HEADS), *(cost.cells for cost in found)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> None:
    """Measure, print, and write JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("people", nargs="*", type=int, default=[10_000])
    parser.add_argument("--s3", action="store_true", help="on a test server of S3 as well, whose requests are counted")
    parser.add_argument("--shard", type=int, default=SHARD, help="people in a shard")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the same numbers to FILE")
    given = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for people in given.people:
            found += list(costs(f"{folder}/{people}", people, given.shard))
            shutil.rmtree(f"{folder}/{people}")
    if given.s3:
        with s3_behind_proxy("scale") as proxy:
            for people in given.people:
                found += list(costs(f"s3://scale/{people}", people, given.shard, proxy))
    print(markdown(found))
    if given.json:
        told = {"machine": surroundings(), "shard": given.shard, "costs": [asdict(cost) for cost in found]}
        given.json.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


def child(url: str, people: str, shard: str) -> None:
    """What the process of its own does: a line for each cost."""
    for cost in measure(url, int(people), int(shard)):
        print(json.dumps(asdict(cost)), flush=True)


if __name__ == "__main__":
    # under its own name, as Ray's workers know it
    from tests.benchmarks import scale

    scale.child(*sys.argv[2:]) if sys.argv[1:2] == ["--child"] else scale.main()
