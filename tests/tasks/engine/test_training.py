"""A training as a stage: committed once, found again, and the same bits with Ray, through kills, or without either."""

import io
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from ray.train.v2.api.exceptions import WorkerGroupError

from infra import faults
from infra.ray_session import ray_session
from infra.stages import StageSpec, find
from infra.store import Store
from infra.tables import read
from models.checkpoints.ours import from_bytes
from schemas.config.engine import EngineConfig
from schemas.config.networks import PolicyConfig
from schemas.config.training import TrainBaseConfig
from schemas.errors import DataError, EngineError
from schemas.progress import SilentProgress
from schemas.splits import SCORER_TRAIN, WILD_TRAIN
from tasks.engine import training as stage
from tasks.engine.context import Context
from tasks.engine.results import StageResult
from tasks.engine.run_folder import RunFolder
from tasks.engine.training import train_stage
from tasks.engine.training_worker import CHECKPOINT, Job, Result, resumed_at, train
from tasks.rows.crops import LabelledCrops
from tasks.rows.instances import labelled_crops
from tasks.rows.models import load_policy, model_of
from tasks.stages.training import TrainBase
from tasks.train.base import BaseRecipe
from tests.faults import small_commits
from tests.tasks import micro
from tests.tasks.conftest import MicroStore

ROOT = Path(__file__).resolve().parents[3]


class Heard(SilentProgress):
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.steps = 0

    def advance(self, stage: str, count: int = 1, note: str = "") -> None:
        self.steps += count

    def end(self, stage: str, note: str = "") -> None:
        self.lines.append(note)

    def say(self, text: str) -> None:
        self.lines.append(text)


def config(**changes: Any) -> EngineConfig:
    base = micro.CONFIG.train_base
    optimiser = base.optimiser.model_copy(update=changes)
    return micro.CONFIG.model_copy(update={"train_base": base.model_copy(update={"optimiser": optimiser})})


def context(store: Store, heard: Heard | None = None, in_process: bool = True, **changes: Any) -> Context:
    return Context(store, config(**changes), heard or Heard(), in_process=in_process)


def job(held: MicroStore, folder: str, **changes: Any) -> Job:
    settings, here = config(**changes), context(held.store, **changes)
    build, run = partial(TrainBase(micro.of(held.ingest_key)).recipe, here), RunFolder(held.store, folder)
    return Job("train_base", run, build, settings.train_base.optimiser, "policy", settings.policy)


def test_trained_once_and_found_again(micro_store: MicroStore) -> None:
    store, key, heard = micro_store.store, micro_store.ingest_key, Heard()
    here = context(store, heard)
    threads = torch.get_num_threads()
    first = TrainBase(micro.of(key)).run(here)
    assert torch.get_num_threads() == threads
    assert not first.reused
    assert first.key == TrainBase(micro.of(key)).spec(here).key
    assert heard.steps == 6
    digest = model_of(store, first.key)
    assert heard.lines[-1].startswith(f"model {digest[:12]}, loss ")
    assert load_policy(store, digest).config == micro.CONFIG.policy
    curves = read(store, "curves", stage_keys=[first.key]).to_pylist()
    assert {row["series"] for row in curves} == {"loss", "joints", "twists", "estimate"}
    assert sorted({row["step"] for row in curves}) == [2, 4, 6]
    assert store.list_files("ray") == []
    manifest = from_bytes(store.read_bytes(f"checkpoints/{digest}.safetensors")).manifest
    last = {row["series"]: row["value"] for row in curves if row["step"] == 6}
    assert manifest.metrics == {"training_steps": 6, **{f"training_{name}": value for name, value in last.items()}}
    again = TrainBase(micro.of(key)).run(here)
    assert again.reused
    assert again.record == first.record
    assert heard.lines[-1] == f"train_base: reused, model {digest[:12]} ({first.key[:12]})"


