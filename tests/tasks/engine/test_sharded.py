"""Sharded stages: reuse, resume, failures, gates; and the same bits from Ray with one actor, two, or none."""

import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray

from infra import faults, shared_store
from infra.noise import standard_normal
from infra.ray_session import check_resources, ray_session, room_for
from infra.shards import Shard, Tally, cut
from infra.stages import Failure, StageSpec
from infra.store import Store
from infra.tables import read
from schemas.config.engine import RayConfig
from schemas.errors import ConfigError, DataError, EngineError, GateError, StoreError
from schemas.progress import SilentProgress
from schemas.tables import build
from tasks.engine import spread
from tasks.engine.results import ShardOutput, StageResult
from tasks.engine.shard_work import do_shard
from tasks.engine.sharded import run_sharded

ROOT = Path(__file__).resolve().parents[3]
IDS = [f"toy/test/{number:03d}#0" for number in range(23)]
ONE_ACTOR = RayConfig(actors=1)
WITH_GPU = RayConfig(actors=1, gpus_per_actor=1.0)


class Scorer:
    """Scores an instance by its noise; some ids crash it, some it refuses, and it notes each shard that it does."""

    def __init__(
        self, crash: tuple[str, ...] = (), refuse: tuple[str, ...] = (), log: str = "", lose: bool = False
    ) -> None:
        if log == "no such checkpoint":
            raise StoreError("the checkpoint is not there")
        self.crash, self.refuse, self.log, self.lose = crash, refuse, log, lose

    def __call__(self, shard: Shard) -> ShardOutput:
        if self.log:
            with open(self.log, "a") as file:
                file.write(f"{shard.index} {len(shard.ids)}\n")
        for name in shard.ids:
            if name in self.crash:
                raise ValueError(f"can't read {name}")
        kept = [name for name in shard.ids if name not in self.refuse]
        table = build(
            "scores",
            {
                "generation_id": ["g"] * len(kept),
                "instance_id": kept,
                "sample_index": [0] * len(kept),
                "scorer": ["s"] * len(kept),
                "score": [float(standard_normal(0, name, 0, ())) for name in kept],
                "round": [1] * len(kept),
                "stage_key": ["k"] * len(kept),
            },
        ).drop_columns(["stage_key"])
        failures = [Failure(name, "refused", outcome="filtered") for name in shard.ids if name in self.refuse]
        return ShardOutput({"scores": table}, failures, ok=len(kept) - self.lose)


class Heard(SilentProgress):
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.done = 0

    def advance(self, stage: str, count: int = 1, note: str = "") -> None:
        self.done += count

    def say(self, text: str) -> None:
        self.lines.append(text)


def spec() -> StageSpec:
    return StageSpec("score", 1, {"shard_size": 5})


def run(store: Store, heard: Heard | None = None, **changes: object) -> StageResult:
    options: dict[str, object] = {
        "in_process": True,
        "tables": ["scores"],
        "progress": heard or Heard(),
        "settings": ONE_ACTOR,
        **changes,
    }
    worker_args: dict[str, Any] = options.pop("worker_args", {})  # type: ignore[assignment]
    return run_sharded(store, spec(), IDS, 5, partial(Scorer, **worker_args), **options)  # type: ignore[arg-type]


def test_runs_and_is_reused(tmp_path: Path) -> None:
    store, heard = Store.open(tmp_path / "store"), Heard()
    first = run(store, heard)
    assert (first.reused, first.shards_done, heard.done) == (False, 5, 23)
    assert first.record.done_share == 1
    assert read(store, "scores").column("instance_id").to_pylist() == IDS
    again = run(store, heard, worker_args={"log": "no such checkpoint"})
    assert again.reused
    assert again.record == first.record
    assert heard.lines == [f"score: reused, 23 instances ({spec().key[:12]})"]


