"""Timings, side by side: `make bench`, or `python -m tests.benchmarks [--json FILE]`.

What counts is the ratio within a group: times depend on the machine, and nothing here is asserted. Models have the
sizes of the profile `tiny` (its body too) and random weights; all data are invented. One thread, as in a worker.
`10 x 20` means 10 images with 20 hypotheses each.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from rich.console import Console
from rich.table import Table

from infra.shards import Tally, cut, write_shard
from infra.stages import StageSpec
from infra.store import Store
from models.bodies import load_body
from models.hmr_scorer import HMRScorer
from models.policy import Policy
from models.recovery import recover_body
from schemas.config.stages import ScoreConfig
from schemas.profiles import tiny
from schemas.tables import build
from tasks.rows.crops import crop_tensor
from tasks.score import HypothesisScorer
from tests.benchmarks.pair_files import InventedPairs, names, poses
from tests.benchmarks.surroundings import surroundings

CONFIG = tiny()
IMAGES, HYPOTHESES, PAIRS, BODIES = 10, 20, 10_000, 1_000
DRAW = np.random.default_rng(0)


@dataclass(frozen=True)
class Timing:
    """One line of the table."""

    group: str
    way: str
    unit: str
    value: float
    """Median, milliseconds a unit."""
    ratio: float
    """Over the first line of its group."""


def group(name: str, unit: str, ways: Mapping[str, tuple[Callable[[], object], int]], repeats: int = 5) -> list[Timing]:
    """Time each way (a function, and how many units one call does), one after the other, `repeats` times over."""
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for repeat in range(repeats + 1):
        for way, (function, _) in ways.items():
            began = time.perf_counter()
            function()
            if repeat:  # the first one only warms up
                seconds[way].append(time.perf_counter() - began)
    medians = {way: 1000 * statistics.median(seconds[way]) / units for way, (_, units) in ways.items()}
    first = next(iter(medians.values()))
    return [Timing(name, way, unit, median, median / first) for way, median in medians.items()]


def pictures() -> np.ndarray:
    size = CONFIG.ingest.crop_size_px
    return DRAW.integers(0, 256, (IMAGES, size, size, 3), dtype=np.uint8)


@torch.no_grad()
def sampling() -> list[Timing]:
    policy = Policy(CONFIG.policy).eval()
    crops = crop_tensor(pictures(), torch.device("cpu"))
    noise = torch.from_numpy(DRAW.standard_normal((IMAGES, HYPOTHESES, 133), dtype=np.float32))

    def folded() -> None:
        policy.sample(policy.encode(crops)[0], noise)

    def by_image() -> None:
        for row in range(IMAGES):
            policy.sample(policy.encode(crops[row : row + 1])[0], noise[row : row + 1])

    def by_hypothesis() -> None:
        for row in range(IMAGES):
            context, _ = policy.encode(crops[row : row + 1])
            for sample in range(HYPOTHESES):
                policy.sample(context, noise[row : row + 1, sample : sample + 1])

    count = IMAGES * HYPOTHESES
    ways = {
        "all in one call": (folded, count),
        "one image at a time": (by_image, count),
        "one hypothesis at a time": (by_hypothesis, count),
    }
    return group(f"sampling {IMAGES} x {HYPOTHESES}", "ms/hypothesis", ways)


def scoring() -> list[Timing]:
    scorer, crops, given = HMRScorer(CONFIG.scorer), pictures(), poses(DRAW, IMAGES, HYPOTHESES)
    ways = {}
    for way, mirror in (("as it is", False), ("and mirrored", True)):
        judge = HypothesisScorer(scorer, ScoreConfig(mirror=mirror))
        ways[way] = (lambda judge=judge: judge(crops, *given), IMAGES * HYPOTHESES)
    return group(f"scoring {IMAGES} x {HYPOTHESES}", "ms/hypothesis", ways)


def reading(folder: Path) -> list[Timing]:
    """Winners and losers as arrays, from the table `pairs` and from a JSON file with the published fields."""
    given = InventedPairs(folder, PAIRS, DRAW)
    ways = {"Delta table": (given.from_table, PAIRS), "JSON file": (given.from_json, PAIRS)}
    return group(f"reading {PAIRS:,} pairs", "ms/pair", ways, repeats=3)


@torch.no_grad()
def recovering() -> list[Timing]:
    """Inverse kinematics and mesh."""
    body = load_body("tiny")
    uvd, twists = (torch.from_numpy(part) for part in poses(DRAW, BODIES))
    size = CONFIG.ingest.crop_size_px
    camera = torch.tensor([1.2 * size, 1.2 * size, size / 2, size / 2]).expand(BODIES, 4)
    betas, depth = torch.zeros(BODIES, 10), torch.full((BODIES,), 4.0)

    def in_parts(part: int, count: int = BODIES) -> Callable[[], None]:
        def recover() -> None:
            for start in range(0, count, part):
                rows = slice(start, start + part)
                recover_body(body, uvd[rows], twists[rows], betas[rows], camera[rows], size, depth[rows])

        return recover

    ways = {
        "all in one call": (in_parts(BODIES), BODIES),
        "100 at a time": (in_parts(100), BODIES),
        "one at a time": (in_parts(1, 50), 50),
    }
    return group(f"IK and mesh, {BODIES:,}", "ms/hypothesis", ways)


def writing(folder: Path) -> list[Timing]:
    """Hypotheses on disk: with the protocol of shards, and as a bare file."""
    images = 250
    ids, count = names(images), images * HYPOTHESES
    uvd, twists = poses(DRAW, count)

    def rows(key: str, start: int, end: int) -> pa.Table:
        few = (end - start) * HYPOTHESES
        part = slice(start * HYPOTHESES, end * HYPOTHESES)
        columns = {
            "generation_id": key,
            "instance_id": [name for name in ids[start:end] for _ in range(HYPOTHESES)],
            "sample_index": list(range(HYPOTHESES)) * (end - start),
            "dataset": "invented",
            "split": "train",
            "round": 0,
            "uvd": uvd[part].reshape(few, -1),
            "twist": twists[part].reshape(few, -1),
            "betas": np.zeros((few, 10), np.float32),
            "root_depth_m": np.full(few, 4.0),
            "root_depth_source": "label",
            "stage_key": key,
        }
        return build("hypotheses", columns)

    store, fresh = Store.open(folder / "shards"), iter(range(10**6))

    def shards(size: int) -> Callable[[], None]:
        def write() -> None:
            key = StageSpec("invented", 1, {"again": next(fresh)}).key  # under a key that is known nothing is written
            for shard in cut(ids, size):
                table = rows(key, shard.index * size, shard.index * size + len(shard.ids))
                write_shard(store, key, shard, {"hypotheses": table}, Tally(ok=len(shard.ids)))

        return write

    def bare() -> None:
        pq.write_table(rows("k", 0, images), folder / "bare.parquet", compression="zstd")

    ways = {
        "a bare Parquet file": (bare, count),
        "one shard": (shards(images), count),
        "25 shards": (shards(10), count),
    }
    return group(f"writing {count:,} hypotheses", "ms/hypothesis", ways)


def groups(folder: Path) -> Iterator[list[Timing]]:
    """All groups, one after the other."""
    yield sampling()
    yield scoring()
    yield reading(folder)
    yield recovering()
    yield writing(folder)


def main() -> None:
    """Measure, print, and write JSON if asked."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description="Timings, side by side.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the same numbers to FILE")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    where = surroundings()
    table = Table("what", "way", "median", "unit", "ratio", title="Side by side; one thread", title_justify="left")
    for column in (2, 4):
        table.columns[column].justify = "right"
    timings: list[Timing] = []
    with tempfile.TemporaryDirectory() as folder:
        for found in groups(Path(folder)):
            timings += found
            for place, line in enumerate(found):
                cells = (line.way, f"{line.value:.3g}", line.unit, f"{line.ratio:.2f}")
                table.add_row("" if place else line.group, *cells, end_section=place + 1 == len(found))
    console = Console()
    console.print(table)
    console.print(", ".join(f"{name} {value}" for name, value in where.items()), highlight=False)
    if arguments.json:
        told = {"machine": where, "timings": [asdict(line) for line in timings]}
        arguments.json.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
