"""What a training worker does: build the recipe, go on from the last checkpoint, train, leave the model in the store.

Ray Train calls `on_ray` in each worker; `train` is the work itself, and knows nothing of Ray. Worker and driver inform
each other through files in the run's folder of the store, which outlives them both. The checkpoint is
such a file too, and not one of Ray's: those hang on a list that Ray rewrites in place, and a kill in that moment would
end the run.
"""

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import ray.train
import ray.train.torch
import torch

from infra import faults
from models.checkpoints.ours import Kind
from models.lora import merged
from schemas.config.networks import PolicyConfig, ScorerConfig
from schemas.config.optimiser import OptimiserConfig
from schemas.errors import DamagedError, EngineError
from schemas.ids import ModelDigest
from tasks.engine.loop import Recipe, Training, from_first_worker, rank
from tasks.engine.numerics import fixed_numerics
from tasks.engine.run_folder import RunFolder
from tasks.rows.models import SavedModel, save_model

History = list[tuple[int, dict[str, float]]]
"""Points of the training curves: step and figures."""
CHECKPOINT, RESUMED = "checkpoint.pt", "resumed.json"
_ANEW = "the training begins anew."


Builder = Callable[[RunFolder, torch.device], Recipe]
"""Makes the recipe. It travels to the workers, so it is a function of a module, or a part of one."""


@dataclass(frozen=True)
class Job:
    """A training, as plain values that travel to the workers."""

    stage: str
    run: RunFolder
    build: Builder
    optimiser: OptimiserConfig
    kind: Kind
    network: PolicyConfig | ScorerConfig
    parents: tuple[ModelDigest, ...] = ()
    threads: int = 1
    on_gpu: bool = False


@dataclass(frozen=True)
class Result:
    """What a finished training leaves in its run folder."""

    model: SavedModel
    history: History = field(default_factory=list)

    def write(self, run: RunFolder) -> None:
        """Keep it as result.json."""
        run.write_json("result.json", {"model": asdict(self.model), "history": self.history})

    @staticmethod
    def read(run: RunFolder) -> "Result | None":
        """The result of a training that is over but whose stage was not committed; None if it isn't over, or if the
        file is damaged: then its last steps are done again."""
        raw = run.undamaged(lambda: run.read_json("result.json"), "the training goes on from its last checkpoint.")
        if raw is None:
            return None
        model = SavedModel(**{**raw["model"], "parents": tuple(raw["model"]["parents"])})
        return Result(model, [(step, figures) for step, figures in raw["history"]])


def train(job: Job, device: torch.device, *, tell: Callable[[], None] = lambda: None) -> Result | None:
    """The whole training, from the run's checkpoint or from the start; `tell` is called before each checkpoint.

    Of a group, the first worker keeps checkpoints, model and result, and the others return None: their weights are
    the same bits, but the running statistics of batch normalisation are of their own shares of the batches.
    """
    with fixed_numerics(job.threads):
        return _train(job, device, tell)


def _train(job: Job, device: torch.device, tell: Callable[[], None]) -> Result | None:
    first_worker = rank() == 0
    if first_worker:
        job.run.say(0, "preparing")
    training = Training(job.build(job.run, device), job.optimiser)
    history: History = []
    # one reads for all, or a checkpoint that is written meanwhile could be missed by some
    checkpoint = from_first_worker(lambda: job.run.undamaged(lambda: _checkpoint(job.run), _ANEW), device)
    if checkpoint is not None:
        state = torch.load(io.BytesIO(checkpoint), map_location=device, weights_only=True)
        training.resume(state)
        history = [(step, dict(figures)) for step, figures in state["history"]]
        if first_worker:
            job.run.say(training.step, f"resumed at step {training.step}")
            if not resumed_at(job.run):  # else a worker of this very run has, and died since
                job.run.write_json(RESUMED, {"step": training.step}, lasting=False)

    def report(step: int, figures: Mapping[str, float], state: Callable[[], dict[str, Any]] | None) -> None:
        if first_worker:
            history.append((step, dict(figures)))
            job.run.say(step, f"loss {figures['loss']:.3f}", figures)
        if first_worker and state is not None:
            tell()
            whole = {**state(), "history": history}
            job.run.write_by(CHECKPOINT, partial(torch.save, whole))
        faults.reach(f"train:step:{step}")

    training.run(report)
    if not first_worker:
        return None
    last = {f"training_{name}": value for name, value in history[-1][1].items()} if history else {}
    measured = {"training_steps": float(training.step), **last}
    saved = save_model(job.run.store, job.kind, merged(training.averaged), job.network, job.parents, measured)
    faults.reach(f"trained:{job.stage}")
    result = Result(saved, history)
    result.write(job.run)
    return result


def resumed_at(run: RunFolder) -> int:
    """The step from which the run went on that ended the training; 0 where it did all of it, or it isn't known."""
    word = run.undamaged(lambda: run.read_json(RESUMED), "the time of a step is not known.")
    return int(word["step"]) if word else 0


def _checkpoint(run: RunFolder) -> bytes | None:
    """The run's checkpoint, if there is one. DamagedError if it is no longer what was written."""
    data = run.read(CHECKPOINT)
    try:  # files of older versions have nothing but the sums of torch's archive to go by
        damaged = data is not None and zipfile.ZipFile(io.BytesIO(data)).testzip() is not None
    except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error, zlib.error, EOFError):
        damaged = True
    if damaged:
        raise DamagedError(f"{run.uri(CHECKPOINT)} is damaged: what torch wrote into it can't be read.")
    return data


def on_ray(config: Mapping[str, Any]) -> None:
    """The training loop of a Ray Train worker; `config["job"]` is the Job."""
    job: Job = config["job"]
    context = ray.train.get_context()
    device = ray.train.torch.get_device() if job.on_gpu else torch.device("cpu")
    try:
        train(job, device)
    except EngineError as error:
        # by a file: raised through Ray, it would be tried again to no avail and drown in tracebacks
        job.run.write_json("error.json", {"type": type(error).__name__, "text": str(error)})
        if context.get_world_size() > 1:
            raise  # the others wait for this one; only a failure ends them
