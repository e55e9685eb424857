"""A session of our own runs without the processes that Ray starts for clusters; afterwards Ray is what it was."""

import psutil
import pytest
import ray
from ray._private.node import Node
from ray.data._internal.cluster_autoscaler.default_autoscaling_coordinator import DefaultAutoscalingCoordinator
from ray.data._internal.stats import _StatsManager

from infra import ray_alone
from infra.ray_session import ray_session


@pytest.mark.parametrize(
    ("addresses", "alone"),
    [(["127.0.0.1"], True), (["127.0.0.1", "127.0.0.1"], False), (["10.0.0.5"], False), (["fd00::5"], False)],
)
def test_ray_is_alone_on_one_node_of_the_loopback(
    addresses: list[str], alone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = [{"NodeManagerAddress": address, "Alive": True} for address in addresses]
    monkeypatch.setattr(ray, "nodes", lambda: [*nodes, {"NodeManagerAddress": "10.0.0.9", "Alive": False}])
    assert ray_alone.is_alone() is alone


@pytest.mark.slow
def test_no_process_is_started_that_one_machine_has_no_use_for() -> None:
    owners = _StatsManager, DefaultAutoscalingCoordinator, Node
    before = [dict(vars(owner)) for owner in owners]
    with ray_session(cpus=1):
        started = [_words(one) for one in psutil.Process().children(recursive=True)]
        assert any("gcs_server" in words for words in started)
        assert not [words for words in started if "monitor.py" in words or "dashboard.py" in words]
        doubled = ray.data.from_items([1, 2, 3]).map(lambda row: {"twice": 2 * row["item"]}, num_cpus=0.5)
        assert sorted(row["twice"] for row in doubled.iter_rows()) == [2, 4, 6]
        assert ray.util.list_named_actors(all_namespaces=True) == []
    assert [dict(vars(owner)) for owner in owners] == before


def _words(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # it has ended, as one that another test left
        return ""


@pytest.mark.slow
def test_another_version_of_ray_keeps_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(_StatsManager, "update_iteration_metrics")
    monkeypatch.setattr(ray_alone, "_SHARING", ("ray.data.elsewhere", "Coordinator"))
    monkeypatch.setattr(ray, "nodes", list)
    before = dict(vars(_StatsManager))
    with ray_alone.lean_data():
        assert dict(vars(_StatsManager)) == before