def test_trackers_hear_of_the_end_of_a_training_that_was_killed_before_its_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        """What a kill is for a test."""

    def die(*_: Any) -> None:
        raise Killed

    settings = small_commits.CONFIG.model_copy(update={"tracking": ("tensorboard",)})
    here, spec = Context(Store.open(tmp_path / "store"), settings, in_process=True), StageSpec("train_toy", 1, {})
    with monkeypatch.context() as dying:
        dying.setattr(stage.Tracking, "end", die)
        with pytest.raises(Killed):
            train_on(here, spec, small_commits.build_toy)
    assert find(here.store, spec.key) is None
    train_on(here, spec, small_commits.build_toy)
    (path,) = here.store.list_files("tracking")
    assert model_of(here.store, spec.key).encode() in here.store.read_bytes(path)


def test_what_decides_the_key(shared_micro_store: MicroStore) -> None:
    store, key = shared_micro_store.store, shared_micro_store.ingest_key
    plain = TrainBase(micro.of(key)).spec(context(store)).key
    assert TrainBase(micro.of(key)).spec(Context(store, config(), round=4)).key == plain
    assert TrainBase(micro.of(key)).spec(context(store, steps=7)).key != plain
    assert TrainBase(micro.of("0" * 64)).spec(context(store)).key != plain
    assert TrainBase(micro.of(key, SCORER_TRAIN)).spec(context(store)).key != plain
    more_threads = config().ray.model_copy(update={"threads_per_trainer": 2})
    assert TrainBase(micro.of(key)).spec(Context(store, config().model_copy(update={"ray": more_threads}))).key != plain
    more_actors = config().ray.model_copy(update={"actors": 9})
    assert TrainBase(micro.of(key)).spec(Context(store, config().model_copy(update={"ray": more_actors}))).key == plain
    more_trainers = config().ray.model_copy(update={"trainers": 2})
    assert (
        TrainBase(micro.of(key)).spec(Context(store, config().model_copy(update={"ray": more_trainers}))).key != plain
    )


def test_resumed_from_each_checkpoint_it_is_the_same_model_with_the_same_curves(micro_store: MicroStore) -> None:
    checkpoints: list[bytes | None] = []
    first = job(micro_store, "whole")
    whole = train(first, torch.device("cpu"), tell=lambda: checkpoints.append(first.run.read(CHECKPOINT)))
    before_the_first, *others = checkpoints
    assert before_the_first is None
    assert len(others) == 2
    for number, checkpoint in enumerate([*others, first.run.read(CHECKPOINT)]):
        again = job(micro_store, f"from-{number}")
        assert checkpoint is not None
        again.run.write(CHECKPOINT, checkpoint)
        assert train(again, torch.device("cpu")) == whole


class WithoutCheckpoint(RunFolder):
    """What a worker sees that looks before the checkpoint is there."""

    def read(self, file: str) -> bytes | None:
        return None if file == CHECKPOINT else super().read(file)


def member(rank: int, whole: Job, resumed: Job, checkpoint_of: int, meeting: str) -> None:
    """A worker of a group of two that trains, and trains again from a checkpoint that only the first one sees."""
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    checkpoints: list[bytes | None] = []
    first = train(whole, torch.device("cpu"), tell=lambda: checkpoints.append(whole.run.read(CHECKPOINT)))
    assert (first is None) == (rank == 1)
    if rank == 0:
        checkpoint = checkpoints[checkpoint_of]
        assert checkpoint is not None
        resumed.run.write(CHECKPOINT, checkpoint)
    else:
        assert checkpoints == [], "one worker keeps what all need"
        resumed = replace(resumed, run=WithoutCheckpoint(resumed.run.store, resumed.run.name))
    dist.barrier()
    train(resumed, torch.device("cpu"))
    dist.destroy_process_group()


@pytest.mark.slow
def test_a_group_goes_on_from_one_checkpoint_and_leaves_one_result(micro_store: MicroStore, tmp_path: Path) -> None:
    whole, resumed = job(micro_store, "whole"), job(micro_store, "resumed")
    mp.spawn(member, (whole, resumed, 2, str(tmp_path / "meeting")), nprocs=2)  # type: ignore[no-untyped-call]
    result = Result.read(whole.run)
    assert result is not None
    assert Result.read(resumed.run) == result


