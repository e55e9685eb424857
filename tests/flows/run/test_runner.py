"""A line that runs: trainings of one stage go side by side where there is room, and end as if they had not."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.testing.utilities import prefect_test_harness

import flows.run.runner
from flows.run.runner import Running, Stage
from infra.stages import StageSpec, commit_rows
from infra.store import Store
from schemas.errors import EngineError
from schemas.profiles import micro
from tasks.engine.context import Context
from tasks.engine.sharded import StageResult
from tasks.report.facts import StageRun
from tasks.rows.models import SavedModel, model_rows

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module", autouse=True)
def harness() -> Iterator[None]:
    with prefect_test_harness(server_startup_timeout=180):
        yield


def spec_of(context: Context, word: str) -> StageSpec:
    return context.spec("toy", 1, {"word": word})


def training(meet: Callable[[str], Any]) -> Stage:
    """A stage that commits a model named by its input, after `meet` was called with it."""

    def work(context: Context, word: str) -> StageResult:
        context.progress.begin("toy", 1, "steps")
        meet(word)
        spec = spec_of(context, word)
        model = SavedModel(word * 4, "policy", f"models/{word}", (), "0" * 64, "{}")
        return StageResult(commit_rows(context.store, spec, {"models": model_rows(model, spec.key)}), reused=False)

    return Stage("toy", spec_of, work, retries=0)


@pytest.fixture
def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Running:
    """A line whose Ray is said to have room for two; the stages of these tests need none."""
    monkeypatch.setattr(Running, "_start_ray", lambda self: None)
    monkeypatch.setattr(flows.run.runner, "room_for", lambda needed: 2)
    return Running(Context(Store.open(tmp_path / "store"), micro()), ExitStack())


def models(line: Running, stage: Stage, *words: str) -> tuple[str, ...]:
    @flow
    def one() -> tuple[str, ...]:
        return line.models(stage, {f"role {word}" if number else "": (word,) for number, word in enumerate(words)})

    return one()


def test_two_trainings_run_at_once_and_are_listed_in_order(line: Running) -> None:
    both = threading.Barrier(2)
    assert models(line, training(lambda word: both.wait(60)), "a", "b") == ("aaaa", "bbbb")
    keys = [spec_of(line.context, word).key for word in "ab"]
    assert line.ran == [StageRun("toy", "", keys[0], "run"), StageRun("toy", "role b", keys[1], "run")]


@pytest.mark.parametrize("words", [("a", "b"), ("a", "a")])
def test_without_room_or_for_one_and_the_same_work_they_take_turns(
    line: Running, monkeypatch: pytest.MonkeyPatch, words: tuple[str, str]
) -> None:
    if words[0] != words[1]:
        monkeypatch.setattr(flows.run.runner, "room_for", lambda needed: 1)
    alone = threading.Lock()

    def meet(word: str) -> None:
        assert alone.acquire(blocking=False), "another training is at work"
        time.sleep(1)  # long enough for the other, if it had begun
        alone.release()

    assert models(line, training(meet), *words) == tuple(word * 4 for word in words)
    assert len(line.ran) == 2


def test_one_that_fails_lets_the_other_finish_and_is_raised(line: Running) -> None:
    failed = threading.Event()

    def meet(word: str) -> None:
        if word == "a":
            failed.set()
            raise EngineError("no good")
        assert failed.wait(60)

    with pytest.raises(EngineError, match="no good"):
        models(line, training(meet), "a", "b")
    again = training(lambda word: None)
    assert models(line, again, "a", "b") == ("aaaa", "bbbb")
    assert [run.state for run in line.ran] == ["run", "reused"]
