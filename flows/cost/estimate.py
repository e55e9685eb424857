"""What a plan will cost: an estimate for each stage that would run, as a range, and what the range comes from."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from flows.cost.rates import Rate, Rates, measured
from flows.cost.work import Work, Workload
from flows.run.dry import Look, Pending
from infra.stages import records
from infra.tables import read
from schemas.config.engine import RayConfig
from schemas.config.optimiser import OptimiserConfig
from schemas.digests import canonical_json
from schemas.errors import DamagedError
from schemas.ids import ModelDigest
from tasks.clean.given import GivenLabels
from tasks.engine.context import Context
from tasks.engine.run_folder import LOOK_SECONDS_ON_S3, RunFolder
from tasks.engine.stage import ShardedStage, Stage, TrainingStage
from tasks.ingest.annotated import IngestAnnotations
from tasks.rows.models import has_model, model_path
from tasks.stages.clean import PseudoLabel
from tasks.stages.draw import Draw, kept_of_each
from tasks.stages.import_model import ImportModel

_IN_CHECKPOINT: Final = 4
"""Times that a checkpoint has the bytes of a network: weights, average and Adam's two."""
_REQUESTS_OF_SHARD: Final = (10, 60)
"""Requests on S3 of a shard: its files and receipt are put, and what it reads is looked up, opened and fetched;
`make bench-scale ARGS=--s3` has counted 10 to 53."""
_REQUESTS_OF_COMMIT: Final = (40, 200)
"""Of a stage beside its shards: logs are looked at and written, receipts read, statistics merged."""


@dataclass(frozen=True)
class Range:
    """From the least to the most."""

    least: float
    most: float

    def __add__(self, other: "Range") -> "Range":
        return Range(self.least + other.least, self.most + other.most)

    def times(self, factor: float) -> "Range":
        """Both ends as many times."""
        return Range(self.least * factor, self.most * factor)


NOTHING: Final = Range(0, 0)


@dataclass(frozen=True)
class Cost:
    """What a stage, or several, will take. None: not known."""

    title: str
    seconds: Range | None
    gpu_seconds: Range | None
    bytes: float | None
    requests: Range
    by: str = ""
    """What its time comes from: "store" or "table", for several also "both"; empty where it is not known."""


@dataclass(frozen=True)
class Estimate:
    """The stages that would run, and all of them together; `unknown` names those whose time is in no sum."""

    stages: tuple[Cost, ...]
    together: Cost
    unknown: tuple[str, ...]


def estimate(
    context: Context, looks: Iterable[Look], stages: Mapping[str, Stage], models: Iterable[ModelDigest]
) -> Estimate:
    """The costs of those of the `looks` that are to run or to go on. `models` are those that the campaign works with,
    as far as they are there."""
    workload, costs = Workload(context), []
    rates = _rates(context, models)
    for look in looks:
        stage = stages.get(look.title)
        if look.verdict == "reuse":
            continue
        work = Work(1, 1) if stage is None else workload.of(stage, look.title)
        costs.append(_cost(context, look, stage, work, rates))
    return Estimate(tuple(costs), _together(costs), tuple(cost.title for cost in costs if cost.seconds is None))


def _rates(context: Context, models: Iterable[ModelDigest]) -> Rates:
    store, config = context.store, context.config
    rows = read(store, "models", columns=["digest", "config_json"]).to_pylist()
    networks = {row["digest"]: row["config_json"] for row in rows}
    wanted = {networks[digest] for digest in models if digest in networks}
    wanted |= {canonical_json(network) for network in (config.policy, config.scorer)}
    return Rates(records(store), networks, wanted)


def _cost(context: Context, look: Look, stage: Stage | None, work: Work | None, rates: Rates) -> Cost:
    name = look.title.partition(" (")[0]
    ray = context.config.ray
    gpus, device = 0.0, "cpu"
    if isinstance(stage, TrainingStage):
        gpus = ray.trainers * ray.gpus_per_trainer
        device = "cuda" if gpus else "cpu"
    elif isinstance(stage, ShardedStage) and not stage.done_ahead:
        device = stage.device(context)
        gpus = _held(ray) if device == "cuda" else 0.0
    rate = rates.seen(name, device, _about(context, stage)) or measured(context.config.profile, name, device)
    shards = work.shards if work is not None else 1
    left = 1.0 if work is None else _left(context, look, stage, work)
    requests = Range(*_REQUESTS_OF_SHARD).times(left * shards) + Range(*_REQUESTS_OF_COMMIT)
    if rate is None or work is None:
        return Cost(look.title, None, None if gpus else NOTHING, _bytes(context, stage, work, rate), requests)
    seconds = Range(rate.least, rate.most).times(left * work.items)
    if isinstance(stage, TrainingStage):
        requests += _of_training(stage.settings(context).optimiser, work.items, seconds)
    written = _bytes(context, stage, work, rate)
    return Cost(
        look.title,
        seconds,
        seconds.times(gpus),
        written and written * left,
        requests,
        "store" if rate.seen else "table",
    )


