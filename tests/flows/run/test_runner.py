"""The live runner: trainings of one stage go side by side where there is room, and end as if they had not."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from prefect import flow

import flows.run.live
from flows.run.live import LiveRunner
from infra.stages import commit_rows
from infra.store import Store
from schemas.errors import EngineError
from schemas.profiles import micro
from tasks.engine.context import Context
from tasks.engine.results import StageResult
from tasks.engine.stage import TrainingStage
from tasks.report.facts import StageRun
from tasks.rows.models import SavedModel, model_rows
from tests.prefect_server import PrefectServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module", autouse=True)
def harness(prefect_server: PrefectServer) -> Iterator[None]:
    with prefect_server.used():
        yield


@dataclass(frozen=True)
class Toy(TrainingStage):
    """Commits a model named by its word, after `meet` was called with it."""

    word: str
    meet: Callable[[str], Any] = field(default=lambda word: None, compare=False)

    name = "toy"

    def key_config(self, context: Context) -> Mapping[str, Any]:
        return {"word": self.word}

    def run(self, context: Context) -> StageResult:
        context.progress.begin("toy", 1, "steps")
        self.meet(self.word)
        spec = self.spec(context)
        model = SavedModel(self.word * 4, "policy", f"models/{self.word}", (), "0" * 64, "{}")
        return StageResult(commit_rows(context.store, spec, {"models": model_rows(model, spec.key)}), reused=False)

    settings = network = threads = recipe = None  # type: ignore[assignment]


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LiveRunner:
    """A runner whose Ray is said to have room for two; the stages of these tests need none."""
    monkeypatch.setattr(LiveRunner, "_start_ray", lambda self: None)
    monkeypatch.setattr(flows.run.live, "room_for", lambda needed: 2)
    return LiveRunner(Context(Store.open(tmp_path / "store"), micro()), ExitStack())


def models(runner: LiveRunner, meet: Callable[[str], Any], *words: str) -> tuple[str, ...]:
    @flow
    def one() -> tuple[str, ...]:
        return runner.train({f"role {word}" if number else "": Toy(word, meet) for number, word in enumerate(words)})

    return one()


def test_two_trainings_run_at_once_and_are_listed_in_order(runner: LiveRunner) -> None:
    both = threading.Barrier(2)
    assert models(runner, lambda word: both.wait(60), "a", "b") == ("aaaa", "bbbb")
    keys = [Toy(word).key(runner.context) for word in "ab"]
    assert runner.ran == [StageRun("toy", "", keys[0], "run"), StageRun("toy", "role b", keys[1], "run")]


@pytest.mark.parametrize("words", [("a", "b"), ("a", "a")])
def test_without_room_or_for_one_and_the_same_work_they_take_turns(
    runner: LiveRunner, monkeypatch: pytest.MonkeyPatch, words: tuple[str, str]
) -> None:
    if words[0] != words[1]:
        monkeypatch.setattr(flows.run.live, "room_for", lambda needed: 1)
    alone = threading.Lock()

    def meet(word: str) -> None:
        assert alone.acquire(blocking=False), "another training is at work"
        time.sleep(1)  # long enough for the other, if it had begun
        alone.release()

    assert models(runner, meet, *words) == tuple(word * 4 for word in words)
    assert len(runner.ran) == 2


def test_one_that_fails_lets_the_other_finish_and_is_raised(runner: LiveRunner) -> None:
    failed = threading.Event()

    def meet(word: str) -> None:
        if word == "a":
            failed.set()
            raise EngineError("no good")
        assert failed.wait(60)

    with pytest.raises(EngineError, match="no good"):
        models(runner, meet, "a", "b")
    assert models(runner, lambda word: None, "a", "b") == ("aaaa", "bbbb")
    assert [run.state for run in runner.ran] == ["run", "reused"]
