"""A training as a stage: found if it was done, resumed if it was begun, run on Ray Train, committed once."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import pyarrow as pa
import ray
import ray.exceptions
import ray.train
import ray.train.torch
import torch
from ray.train.v2.api.config import FailureConfig  # ray.train has it as well, but types know the older one there

from infra import faults
from infra.begun import note_begin, note_end
from infra.ray_session import check_resources, lacking
from infra.repair import find_or_mend, retire
from infra.shards import forget
from infra.shared_store import ray_storage, session_for
from infra.stages import StageSpec, commit_rows, find, now
from infra.tracking.tracking import Tracked, Tracking
from models.checkpoints.ours import Kind
from schemas import errors
from schemas.config.engine import RayConfig
from schemas.config.networks import PolicyConfig, ScorerConfig
from schemas.config.optimiser import OptimiserConfig
from schemas.digests import canonical_json
from schemas.errors import DamagedError, EngineError
from schemas.ids import ModelDigest, StageKey
from schemas.progress import Progress
from schemas.tables import build as build_table
from tasks.engine.context import Context
from tasks.engine.results import StageResult
from tasks.engine.run_folder import RunFolder, seconds_between_looks
from tasks.engine.training_worker import RESUMED, Builder, History, Job, Result, on_ray, resumed_at, train
from tasks.rows.models import has_model, model_of, model_rows


def train_stage(
    context: Context,
    spec: StageSpec,
    build: Builder,
    *,
    kind: Kind,
    network: PolicyConfig | ScorerConfig,
    optimiser: OptimiserConfig,
    threads: int,
    parents: tuple[ModelDigest, ...] = (),
) -> StageResult:
    """Train what `build(run_folder, device)` makes, and commit the averaged weights and the curves.

    `threads` is what torch may use in each training worker; it must be part of the key, as it reaches the last bits.
    A run that was killed goes on from its last checkpoint and ends with the same bits. Raises EngineError for a loss
    that is no number, for bad data, and when a worker died more often than `ray.train_retries`; ConfigError if Ray
    has too little to give.
    """
    store, progress, settings = context.store, context.progress, context.config.ray
    run = RunFolder.of(store, spec.name, spec.key)
    if _is_done(context, spec):
        return _reuse(context, spec, run)
    started_at = now()
    job = Job(spec.name, run, build, optimiser, kind, network, parents, threads, settings.gpus_per_trainer > 0)
    progress.begin(spec.name, optimiser.steps, "steps")
    note_begin(store, spec, optimiser.steps, "steps")
    faults.reach(f"begin:{spec.name}")
    result = Result.read(run)
    done_share = 1.0 if result is None else 0.0
    for warning in run.warnings:
        progress.say(f"{spec.name}: {warning}")
    with _tracking(context, spec) as tracking:
        if result is None:
            run.remove("progress.json")
            run.remove(RESUMED)
            tell = _teller(run, spec.name, progress, tracking)
            result = (
                train(job, torch.device("cpu"), tell=tell)
                if context.in_process
                else _on_ray(job, settings, tell, progress.say)
            )
            if result is not None:
                done_share = 1 - resumed_at(run) / optimiser.steps
        if result is not None:  # of a run that was killed before its commit, too: its trackers may not know
            tracking.end(result.history, result.model.digest)
    if result is None:
        if find(store, spec.key) is not None:  # another process did the same training, and was first
            return _reuse(context, spec, run)
        raise EngineError(
            f"Stage {spec.name}: training ended without a model, and {store.uri(run.ray_folder)} says nothing of why. "
            "Run again to go on from the last checkpoint."
        )
    tables = {"models": model_rows(result.model, spec.key), "curves": _curves(result.history, spec.key)}
    device = "cuda" if settings.gpus_per_trainer else "cpu"
    record = commit_rows(store, spec, tables, started_at=started_at, device=device, done_share=done_share)
    note_end(store, spec)
    progress.end(spec.name, f"model {result.model.digest[:12]}{_ends(result.history)}")
    store.remove_folder(run.ray_folder)
    return StageResult(record, reused=False)


def _is_done(context: Context, spec: StageSpec) -> bool:
    """Whether the training is finished, its rows are whole and its model's file is there."""
    if find_or_mend(context.store, spec, context.progress.say) is None:
        return False
    digest = model_of(context.store, spec.key)
    if has_model(context.store, digest):
        return True
    context.progress.say(f"{spec.name}: the file of its model {digest[:12]} is gone, so it is trained again")
    retire(context.store, spec.key)
    forget(context.store, spec.key, 0)  # where numbers may differ from time to time, the row must name the new file
    return False


def _reuse(context: Context, spec: StageSpec, run: RunFolder) -> StageResult:
    record = find(context.store, spec.key)
    assert record is not None
    digest = model_of(context.store, spec.key)
    context.progress.say(f"{spec.name}: reused, model {digest[:12]} ({spec.key[:12]})")
    context.store.remove_folder(run.ray_folder)  # a run may have been killed before it did
    return StageResult(record, reused=True)