def test_units_that_crash_or_are_refused_end_in_failures(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    result = run(store, worker_args={"crash": (IDS[3], IDS[22]), "refuse": (IDS[7],)})
    assert result.record.tally == Tally(ok=20, filtered=1, failed=2)
    failed = {row["id"]: row for row in read(store, "failures").to_pylist()}
    assert set(failed) == {IDS[3], IDS[7], IDS[22]}
    assert failed[IDS[3]]["reason"] == "exception ValueError"
    assert failed[IDS[3]]["detail"] == f"can't read {IDS[3]}"
    assert failed[IDS[3]]["attempts"] == 2
    assert failed[IDS[7]]["outcome"] == "filtered"
    assert set(read(store, "scores").column("instance_id").to_pylist()) == set(IDS) - set(failed)


@pytest.mark.parametrize(
    ("point", "what"),
    [
        ("shard:score", "shards/{key}/00000.json"),
        ("shard:score", "tables/scores/round=1/part-{key}-*"),
        ("shards:score", "shards/{key}/*"),
        ("commit:failures", "tables/scores/round=1/part-{key}-00001*"),
        ("commit:stages", "tables/scores/round=1/part-{key}-00001*"),
    ],
)
def test_what_something_removes_meanwhile_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str, what: str
) -> None:
    store, undisturbed = Store.open(tmp_path / "store"), Store.open(tmp_path / "undisturbed")
    run(undisturbed)
    left = [1]

    def remove(reached: str) -> None:
        if reached == point and left:
            left.pop()
            gone = list(Path(store.root).glob(what.format(key=spec().key)))
            assert gone
            for path in gone:
                path.unlink()

    monkeypatch.setattr(faults, "reach", remove)
    result = run(store)
    assert (left, result.record.tally) == ([], Tally(ok=23))
    assert read(store, "scores").equals(read(undisturbed, "scores"))


def test_what_something_keeps_removing_ends_the_stage_in_plain_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(tmp_path / "store")

    def remove(reached: str) -> None:
        if reached in ("shard:score", "shards:score"):
            shutil.rmtree(store.path("shards", spec().key), ignore_errors=True)

    monkeypatch.setattr(faults, "reach", remove)
    with pytest.raises(StoreError, match="Stage score: something keeps removing finished shards"):
        run(store)
    monkeypatch.undo()
    assert run(store).record.tally == Tally(ok=23)


def test_too_many_crashes_commit_nothing_and_are_tried_again(tmp_path: Path) -> None:
    store, log = Store.open(tmp_path / "store"), tmp_path / "log"
    crashes = r"3 of 23 units failed, more than the allowed 10.0%.*3 x exception ValueError"
    with pytest.raises(EngineError, match=crashes) as stopped:
        run(store, worker_args={"crash": tuple(IDS[:3])}, max_failed_share=0.1)
    assert not isinstance(stopped.value, GateError), "a gate would end the round, and nobody would try again"
    assert len(read(store, "stages")) == 0
    result = run(store, worker_args={"log": str(log)}, max_failed_share=0.1)
    assert (result.shards_found, result.shards_done) == (4, 1)
    assert log.read_text() == "0 5\n"
    assert result.record.tally == Tally(ok=23)
    assert result.record.done_share == pytest.approx(5 / 23)


class Refusing(Scorer):
    def __call__(self, shard: Shard) -> ShardOutput:
        return ShardOutput({}, [Failure(name, "bad picture", "0 bytes") for name in shard.ids])


