"""Trackers: what a training tells them is there to be seen, and what goes wrong with one is a line and nothing else."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import infra.tracking.tracking
from infra.store import Store
from infra.tracking.tracking import TRACKERS, Point, Tracked, Tracking, flat
from schemas.config.engine import EngineConfig
from tests.infra.buckets import OURS, s3_server

HISTORY: list[Point] = [(step, {"loss": 1 / step, "accuracy": 0.5}) for step in range(1, 8)]


@pytest.fixture
def tracked(tmp_path: Path) -> Tracked:
    store = Store.open(tmp_path / "store")
    return Tracked(store, "c", 2, "align (random pairs)", "0a1b2c3d" * 8, {"train": {"beta": 10.0, "seed": 0}})


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """The points of the event files of a folder, without TensorBoard itself."""
    from tensorboardX.proto.event_pb2 import Event

    found: dict[str, list[tuple[int, float]]] = {}
    for file in folder.iterdir():
        data = file.read_bytes()
        while data:
            length = int.from_bytes(data[:8], "little")
            event = Event.FromString(data[12 : 12 + length])
            data = data[12 + length + 4 :]
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


def test_every_name_of_the_configuration_has_a_tracker() -> None:
    allowed = EngineConfig.model_json_schema()["properties"]["tracking"]["items"]["enum"]
    assert set(allowed) == set(TRACKERS)


def test_tensorboard_has_every_point_once_after_a_kill_and_a_resume(tracked: Tracked) -> None:
    said: list[str] = []
    with Tracking(["tensorboard"], tracked, said.append) as tracking:
        for step, figures in HISTORY[:4]:
            tracking.point(step, figures)
    with Tracking(["tensorboard"], tracked, said.append) as tracking:
        tracking.point(*HISTORY[3])
        tracking.point(*HISTORY[5])
        tracking.end(HISTORY, "a" * 64)
    folder = Path(tracked.store.path("tracking/c/2/align-random-pairs-0a1b2c3d"))
    assert [step for step, _ in scalars(folder)["loss"]] == list(range(1, 8))
    assert scalars(folder)["accuracy"][0] == (1, 0.5)
    assert len(list(folder.iterdir())) == 1
    assert said == []


def test_tensorboard_shows_points_while_the_training_goes_on(tracked: Tracked) -> None:
    folder = Path(tracked.store.path("tracking/c/2/align-random-pairs-0a1b2c3d"))
    with Tracking(["tensorboard"], tracked, print) as tracking:
        tracking.point(*HISTORY[0])
        until = time.monotonic() + 20
        while time.monotonic() < until and not (folder.exists() and "loss" in scalars(folder)):
            time.sleep(0.02)
        assert scalars(folder)["loss"] == [(1, 1.0)]


@pytest.mark.slow
def test_on_s3_the_points_come_at_the_end(tracked: Tracked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_server(monkeypatch):
        store = Store.open(f"s3://{OURS}/store")
        said: list[str] = []
        with Tracking(["tensorboard", "mlflow"], replace(tracked, store=store), said.append) as tracking:
            tracking.point(*HISTORY[0])
            tracking.end(HISTORY, "a" * 64)
        (path,) = store.list_files("tracking")
        assert path.startswith("tracking/c/2/align-random-pairs-0a1b2c3d/events.out.tfevents")
        copy = tmp_path / "copy"
        copy.mkdir()
        (copy / "events").write_bytes(store.read_bytes(path))
        assert len(scalars(copy)["loss"]) == len(HISTORY)
    assert len(said) == 1, "MLflow has no server to go to"


def test_mlflow_has_a_run_for_each_training_resumed_or_not(
    tracked: Tracked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracking_module = pytest.importorskip("mlflow.tracking")
    server = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    said: list[str] = []
    with Tracking(["mlflow"], tracked, said.append) as tracking:
        tracking.point(*HISTORY[0])
        tracking.point(*HISTORY[2])
    with Tracking(["mlflow"], tracked, said.append) as tracking:
        tracking.end(HISTORY, "a" * 64)
    assert said == []
    client = tracking_module.MlflowClient(tracking_uri=server)
    (run,) = client.search_runs([client.get_experiment_by_name("c").experiment_id])
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "round 2, align (random pairs)"
    assert run.data.params == {"train.beta": "10.0", "train.seed": "0"}
    assert run.data.tags["adhmr.model"] == "a" * 64
    points = client.get_metric_history(run.info.run_id, "loss")
    assert sorted(point.step for point in points) == list(range(1, 8))


def test_mlflow_tracks_the_first_trainings_of_a_campaign_that_begin_side_by_side(
    tracked: Tracked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client_of = pytest.importorskip("mlflow.tracking").MlflowClient
    server = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    monkeypatch.setattr(infra.tracking.tracking, "PATIENCE_SECONDS", 300.0)  # making a database takes long
    said: list[str] = []
    trainings = [replace(tracked, stage_key=letter * 64) for letter in "abc"]
    with (
        Tracking(["mlflow"], trainings[0], said.append) as one,
        Tracking(["mlflow"], trainings[1], said.append) as other,
    ):
        one.end(HISTORY, "a" * 64)
        other.end(HISTORY, "b" * 64)

    look_up, looks = client_of.get_experiment_by_name, []

    def not_there_yet(client: Any, name: str) -> Any:
        looks.append(name)
        return None if len(looks) == 1 else look_up(client, name)

    monkeypatch.setattr(client_of, "get_experiment_by_name", not_there_yet)  # as another process makes it meanwhile
    with Tracking(["mlflow"], trainings[2], said.append) as late:
        late.end(HISTORY, "c" * 64)
    assert said == []
    client = client_of(tracking_uri=server)
    runs = client.search_runs([client.get_experiment_by_name("c").experiment_id])
    assert {run.data.tags["adhmr.stage_key"][0] for run in runs} == {"a", "b", "c"}


class Broken:
    """A tracker that raises."""

    def __init__(self, tracked: Tracked) -> None: ...

    def points(self, points: Sequence[Point]) -> None:
        raise OSError("no\nserver")


class Hanging:
    """A tracker that never ends."""

    def __init__(self, tracked: Tracked) -> None:
        time.sleep(3600)


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("tests.infra.tracking.test_tracking:Broken", "OSError: no server"),
        ("tests.infra.tracking.test_tracking:Hanging", "no end after 0.2 s"),
        ("no_such_library:Tracker", "no_such_library is not installed (pip install 'adhmr-engine[tracking]')"),
    ],
)
def test_a_tracker_that_fails_costs_a_line(
    tracked: Tracked, monkeypatch: pytest.MonkeyPatch, place: str, line: str
) -> None:
    monkeypatch.setattr(infra.tracking.tracking, "TRACKERS", {**TRACKERS, "mlflow": place})
    monkeypatch.setattr(infra.tracking.tracking, "PATIENCE_SECONDS", 0.2 if "Hanging" in place else 30.0)
    said: list[str] = []
    with Tracking(["mlflow"], tracked, said.append) as tracking:
        tracking.point(*HISTORY[0])
        tracking.end(HISTORY, "a" * 64)
    assert said == [f"align (random pairs): tracking by mlflow failed, and nothing else did: {line}"]


def test_nothing_is_tracked_where_nothing_is_asked_for(tracked: Tracked) -> None:
    with Tracking([], tracked, print) as tracking:
        tracking.end(HISTORY, "a" * 64)
    assert not Path(tracked.store.path("tracking")).exists()


def test_settings_become_flat() -> None:
    assert flat({"a": {"b": {"c": 1}, "d": [1, 2]}, "e": None}) == {"a.b.c": "1", "a.d": "[1, 2]", "e": "None"}
