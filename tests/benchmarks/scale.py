"""What many people cost: `make bench-scale`, or `python -m tests.benchmarks.scale [PEOPLE ...] [--s3] [--json FILE]`.

Invented people (10,000 if no number is given) go through generate, score and pair, 20 hypotheses each: the stages as
they are, with Ray, but with models that give a number for an answer, so that what is left is the engine's own. Crops
have a few pixels, and the hypotheses differ by little, so that files are smaller than real ones. Each size has its own
process; memory is what it and Ray's workers hold for themselves alone, at its peak, told ten times a second.
"""

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
from PIL import Image

from infra.shards import Shard
from infra.shared_store import session_for
from infra.standing import INGEST
from infra.store import Store
from schemas.config.engine import EngineConfig
from schemas.ids import ModelDigest, StageKey, Target, image_id, instance_id
from schemas.profiles import tiny
from schemas.tables import build
from tasks.engine.context import Context
from tasks.engine.sharded import ShardOutput
from tasks.engine.stage import ShardedStage, Stage
from tasks.engine.worker import ModelWorker
from tasks.generate import Generate, GenerateWorker
from tasks.pair import Pair
from tasks.rows.hypotheses import Hypotheses, read_hypotheses
from tasks.score import Score, ScoreWorker
from tests.benchmarks.__main__ import machine
from tests.benchmarks.history import ROOT, environment_to, s3_behind_proxy
from tests.faults.flaky_s3 import FlakyS3

HYPOTHESES, SHARD, READS = 20, 100, 20
TARGET = Target("invented", "train")
MODEL = ModelDigest("0" * 64)
_PIXELS = 8


@dataclass(frozen=True)
class Cost:
    """What a stage took. Memory is anonymous, at its peak; `requests` are those to S3, of driver and workers."""

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


@dataclass(frozen=True)
class Invent(ShardedStage):
    """People that nobody has seen -> tables `instances`, `labels`."""

    people: int

    name = INGEST
    writes = ("instances", "labels")

    def key_config(self, context: Context) -> Mapping[str, Any]:
        return {"invented": self.people}

    def ids(self, context: Context) -> pa.StringArray:
        return pa.array(
            (instance_id(image_id(*TARGET, f"{number:08d}"), 0) for number in range(self.people)), pa.string()
        )

    def shard_size(self, context: Context) -> int:
        return context.config.ingest.shard_size

    def worker(self, context: Context) -> "InventWorker":
        return InventWorker(context)


class InventWorker(ModelWorker):
    """A grey crop and a label at rest for each."""

    def work(self, shard: Shard) -> ShardOutput:
        picture = io.BytesIO()
        Image.new("RGB", (_PIXELS, _PIXELS), "grey").save(picture, "PNG")
        about = {"instance_id": list(shard.ids), "dataset": TARGET.dataset, "split": TARGET.split, "stage_key": ""}
        count = len(shard.ids)
        camera = np.tile(np.float32([_PIXELS, _PIXELS, _PIXELS / 2, _PIXELS / 2]), (count, 1))
        seen = {
            "image_id": [name.rpartition("#")[0] for name in shard.ids],
            "person": 0,
            "crop_size_px": _PIXELS,
            "crop": picture.getvalue(),
            "crop_rule": "box",
            "box_xywh": camera,
            "crop_intrinsics": camera,
            "image_intrinsics": camera,
            "intrinsics_source": "given",
            "crop_affine": np.zeros((count, 6)),
        }
        posed = {"global_orient": 3, "body_pose": 69, "betas": 10, "joints": 87, "twist": 46}
        known = {
            "label_set": "gt",
            "label_kind": "gt",
            "body_model": "smpl",
            "gender": "neutral",
            **{name: np.ones((count, length)) for name, length in posed.items()},
            "joints_valid": np.ones((count, 29), bool),
        }
        tables = {"instances": build("instances", about | seen), "labels": build("labels", about | known)}
        return ShardOutput({name: rows.drop_columns(["stage_key"]) for name, rows in tables.items()}, ok=count)


class _NumberSampler:
    """In a policy's place."""

    samples = range(HYPOTHESES)

    def __call__(self, ids: Sequence[str], crops: np.ndarray, cameras: np.ndarray, depth: np.ndarray) -> Hypotheses:
        uvd = np.linspace(-0.5, 0.5, HYPOTHESES * 87, dtype=np.float32).reshape(1, HYPOTHESES, 29, 3)
        number = np.array([zlib.crc32(name.encode()) for name in ids]) / 2**33
        uvd = uvd + number.astype(np.float32)[:, None, None, None]
        twists = np.zeros((len(ids), HYPOTHESES, 23, 2), np.float32)
        betas = np.zeros((len(ids), HYPOTHESES, 10), np.float32)
        return Hypotheses(uvd, twists, betas, np.repeat(depth[:, None], HYPOTHESES, 1))


class NumberedGenerate(Generate):
    """Generate, without a policy."""

    def worker(self, context: Context) -> GenerateWorker:
        worker = GenerateWorker.__new__(GenerateWorker)
        ModelWorker.__init__(worker, context)
        worker.stage, worker.key, worker.draw = self, self.key(context), _NumberSampler()  # type: ignore[assignment]
        return worker


class NumberedScore(Score):
    """Score, without a scorer."""

    def worker(self, context: Context) -> ScoreWorker:
        worker = ScoreWorker.__new__(ScoreWorker)
        ModelWorker.__init__(worker, context)
        worker.stage, worker.score = self, _number  # type: ignore[assignment]
        return worker


def _number(crops: np.ndarray, uvd: np.ndarray, twists: np.ndarray) -> np.ndarray:
    scores: np.ndarray = 0.5 + uvd.mean((2, 3), np.float64) / 4
    return scores


def configured(shard: int) -> EngineConfig:
    """`tiny` with shards of that many people."""
    config, size = tiny(), {"shard_size": shard}
    drawn = config.generate.model_copy(update={"hypotheses": HYPOTHESES, **size})
    sections = {"ingest": config.ingest.model_copy(update=size), "score": config.score.model_copy(update=size)}
    return config.model_copy(update={**sections, "generate": drawn})


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
    """A read of a shard's hypotheses by a process that has read one before; `shards` says how many were read."""
    ids = Invent(people).ids(Context(store, configured(size)))
    shards = [ids[at : at + size].to_pylist() for at in np.linspace(0, max(0, people - size), READS).astype(int)]
    read_hypotheses(store, generation, shards[0])
    with peaks() as peak:
        began, cpu = time.perf_counter(), time.process_time()
        rows = sum(read_hypotheses(store, generation, shard).hypotheses.betas[..., 0].size for shard in shards)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    place = "disk" if store.is_local else "S3"
    return Cost(place, people, READS, "one shard's read", rows, seconds, cpu, *peak, 0.0)


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
        told = {"machine": machine(), "shard": given.shard, "costs": [asdict(cost) for cost in found]}
        given.json.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


def child(url: str, people: str, shard: str) -> None:
    """What the process of its own does: a line for each cost."""
    for cost in measure(url, int(people), int(shard)):
        print(json.dumps(asdict(cost)), flush=True)


if __name__ == "__main__":
    # under its own name, as Ray's workers know it
    from tests.benchmarks import scale

    scale.child(*sys.argv[2:]) if sys.argv[1:2] == ["--child"] else scale.main()