def _left(context: Context, look: Look, stage: Stage | None, work: Work) -> float:
    """The share that is to be done of a stage, which an earlier run may have begun."""
    if look.verdict != "resume" or look.key is None:
        return 1.0
    if not isinstance(stage, TrainingStage):
        return max(0.0, 1 - len(context.store.whole_files(f"shards/{look.key}")) / work.shards)
    optimiser = stage.settings(context).optimiser
    try:
        word = RunFolder.of(context.store, stage.name, look.key).read_json("progress.json")
    except DamagedError:
        return 1.0
    step = int(word["step"]) if word else 0
    kept = step if step == optimiser.steps else step - step % optimiser.checkpoint_every  # it goes on at its checkpoint
    return 1 - kept / optimiser.steps


def _held(ray: RayConfig) -> float:
    """GPUs that the actors of a stage hold: where their number is open, one GPU is full of them."""
    each = ray.gpus_per_actor
    return each * (ray.actors or max(1, int((1 + 1e-9) / each)))


def _of_training(optimiser: OptimiserConfig, steps: int, seconds: Range) -> Range:
    """Requests on S3 of a training: it says how far it is and keeps checkpoints, and the driver looks what it says."""
    words = steps / optimiser.report_every + steps / optimiser.checkpoint_every
    return seconds.times(1 / LOOK_SECONDS_ON_S3) + Range(words, words)


def _about(context: Context, stage: Stage | None) -> Mapping[str, Any] | None:
    """What the stage's key says of the configuration, whatever it waits for; None where it says what a source holds."""
    if stage is None or isinstance(stage, IngestAnnotations | ImportModel | GivenLabels):
        return None
    about = stage.key_config(context)
    return about if isinstance(about, Mapping) else None


def _bytes(context: Context, stage: Stage | None, work: Work | None, rate: Rate | None) -> float | None:
    """What a stage writes."""
    if work is None:
        return None
    if isinstance(stage, TrainingStage):
        size = max((_size(context, digest) for digest in stage.models(context)), default=0)
        checkpoints = max(1, work.items // stage.settings(context).optimiser.checkpoint_every)
        return size * (1 + _IN_CHECKPOINT * checkpoints) if size else None
    if isinstance(stage, Draw) and not (rate is not None and rate.seen):
        each = {part: measured(context.config.profile, part, "cpu") for part in ("generate", "score")}
        rows = {"generate": work.units * kept_of_each(context.config), "score": work.items}
        return sum(known.bytes * rows[part] for part, known in each.items() if known is not None)
    by_file = measured(context.config.profile, "report" if stage is None else stage.name, "cpu")
    for known in (rate, by_file):  # pictures and pages are files beside the tables, which no record counts
        if known is not None and known.bytes:
            # of the hypotheses that are drawn for a label one is written
            one_of_several = isinstance(stage, PseudoLabel) and not known.seen
            return known.bytes * (work.units if one_of_several else work.items)
    return None


def _size(context: Context, digest: ModelDigest) -> int:
    if isinstance(digest, Pending) or not has_model(context.store, digest):
        return 0
    return context.store.size(model_path(digest))


def _together(costs: list[Cost]) -> Cost:
    """All of them. A training and its control may run side by side, or one after the other."""
    known = [cost for cost in costs if cost.seconds is not None]
    seconds, gpu = NOTHING, NOTHING
    for cost in known:
        assert cost.seconds is not None
        seconds += cost.seconds
    beside = sum(cost.seconds.least for cost in _controls(known) if cost.seconds is not None)
    for cost in known:
        gpu += cost.gpu_seconds or NOTHING
    requests, sources = NOTHING, {cost.by for cost in known}
    for cost in costs:
        requests += cost.requests
    return Cost(
        "in sum",
        Range(seconds.least - beside, seconds.most),
        gpu,
        sum(cost.bytes or 0 for cost in costs),
        requests,
        sources.pop() if len(sources) == 1 else "both" if sources else "",
    )


def _controls(costs: list[Cost]) -> Iterator[Cost]:
    """Those that may run beside another: the control of align, and every second training of a cleaning round."""
    yield from (cost for cost in costs if cost.title == "align (random pairs)")
    yield from [cost for cost in costs if cost.title.startswith("train_clean")][1::2]