def _on_ray(job: Job, settings: RayConfig, tell: Callable[[], None], say: Callable[[str], None]) -> Result | None:
    run = job.run
    run.remove("error.json")
    alone = settings.trainers == 1 and not job.on_gpu
    with session_for(run.store, settings, job.threads):
        check_resources(settings.of_trainer, settings.trainers)
        if held := lacking(settings.of_trainer):
            say(f"{job.stage}, waiting for Ray: {held} ...")
        failure = (_in_kept_process if alone else _in_group)(job, settings, tell)
    problem = run.read_json("error.json")
    if problem is not None:
        raise getattr(errors, problem["type"], EngineError)(f"Stage {job.stage}: {problem['text']}")
    result = Result.read(run)
    if result is None and failure is not None:
        raise EngineError(
            f"Stage {job.stage}: the training failed, and {settings.train_retries} more tries are all that a worker "
            f"that dies is given. The last error: {_reason(failure)}. Run again to go on from the last checkpoint. If "
            "a worker was killed for want of memory, make the batch smaller."
        ) from failure
    return result


def _in_kept_process(job: Job, settings: RayConfig, tell: Callable[[], None]) -> Exception | None:
    """Ray Train's local mode, in a task; gives the error that remained.

    One worker needs no group, whose half dozen processes take a quarter of a minute of two cores to start: it trains
    in a process that Ray kept from earlier stages, with its libraries loaded. A task whose process dies is tried again.
    """
    task = ray.remote(_fit_here).options(num_cpus=settings.cpus_per_trainer, max_retries=settings.train_retries)
    running = task.remote(job, settings)
    while not ray.wait([running], timeout=seconds_between_looks(job.run.store))[0]:
        tell()
    tell()
    try:
        ray.get(running)
    except ray.exceptions.RayError as error:
        return error
    return None


def _fit_here(job: Job, settings: RayConfig) -> None:
    _trainer(job, settings, workers=0).fit()


def _in_group(job: Job, settings: RayConfig, tell: Callable[[], None]) -> Exception | None:
    """A group of Ray Train's workers, which it starts again if one dies; gives the error that remained."""
    try:
        _fit(_trainer(job, settings, settings.trainers), tell, seconds_between_looks(job.run.store))
    except (ray.train.TrainingFailedError, ray.exceptions.RayError) as error:
        return error
    return None


def _fit(trainer: ray.train.torch.TorchTrainer, tell: Callable[[], None], every: float) -> None:
    """Fit in a thread of its own, and call `tell` every so many seconds meanwhile.

    In the main thread Ray would take over Ctrl-C, for the rest of the process, and end it as if all were well.
    """
    executor = ThreadPoolExecutor(1, "training")
    fitted = executor.submit(trainer.fit)
    executor.shutdown(wait=False)
    while not fitted.done():
        wait([fitted], timeout=every)
        tell()
    fitted.result()


def _trainer(job: Job, settings: RayConfig, workers: int) -> ray.train.torch.TorchTrainer:
    path, filesystem = ray_storage(job.run.store)
    return ray.train.torch.TorchTrainer(
        on_ray,
        train_loop_config={"job": job},
        scaling_config=ray.train.ScalingConfig(
            num_workers=workers, use_gpu=job.on_gpu, resources_per_worker=settings.of_trainer
        ),
        run_config=ray.train.RunConfig(
            name=job.run.name,
            storage_path=path,
            storage_filesystem=filesystem,
            failure_config=FailureConfig(
                max_failures=settings.train_retries, controller_failure_limit=settings.train_retries
            ),
        ),
    )


def _tracking(context: Context, spec: StageSpec) -> Tracking:
    """Where the curves are shown, beside the engine's own pages."""
    title = getattr(context.progress, "title", spec.name)
    settings = json.loads(canonical_json(spec.config))
    tracked = Tracked(context.store, context.campaign or "no-campaign", context.partition, title, spec.key, settings)
    return Tracking(context.config.tracking, tracked, context.progress.say)


def _teller(run: RunFolder, stage: str, progress: Progress, tracking: Tracking) -> Callable[[], None]:
    """A function that reports what is new since its last call. A step that a resumed run repeats counts once."""
    last: dict[str, Any] = {"step": 0, "note": "", "warnings": list(run.warnings)}

    def tell() -> None:
        try:
            word = run.read_json("progress.json")
        except DamagedError:  # the next word of the training comes soon
            return
        if word is None:
            return
        for warning in word.get("warnings", [])[len(last["warnings"]) :]:
            progress.say(f"{stage}: {warning}")
        if word != last:
            progress.advance(stage, max(0, word["step"] - last["step"]), word["note"])
            if "figures" in word:
                tracking.point(word["step"], word["figures"])
            last.update(word, step=max(last["step"], word["step"]))
            faults.reach(f"train:{stage}")

    return tell


def _curves(history: History, key: StageKey) -> pa.Table:
    points = [(name, step, value) for step, figures in history for name, value in sorted(figures.items())]
    columns = {name: [point[place] for point in points] for place, name in enumerate(("series", "step", "value"))}
    return build_table("curves", {**columns, "stage_key": key})


def _ends(history: History) -> str:
    if not history:
        return ""
    return f", loss {history[0][1]['loss']:.3f} to {history[-1][1]['loss']:.3f}"


def _reason(error: Exception) -> str:
    """What the worker itself raised: the first sentence of the last line of the traceback that Ray reports."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].split(". ")[0].rstrip(".") if lines else type(error).__name__