def test_a_training_that_was_over_before_the_kill_is_only_committed(micro_store: MicroStore) -> None:
    store, key = micro_store.store, micro_store.ingest_key
    spec = TrainBase(micro.of(key)).spec(context(store))
    result = train(job(micro_store, f"train_base-{spec.key[:16]}"), torch.device("cpu"))
    heard = Heard()
    done = TrainBase(micro.of(key)).run(context(store, heard))
    assert model_of(store, done.key) == result.model.digest
    assert heard.steps == 0
    assert done.record.done_share == 0


def test_a_run_that_went_on_records_what_share_it_did(micro_store: MicroStore) -> None:
    """Of a training whose run was killed after its first checkpoint, and whose worker died once more since."""
    store, key = micro_store.store, micro_store.ingest_key
    spec = TrainBase(micro.of(key)).spec(context(store))
    earlier = job(micro_store, f"train_base-{spec.key[:16]}")
    checkpoints: list[bytes | None] = []
    train(earlier, torch.device("cpu"), tell=lambda: checkpoints.append(earlier.run.read(CHECKPOINT)))
    first, second = checkpoints[1:]
    assert first is not None
    assert second is not None
    earlier.run.remove("result.json")
    earlier.run.write(CHECKPOINT, first)
    assert TrainBase(micro.of(key)).run(context(store)).record.done_share == pytest.approx(1 - 2 / 6)
    again = job(micro_store, "again")
    for checkpoint in (first, second):
        again.run.write(CHECKPOINT, checkpoint)
        train(again, torch.device("cpu"))
    assert resumed_at(again.run) == 2


