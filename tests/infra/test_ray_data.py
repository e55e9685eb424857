"""Ray Data in a session of our own runs without the processes that it starts for clusters, and afterwards with them."""

import pytest
import ray
from ray.data._internal.cluster_autoscaler.default_autoscaling_coordinator import DefaultAutoscalingCoordinator
from ray.data._internal.stats import _StatsManager

from infra import ray_data
from infra.ray_session import ray_session

pytestmark = pytest.mark.slow


def test_no_actor_of_ray_data_is_started() -> None:
    before = [dict(vars(owner)) for owner in (_StatsManager, DefaultAutoscalingCoordinator)]
    with ray_session(cpus=1):
        doubled = ray.data.from_items([1, 2, 3]).map(lambda row: {"twice": 2 * row["item"]}, num_cpus=0.5)
        assert sorted(row["twice"] for row in doubled.iter_rows()) == [2, 4, 6]
        assert ray.util.list_named_actors(all_namespaces=True) == []
    assert [dict(vars(owner)) for owner in (_StatsManager, DefaultAutoscalingCoordinator)] == before


def test_another_version_of_ray_keeps_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(_StatsManager, "update_iteration_metrics")
    monkeypatch.setattr(ray_data, "_SHARING", ("ray.data.elsewhere", "Coordinator"))
    monkeypatch.setattr(ray, "nodes", list)
    before = dict(vars(_StatsManager))
    with ray_data.without_helpers():
        assert dict(vars(_StatsManager)) == before
