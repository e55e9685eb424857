"""What a training worker does: build the recipe, go on from the last checkpoint, train, leave the model in the store.

Ray Train calls `on_ray` in each worker; `train` is the same work without Ray. Worker and driver tell each other what
they must through small files in the run's folder of the store, which outlives them both.
"""

import json
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch

from infra import faults
from infra.store import Store
from models.checkpoints import Kind
from schemas.config.networks import PolicyConfig, ScorerConfig
from schemas.config.training import OptimiserConfig
from schemas.digests import canonical_json
from schemas.errors import EngineError, StoreError
from tasks.model_store import SavedModel, save_model
from tasks.training.loop import Recipe, Training

History = list[tuple[int, dict[str, float]]]
"""Points of the training curves: step and figures."""
_STATE = "state.pt"


@dataclass(frozen=True)
class RunFolder:
    """A training run's own files in the store, beside Ray's: progress, result, error, and what the builder keeps."""

    store: Store
    name: str

    @property
    def ray_folder(self) -> str:
        """All that belongs to the run, Ray's files included; below the store's root."""
        return f"ray/{self.name}"

    def say(self, step: int, note: str) -> None:
        """Tell the driver how far this is."""
        self.write("progress.json", canonical_json({"step": step, "note": note}).encode())

    def load_or_make(self, file: str, make: Callable[[], bytes]) -> bytes:
        """A file that is made once in a run's life, resumed or not."""
        kept = self.read(file)
        if kept is None:
            kept = make()
            self.write(file, kept)
        return kept

    def read(self, file: str) -> bytes | None:
        """The file's bytes, or None if it isn't there."""
        try:
            return self.store.read_bytes(self._path(file))
        except StoreError:  # not there
            return None

    def write(self, file: str, data: bytes) -> None:
        """Write a file, whole or not at all."""
        self.store.atomic_write(self._path(file), data)

    def remove(self, file: str) -> None:
        """Remove a file if it is there."""
        self.store.remove(self._path(file))

    def _path(self, file: str) -> str:
        return f"{self.ray_folder}/engine/{file}"


Builder = Callable[..., Recipe]
"""`build(run_folder, device, **args)` makes the recipe. A function of a module, with plain arguments: both travel."""


@dataclass(frozen=True)
class Job:
    """A training, as plain values that travel to the workers."""

    stage: str
    run: RunFolder
    build: Builder
    args: Mapping[str, Any]
    optimiser: OptimiserConfig
    kind: Kind
    network: PolicyConfig | ScorerConfig
    parents: tuple[str, ...] = ()
    threads: int = 1


@dataclass(frozen=True)
class Result:
    """What a finished training leaves in its run folder."""

    model: SavedModel
    history: History = field(default_factory=list)

    def write(self, run: RunFolder) -> None:
        """Keep it as result.json."""
        run.write("result.json", canonical_json({"model": asdict(self.model), "history": self.history}).encode())

    @staticmethod
    def read(run: RunFolder) -> "Result | None":
        """The result of a training that is over but whose stage was not committed; None if it isn't over."""
        data = run.read("result.json")
        if data is None:
            return None
        raw = json.loads(data)
        model = SavedModel(**{**raw["model"], "parents": tuple(raw["model"]["parents"])})
        return Result(model, [(step, figures) for step, figures in raw["history"]])


Keep = Callable[[int, Callable[[], dict[str, Any]]], None]
"""Called at each checkpoint with the step and a function that makes the state."""


def train(job: Job, device: torch.device, resume_from: Mapping[str, Any] | None, keep: Keep) -> Result:
    """The whole training, from `resume_from` (a state given to `keep`) or from the start; the model is saved.

    Threads and the handling of denormals are set for this process, because both reach the last bits of the weights.
    """
    torch.set_num_threads(job.threads)
    torch.set_flush_denormal(True)
    job.run.say(0, "preparing")
    training = Training(job.build(job.run, device, **job.args), job.optimiser)
    history: History = []
    if resume_from is not None:
        training.resume(resume_from)
        history = [(step, dict(figures)) for step, figures in resume_from["history"]]
        job.run.say(training.step, f"resumed at step {training.step}")
    began, first = time.monotonic(), training.step

    def report(step: int, figures: Mapping[str, float], state: Callable[[], dict[str, Any]] | None) -> None:
        history.append((step, dict(figures)))
        rate = (step - first) / max(time.monotonic() - began, 1e-9)
        job.run.say(step, f"loss {figures['loss']:.3f}, {rate:.1f} steps/s")
        if state is not None:
            keep(step, lambda: {**state(), "history": history})
        faults.reach(f"train:step:{step}")

    training.run(report)
    result = Result(save_model(job.run.store, job.kind, training.averaged, job.network, job.parents), history)
    result.write(job.run)
    return result


def on_ray(config: Mapping[str, Any]) -> None:
    """The training loop of a Ray Train worker; `config["job"]` is the Job."""
    job: Job = config["job"]
    rank, workers = ray.train.get_context().get_world_rank(), ray.train.get_context().get_world_size()

    def keep(step: int, state: Callable[[], dict[str, Any]]) -> None:
        # every worker must report equally often, but one checkpoint is enough
        if rank:
            ray.train.report({"step": step})
            return
        with tempfile.TemporaryDirectory() as folder:
            torch.save(state(), Path(folder) / _STATE)
            ray.train.report({"step": step}, checkpoint=ray.train.Checkpoint.from_directory(folder))

    device = ray.train.torch.get_device()
    try:
        train(job, device, _last_state(device), keep)
    except EngineError as error:
        # told by a file: raised through Ray, it would be tried again to no avail and drown in tracebacks
        job.run.write("error.json", canonical_json({"type": type(error).__name__, "text": str(error)}).encode())
        if workers > 1:
            raise  # the others wait for this one; only a failure ends them


def _last_state(device: torch.device) -> dict[str, Any] | None:
    """The state in the run's newest checkpoint; None at the start."""
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return None
    with checkpoint.as_directory() as folder:
        state: dict[str, Any] = torch.load(Path(folder) / _STATE, map_location=device, weights_only=True)
    return state