def flip(store: Store, path: str) -> None:
    """Another bit in the middle of a file."""
    data = bytearray(store.read_bytes(path))
    data[len(data) // 2] ^= 1
    store.atomic_write(path, bytes(data))


@pytest.mark.parametrize("file", ["checkpoint.pt", "result.json"])
@pytest.mark.parametrize("sealed", [True, False])
def test_a_damaged_file_of_an_earlier_run_is_said_and_made_anew(
    micro_store: MicroStore, file: str, sealed: bool
) -> None:
    store, key, heard = micro_store.store, micro_store.ingest_key, Heard()
    spec = TrainBase(micro.of(key)).spec(context(store))
    run = RunFolder(store, f"train_base-{spec.key[:16]}")
    result = train(job(micro_store, run.name), torch.device("cpu"))
    if file == "checkpoint.pt":
        run.remove("result.json")
        if not sealed:  # as older versions left it
            store.atomic_write(f"{run.ray_folder}/engine/{file}", run.read(file) or b"")
    elif not sealed:
        store.atomic_write(f"{run.ray_folder}/engine/{file}", b'{"model": ')
    flip(store, f"{run.ray_folder}/engine/{file}")
    done = TrainBase(micro.of(key)).run(context(store, heard))
    assert model_of(store, done.key) == result.model.digest
    instead = "the training begins anew" if file == "checkpoint.pt" else "the training goes on from its last checkpoint"
    (warning,) = [line for line in heard.lines if "is damaged: " in line]
    assert warning.startswith(f"train_base: {run.uri(file)} is damaged: ")
    assert instead in warning
    assert heard.steps == (6 if file == "checkpoint.pt" else 0)


def test_a_loss_that_is_no_number_is_told(micro_store: MicroStore) -> None:
    here = context(micro_store.store, learning_rate=1e30, warmup_steps=0, gradient_clip=1e30)
    with pytest.raises(EngineError, match=r"The loss became (nan|inf) at step \d.*Lower the learning rate"):
        TrainBase(micro.of(micro_store.ingest_key)).run(here)
    assert find(micro_store.store, TrainBase(micro.of(micro_store.ingest_key)).spec(here).key) is None


def test_missing_labels_are_told(micro_store: MicroStore) -> None:
    with pytest.raises(DataError, match="24 of 24 instances have no label"):
        TrainBase(micro.of(micro_store.ingest_key, WILD_TRAIN)).run(context(micro_store.store))


def without_ray(monkeypatch: pytest.MonkeyPatch, training: Callable[[], Exception | None]) -> None:
    monkeypatch.setattr(stage, "session_for", lambda *_: nullcontext())
    monkeypatch.setattr(stage, "check_resources", lambda needed, count: None)
    monkeypatch.setattr(stage, "lacking", lambda needed: "1 CPU needed, 0 of 2 CPU free")
    monkeypatch.setattr(stage, "_in_kept_process", lambda job, settings, tell: training())


def test_a_worker_that_died_too_often_is_told(micro_store: MicroStore, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "Training failed:\n[Rank 0]\nTraceback\nThe worker process has died. Common causes include: many."
    without_ray(monkeypatch, lambda: WorkerGroupError(text, {}))
    words = "2 more tries .* The last error: The worker process has died. Run again to go on from the last checkpoint"
    with pytest.raises(EngineError, match=words):
        TrainBase(micro.of(micro_store.ingest_key)).run(context(micro_store.store, in_process=False))


def test_a_run_that_ended_with_nothing_is_told(micro_store: MicroStore, monkeypatch: pytest.MonkeyPatch) -> None:
    without_ray(monkeypatch, lambda: None)
    with pytest.raises(EngineError, match="training ended without a model"):
        TrainBase(micro.of(micro_store.ingest_key)).run(context(micro_store.store, in_process=False))


def test_the_one_that_was_first_counts(micro_store: MicroStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes do the same training; the other one commits, and removes the run's folder, under our feet."""
    store, key, heard = micro_store.store, micro_store.ingest_key, Heard()

    def overtaken() -> None:
        TrainBase(micro.of(key)).run(context(store))

    without_ray(monkeypatch, overtaken)
    done = TrainBase(micro.of(key)).run(context(store, heard, in_process=False))
    assert "train_base, waiting for Ray: 1 CPU needed, 0 of 2 CPU free ..." in heard.lines
    assert done.reused
    assert len(read(store, "models", stage_keys=[done.key])) == 1


LONG = {"steps": 120, "checkpoint_every": 10, "report_every": 5, "learning_rate": 1e-3}
DRIVER = """
import sys
from infra.store import Store
from tests.tasks.engine.test_training import *
here = context(Store.open(sys.argv[1]), in_process=False, **LONG)
train_on(here, TrainBase(micro.of(sys.argv[2])).spec(here), build_killer, ingest_key=sys.argv[2], driver=os.getpid())
"""


def refuse(run: RunFolder, device: torch.device, text: str) -> Any:
    """A builder that finds its data wanting."""
    raise DataError(text)


class Fragile(BaseRecipe):
    """Once in its life the process that trains it is killed, at step 100."""

    run: RunFolder

    def loss(self, step: int, drawn: Any) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
        # told elsewhere than in the run's folder, which is removed when the stage is committed
        if step == 100 and self.run.store.atomic_write("killed", b"", replace=False):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().loss(step, drawn)


class Killer(BaseRecipe):
    """Kills the driver at step 50, and waits to end with it: a watch from outside would be too slow."""

    driver: int

    def loss(self, step: int, drawn: Any) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
        if step == 50:
            os.kill(self.driver, signal.SIGKILL)
            time.sleep(60)
        return super().loss(step, drawn)


def build_fragile(run: RunFolder, device: torch.device, ingest_key: str) -> Fragile:
    recipe = Fragile(*parts(run, ingest_key), device)
    recipe.run = run
    return recipe


def build_killer(run: RunFolder, device: torch.device, ingest_key: str, driver: int) -> Killer:
    recipe = Killer(*parts(run, ingest_key), device)
    recipe.driver = driver
    return recipe


def parts(run: RunFolder, ingest_key: str) -> tuple[TrainBaseConfig, PolicyConfig, LabelledCrops]:
    settings = config(**LONG)
    return settings.train_base, settings.policy, labelled_crops(run.store, micro.of(ingest_key))


@pytest.fixture
def undisturbed(tmp_path: Path, micro_store: MicroStore) -> Store:
    """A copy of the store in which nothing is killed."""
    store = Store(str(tmp_path / "undisturbed"))
    shutil.copytree(micro_store.store.root, store.root)
    return store


def in_group(store: Store) -> Context:
    ray = micro.CONFIG.ray.model_copy(update={"trainers": 2})
    return Context(store, config(**LONG).model_copy(update={"ray": ray}), Heard())


def train_on(here: Context, spec: StageSpec, build: Callable[..., Any], **args: Any) -> StageResult:
    optimiser = here.config.train_base.optimiser
    return train_stage(
        here, spec, partial(build, **args), kind="policy", network=here.config.policy, optimiser=optimiser, threads=1
    )


def train_fragile(here: Context, key: str) -> StageResult:
    """First a training that refuses its data, then the one whose processes are killed."""
    with pytest.raises(DataError, match="Stage refused: no such thing"):
        train_on(here, StageSpec("refused", 1, {}), refuse, text="no such thing")
    return train_on(here, TrainBase(micro.of(key)).spec(here), build_fragile, ingest_key=key)


def assert_same(store: Store, done: StageResult, undisturbed: Store) -> None:
    assert not done.reused
    assert model_of(store, done.key) == model_of(undisturbed, done.key)
    for table in ("curves", "models"):
        columns = [name for name in read(store, table).column_names if name not in ("created_at", "uri")]
        assert read(store, table, columns=columns).equals(read(undisturbed, table, columns=columns))


STREAMING = """
import sys
from infra.store import Store
from tests.tasks.engine.test_training import *
TrainBase(micro.of(sys.argv[2])).run(streaming(Store.open(sys.argv[1]), sys.argv[3]))
"""


def streaming(store: Store, cache: str) -> Context:
    """Without any memory for crops."""
    ray = micro.CONFIG.ray.model_copy(update={"held_crops_mib": 0, "cache_folder": cache})
    return Context(store, config().model_copy(update={"ray": ray}), Heard(), in_process=True)


@pytest.mark.slow
@pytest.mark.parametrize("point", ["cached:crops", "train:step:4"])
def test_killed_while_it_streams(micro_store: MicroStore, undisturbed: Store, tmp_path: Path, point: str) -> None:
    store, key, cache = micro_store.store, micro_store.ingest_key, str(tmp_path / "cache")
    TrainBase(micro.of(key)).run(context(undisturbed))
    command = [sys.executable, "-c", STREAMING, store.url, key, cache]
    killed = subprocess.run(command, cwd=ROOT, env={**os.environ, faults.VARIABLE: point}, check=False)
    assert killed.returncode == -signal.SIGKILL
    done = TrainBase(micro.of(key)).run(streaming(store, cache))
    assert_same(store, done, undisturbed)
    assert not list((tmp_path / "cache").glob("*.unfinished"))


@pytest.mark.slow
def test_killed_with_its_driver_and_once_more(micro_store: MicroStore, undisturbed: Store) -> None:
    store, key = micro_store.store, micro_store.ingest_key
    TrainBase(micro.of(key)).run(context(undisturbed, **LONG))
    spec = TrainBase(micro.of(key)).spec(context(store, **LONG))
    run = RunFolder(store, f"train_base-{spec.key[:16]}")
    command = [sys.executable, "-c", DRIVER, store.url, key]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -signal.SIGKILL
    assert find(store, spec.key) is None
    state = run.read(CHECKPOINT)
    assert state is not None
    assert torch.load(io.BytesIO(state))["step"] == 50
    assert run.read("result.json") is None

    with ray_session(cpus=2):
        done = train_fragile(context(store, in_process=False, **LONG), key)
    assert_same(store, done, undisturbed)
    assert store.read_bytes("killed") == b""
    assert store.list_files(run.ray_folder) == []


@pytest.mark.nightly
def test_killed_in_a_group(micro_store: MicroStore, undisturbed: Store) -> None:
    store, key = micro_store.store, micro_store.ingest_key
    with ray_session(cpus=2):
        whole = TrainBase(micro.of(key)).run(in_group(undisturbed))
        assert_same(store, train_fragile(in_group(store), key), undisturbed)
    assert store.read_bytes("killed") == b""
    # each normalises by its own share of the batch
    TrainBase(micro.of(key)).run(context(store, **LONG))
    assert model_of(store, whole.key) != model_of(store, TrainBase(micro.of(key)).spec(context(store, **LONG)).key)
