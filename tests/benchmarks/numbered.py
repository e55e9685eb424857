"""Stages over invented people, as they are but for their models, which give a number for an answer: for measuring.

Crops have a few pixels, and hypotheses differ by little, so that files are smaller than real ones.
"""

import io
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from infra.shards import Shard
from infra.standing import INGEST
from schemas.config.engine import EngineConfig
from schemas.ids import ModelDigest, Target, image_id, instance_id
from schemas.profiles import tiny
from schemas.tables import build
from tasks.engine.context import Context
from tasks.engine.results import ShardOutput
from tasks.engine.stage import ShardedStage
from tasks.engine.worker import ModelWorker
from tasks.generate import GenerateWorker, HypothesisSampler
from tasks.rows.hypotheses import Hypotheses
from tasks.rows.scores import Scored
from tasks.score import HypothesisScorer, ScoreWorker
from tasks.stages.generate import Generate
from tasks.stages.score import Score

HYPOTHESES = 20
TARGET = Target("invented", "train")
MODEL = ModelDigest("0" * 64)
_PIXELS = 8
_PART = 10_000
"""Names that are objects at a time: all of them would be what the benchmark measures."""


def _name(number: int) -> str:
    return instance_id(image_id(*TARGET, f"{number:08d}"), 0)


@dataclass(frozen=True)
class Invent(ShardedStage):
    """People that nobody has seen -> tables `instances`, `labels`."""

    people: int

    name = INGEST
    writes = ("instances", "labels")

    def key_config(self, context: Context) -> Mapping[str, Any]:
        return {"invented": self.people}

    def ids(self, context: Context) -> pa.StringArray:
        parts = (range(start, min(start + _PART, self.people)) for start in range(0, self.people, _PART))
        return pa.concat_arrays([pa.array([_name(number) for number in part], pa.string()) for part in parts])

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


class _NumberSampler(HypothesisSampler):
    """In a policy's place."""

    def __init__(self) -> None:
        self.samples = list(range(HYPOTHESES))

    def __call__(
        self, ids: Sequence[str], crops: np.ndarray, crop_intrinsics: np.ndarray, root_depth: np.ndarray
    ) -> Hypotheses:
        uvd = np.linspace(-0.5, 0.5, HYPOTHESES * 87, dtype=np.float32).reshape(1, HYPOTHESES, 29, 3)
        number = np.array([zlib.crc32(name.encode()) for name in ids]) / 2**33
        uvd = uvd + number.astype(np.float32)[:, None, None, None]
        twists = np.zeros((len(ids), HYPOTHESES, 23, 2), np.float32)
        betas = np.zeros((len(ids), HYPOTHESES, 10), np.float32)
        return Hypotheses(uvd, twists, betas, np.repeat(root_depth[:, None], HYPOTHESES, 1))


class NumberedGenerate(Generate):
    """Generate, without a policy."""

    def worker(self, context: Context) -> GenerateWorker:
        worker = GenerateWorker.__new__(GenerateWorker)
        ModelWorker.__init__(worker, context)
        worker.stage, worker.key, worker.draw = self, self.key(context), _NumberSampler()
        return worker


class NumberedScore(Score):
    """Score, without a scorer."""

    def worker(self, context: Context) -> ScoreWorker:
        worker = ScoreWorker.__new__(ScoreWorker)
        ModelWorker.__init__(worker, context)
        worker.stage, worker.score = self, _NumberScorer()
        return worker


class _NumberScorer(HypothesisScorer):
    """In a scorer's place."""

    def __init__(self) -> None:
        pass

    def of(self, crops: np.ndarray, uvd: np.ndarray, twists: np.ndarray, betas: np.ndarray | None = None) -> Scored:
        return Scored(0.5 + uvd.mean((2, 3), np.float64) / 4)


def configured(shard: int) -> EngineConfig:
    """`tiny` with shards of that many people."""
    config, size = tiny(), {"shard_size": shard}
    drawn = config.generate.model_copy(update={"hypotheses": HYPOTHESES, **size})
    sections = {"ingest": config.ingest.model_copy(update=size), "score": config.score.model_copy(update=size)}
    return config.model_copy(update={**sections, "generate": drawn})