def test_too_many_reported_failures_are_committed_and_stop_every_run(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    for _ in range(2):
        with pytest.raises(GateError, match="23 of 23 units failed"):
            run_sharded(store, spec(), IDS, 5, Refusing, tables=["scores"], in_process=True, max_failed_share=0.5)
    assert set(read(store, "failures").column("reason").to_pylist()) == {"bad picture"}


def test_one_shard_made_alone_has_the_same_bits(tmp_path: Path) -> None:
    whole, alone = Store.open(tmp_path / "whole"), Store.open(tmp_path / "alone")
    run(whole)
    receipt = do_shard(alone, spec(), Scorer(), cut(IDS, 5)[3], ["scores"])
    path = f"tables/scores/{receipt.files[0].path}"
    assert alone.read_bytes(path) == whole.read_bytes(path)


def test_workers_that_break_the_contract_stop_the_stage(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    with pytest.raises(DataError, match="5 units went in, but 4 ok"):
        run(store, worker_args={"lose": True})
    with pytest.raises(DataError, match="wrote to table scores, but names only pairs"):
        run(store, tables=["pairs"])
    with pytest.raises(StoreError, match="checkpoint is not there"):
        run(store, worker_args={"log": "no such checkpoint"})
    assert len(read(store, "stages")) == 0


def test_no_units_at_all(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    result = run_sharded(store, spec(), [], 5, Scorer, tables=["scores"], in_process=True, max_failed_share=0.0)
    assert result.record.units_in == 0
    assert len(read(store, "scores")) == 0


DRIVER = """
import sys
from infra.store import Store
from tests.tasks.engine.test_sharded import *
run(Store.open(sys.argv[1]), worker_args={"log": sys.argv[2]})
"""


@pytest.mark.slow
def test_driver_killed_between_shards_resumes(tmp_path: Path) -> None:
    store, log = Store.open(tmp_path / "store"), tmp_path / "log"
    environment = {**os.environ, "ADHMR_FAULT_AT": "shard:score@3"}
    command = [sys.executable, "-c", DRIVER, store.url, str(log)]
    assert subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == -signal.SIGKILL
    heard = Heard()
    result = run(store, heard, worker_args={"log": str(log)})
    assert (result.shards_found, result.shards_done, heard.done) == (3, 2, 23)
    assert sorted(log.read_text().splitlines()) == ["0 5", "1 5", "2 5", "3 5", "4 3"]
    undisturbed = Store.open(tmp_path / "undisturbed")
    run(undisturbed)
    assert read(store, "scores").equals(read(undisturbed, "scores"))


@pytest.mark.slow
def test_on_a_real_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = Store.open(tmp_path / "expected")
    run(expected, worker_args={"crash": (IDS[3],)})
    with ray_session(cpus=2) as resources:
        assert resources["CPU"] == 2
        assert {node["NodeManagerAddress"] for node in ray.nodes()} == {"127.0.0.1"}
        for actors in (1, 2):
            store, heard = Store.open(tmp_path / str(actors)), Heard()
            settings = RayConfig(actors=actors, cpus_per_actor=1.0)
            monkeypatch.setattr(spread, "_WAVE", 4 // actors)  # two waves, and three
            monkeypatch.setattr(spread, "_WAVE_OF_ACTOR", 1)
            run(store, heard, worker_args={"crash": (IDS[3],)}, in_process=False, settings=settings)
            assert heard.done == 23
            for table in ("scores", "failures"):
                assert read(store, table).equals(read(expected, table))
                for path in expected.list_files(f"tables/{table}"):
                    if path.endswith(".parquet"):
                        assert store.read_bytes(path) == expected.read_bytes(path)
        with pytest.raises(ConfigError, match=r"No node of Ray can ever host .* 5 CPU: 127.0.0.1 .* has 2 CPU"):
            check_resources({"CPU": 5})
        assert room_for({"CPU": 1.0}) == 2
        assert room_for({"CPU": 1.0, "GPU": 1.0}) == 0
        with pytest.raises(StoreError, match="checkpoint is not there"):
            run(Store.open(tmp_path / "bad"), in_process=False, worker_args={"log": "no such checkpoint"})
    assert not ray.is_initialized()


@pytest.mark.slow
def test_ray_that_a_stage_starts_is_as_configured_and_sees_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    checked: list[Store] = []
    monkeypatch.setattr(shared_store, "check_store_is_shared", checked.append)
    sizes: set[float] = set()

    class Looking(Heard):
        def advance(self, stage: str, count: int = 1, note: str = "") -> None:
            sizes.add(ray.cluster_resources()["object_store_memory"])

    stores = [Store.open(tmp_path / name) for name in ("starts", "joins")]
    settings = RayConfig(actors=1, object_store_mib=90)
    run(stores[0], Looking(), in_process=False, settings=settings)
    assert sizes == {90 * 1024**2}
    assert checked == stores[:1]
    assert not ray.is_initialized()
    with shared_store.session_for(stores[0], settings, threads=1):
        run(stores[1], Looking(), in_process=False, settings=RayConfig(actors=1, object_store_mib=100))
    assert sizes == {90 * 1024**2}
    assert checked == [stores[0], stores[0]], "only who starts Ray looks"


def test_ray_starts_for_a_session_alone() -> None:
    with pytest.raises(ray.exceptions.RaySystemError, match="has not been started"):
        ray.cluster_resources()
    assert not ray.is_initialized()


class Marker(Scorer):
    """A scorer that notes which process does a shard, and dies once where no process noted anything yet."""

    def __init__(self, log: str, dies: bool = False) -> None:
        super().__init__()
        self.file, self.dies = Path(log), dies

    def __call__(self, shard: Shard) -> ShardOutput:
        first = not self.file.exists()
        with self.file.open("a") as file:
            file.write(f"{os.getpid()}\n")
        if first and self.dies:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(shard)


@pytest.mark.slow
def test_processes_of_ray_are_kept_on_the_cpu_replaced_when_they_die_and_gone_with_a_gpu(tmp_path: Path) -> None:
    def processes(name: str, **options: object) -> list[int]:
        store, log = Store.open(tmp_path / name), tmp_path / f"{name}.log"
        dies = bool(options.pop("dies", False))
        run_sharded(
            store,
            spec(),
            IDS,
            5,
            partial(Marker, log=str(log), dies=dies),
            tables=["scores"],
            **options,  # type: ignore[arg-type]
        )
        assert read(store, "scores").equals(expected)
        return [int(line) for line in log.read_text().split()]

    run(Store.open(tmp_path / "expected"))
    expected = read(Store.open(tmp_path / "expected"), "scores")
    with ray_session(cpus=2, gpus=1):  # a GPU by name: nothing here touches one
        assert len(processes("killed", dies=True, settings=ONE_ACTOR)) == 6
        assert len(processes("killed with a GPU", dies=True, settings=WITH_GPU, device="cuda")) == 6
        first = processes("first", settings=ONE_ACTOR)
        second = processes("second", settings=WITH_GPU)  # asks for none, as it computes on the CPU
        assert len(first) == len(second) == 5
        assert set(second) == set(first)
        with_gpu = processes("gpu", settings=WITH_GPU, device="cuda")
        assert not set(with_gpu) & set(first)
        deadline = time.monotonic() + 30
        while any(psutil.pid_exists(number) for number in with_gpu) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert not any(psutil.pid_exists(number) for number in with_gpu)
        assert psutil.pid_exists(first[0])


RAY_DRIVER = """
import sys
from infra.store import Store
from tests.tasks.engine.test_sharded import *
run(Store.open(sys.argv[1]), in_process=False)
"""


def descendants_marked(mark: str) -> list[int]:
    """Processes whose environment carries the mark."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("ADHMR_TEST_MARK") == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


@pytest.mark.slow
def test_killed_driver_leaves_no_ray_behind(tmp_path: Path) -> None:
    mark = uuid.uuid4().hex
    environment = {**os.environ, "ADHMR_FAULT_AT": "shard:score", "ADHMR_TEST_MARK": mark}
    with subprocess.Popen(["sleep", "60"], env=environment) as witness:
        time.sleep(0.1)
        assert descendants_marked(mark) == [witness.pid]
        witness.kill()
    command = [sys.executable, "-c", RAY_DRIVER, str(tmp_path / "store")]
    done = subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL
    assert done.stderr == ""
    deadline = time.monotonic() + 120  # beside other tests Ray takes its time to notice
    while descendants_marked(mark) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert [psutil.Process(pid).cmdline() for pid in descendants_marked(mark)] == []


@pytest.mark.slow
def test_a_worker_process_that_dies_ends_the_stage_in_plain_words(tmp_path: Path) -> None:
    environment = {**os.environ, "ADHMR_FAULT_AT": "shard-file:scores"}
    command = [sys.executable, "-c", RAY_DRIVER, str(tmp_path / "store")]
    done = subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "Stage score: a worker process died" in done.stderr
