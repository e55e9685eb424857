"""PrefectProgress: what it passes on, what it writes, and that a broken server costs a stage nothing."""

import logging
import threading
import time
from contextlib import closing, nullcontext
from typing import Any
from uuid import UUID, uuid4

import pytest

from flows.progress import artifacts
from flows.progress.artifacts import PrefectProgress
from schemas.progress import SILENT


class Recorder:
    """A Progress and an ArtifactWriter that note what they hear."""

    def __init__(self, broken: bool = False) -> None:
        self.heard: list[tuple[object, ...]] = []
        self.written: list[tuple[str, str | UUID, float, str]] = []
        self.broken = broken
        self.wrote = threading.Event()

    def begin(self, stage: str, total: int, unit: str) -> None:
        self.heard.append(("begin", stage, total, unit))

    def advance(self, stage: str, count: int = 1, note: str = "") -> None:
        self.heard.append(("advance", stage, count, note))

    def end(self, stage: str, note: str = "") -> None:
        self.heard.append(("end", stage, note))

    def say(self, text: str) -> None:
        self.heard.append(("say", text))

    def create(self, key: str, percent: float, text: str) -> UUID:
        if self.broken:
            raise ConnectionError("no server here")
        name = uuid4()
        self.written.append(("create", key, percent, text))
        self.wrote.set()
        return name

    def update(self, artifact: UUID, percent: float, text: str) -> None:
        self.written.append(("update", artifact, percent, text))


def test_a_stage_may_end_while_its_artifact_is_written() -> None:
    recorder, told = Recorder(), []
    begun, go = threading.Event(), threading.Event()

    class Slow:
        def create(self, key: str, percent: float, text: str) -> UUID:
            begun.set()
            assert go.wait(5)
            return recorder.create(key, percent, text)

        def update(self, artifact: UUID, percent: float, text: str) -> None:
            recorder.update(artifact, percent, text)

    with closing(PrefectProgress(recorder, 60.0, Slow, told.append)) as progress:
        progress.begin("short", 1, "crops")
        assert begun.wait(5)
        progress.end("short")
        assert told == ["short: done, 0 of 1 crops"]
        go.set()
        progress.begin("next", 1, "crops")
        progress.end("next")
    assert [entry[1] for entry in recorder.written if entry[0] == "create"] == ["progress-short", "progress-next"]


def test_passes_everything_on_and_writes_begin_and_end() -> None:
    recorder = Recorder()
    told: list[str] = []
    with closing(PrefectProgress(recorder, 60.0, lambda: recorder, told.append)) as progress:
        progress.begin("Train: Base", 10, "steps")
        assert recorder.wrote.wait(5)
        for _ in range(10):
            progress.advance("Train: Base", 1, "loss 1")
        progress.end("Train: Base", "loss 0.1")
        progress.say("hello")
    assert [entry[0] for entry in recorder.heard] == ["begin", *["advance"] * 10, "end", "say"]
    created, updated = recorder.written
    assert created[:3] == ("create", "progress-train-base", 0.0)
    assert updated[0] == "update"
    assert updated[2:] == (100.0, "10 of 10 steps; loss 0.1")
    assert told == ["Train: Base: done, 10 of 10 steps; loss 0.1", "hello"]


def test_updates_are_throttled() -> None:
    recorder = Recorder()
    with closing(PrefectProgress(SILENT, 0.1, lambda: recorder)) as progress:
        progress.begin("score", 1000, "rows")
        began = time.monotonic()
        for _ in range(1000):
            progress.advance("score")
            time.sleep(0.0005)
        elapsed = time.monotonic() - began
        progress.end("score")
    assert 3 <= len(recorder.written) <= 4 + elapsed / 0.1
    percents = [entry[2] for entry in recorder.written]
    assert percents == sorted(percents)
    assert percents[-1] == 100.0


def test_a_broken_server_is_reported_once_and_hurts_nothing(caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder(broken=True)
    with caplog.at_level(logging.WARNING), closing(PrefectProgress(recorder, 0.01, lambda: recorder)) as progress:
        for stage in ("a", "b"):
            progress.begin(stage, 2, "units")
            progress.advance(stage)
            time.sleep(0.05)
            progress.end(stage)
    assert len(recorder.heard) == 6
    assert len(caplog.records) == 1
    assert "no server here" in caplog.text


def test_rate_and_time_left_are_of_this_run(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("flows.progress.artifacts.time.monotonic", lambda: clock[0])
    progress = PrefectProgress(SILENT, 60.0, Recorder)
    progress.begin("score", 100, "images")
    stage = progress._stages["score"]
    assert stage.text == "0 of 100 images"
    progress.advance("score", 40, "2 shards of an earlier run")
    clock[0] += 10.0
    progress.advance("score", 20)
    assert stage.text == "60 of 100 images; 2 images/s, 0:20 left; 2 shards of an earlier run"
    clock[0] += 10.0
    progress.advance("score", 40)
    assert stage.text.startswith("100 of 100 images; 3 images/s; ")
    progress.end("score", "fine")
    assert stage.text == "100 of 100 images; fine"


def test_outside_of_a_run_nothing_is_written() -> None:
    recorder = Recorder()
    with closing(PrefectProgress(recorder, 0.01, lambda: None)) as progress:
        progress.begin("a", 2, "units")
        progress.advance("a")
        progress.end("a")
    assert recorder.written == []
    assert len(recorder.heard) == 3


def test_a_stage_that_never_ends_does_not_hold_the_program() -> None:
    recorder = Recorder()
    progress = PrefectProgress(SILENT, 60.0, lambda: recorder)
    progress.begin("a", 2, "units")
    began = time.monotonic()
    progress.close()
    assert time.monotonic() - began < 2


@pytest.mark.slow
def test_artifacts_of_a_real_run() -> None:
    from prefect import flow, task
    from prefect.client.orchestration import get_client
    from prefect.testing.utilities import prefect_test_harness

    progress = PrefectProgress(SILENT, 0.1)

    @task
    def work() -> None:
        progress.begin("generate", 4, "images")
        for _ in range(4):
            progress.advance("generate", 1, "sample")
        progress.end("generate", "fine")
        progress.close()

    @flow
    def round_of_one() -> None:
        work()

    with prefect_test_harness(server_startup_timeout=180):
        round_of_one()
        with get_client(sync_client=True) as client:
            (artifact,) = client.read_artifacts()
    assert artifact.key == "progress-generate"
    assert artifact.type == "progress"
    assert artifact.data == 100
    assert artifact.description == "4 of 4 images; fine"
    assert artifact.flow_run_id is not None
    assert artifact.task_run_id is not None


def test_a_server_is_asked_by_one_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """To make a client takes longer than to ask; another server or log-in has its own."""
    from prefect.client import orchestration
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    made = []

    def get_client(**settings: Any) -> Any:
        made.append(len(made))
        return nullcontext(made[-1])

    monkeypatch.setattr(orchestration, "get_client", get_client)
    monkeypatch.setattr(artifacts, "_clients", {})
    asked = []
    for url, login in (
        ("http://a/api", "x:1"),
        ("http://a/api", "x:1"),
        ("http://a/api", "x:2"),
        ("http://b/api", None),
    ):
        with temporary_settings({PREFECT_API_URL: url, PREFECT_API_AUTH_STRING: login}):
            asked.append(artifacts.ask(lambda client: client))
    assert asked == [0, 0, 1, 2]
