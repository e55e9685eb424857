"""Ray on one machine: without the processes that it starts for clusters.

Of a node these are what scales a cluster, what sends logs to drivers (ours takes none) and what serves a dashboard (we
have none); of Ray Data, what counts for that dashboard, and what asks for machines and shares them among programs. Each
takes a second of two cores to start, and the first stage would wait for most of them, one after the other. Programs
that are at work on the machine at once wait for its cores as the node itself gives them.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib import import_module
from ipaddress import ip_address
from typing import Any, Final
from uuid import uuid4

import ray

_DATA: Final = "ray.data._internal"
_COUNTING: Final = f"{_DATA}.stats", "_StatsManager"
_NODE: Final = "ray._private.node", "Node"
_SHARING: Final = f"{_DATA}.cluster_autoscaler.default_autoscaling_coordinator", "DefaultAutoscalingCoordinator"


def _nothing(*given: Any, **named: Any) -> None: ...


@contextmanager
def lean_node() -> Iterator[None]:
    """A node that is started in the block has no more than it needs."""
    with _replaced(*_NODE, dict.fromkeys(("start_monitor", "start_log_monitor", "start_api_server"), _nothing)):
        yield


def is_alone() -> bool:
    """Whether the session's Ray is one node that no other machine reaches."""
    addresses = [node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]]
    return len(addresses) == 1 and ip_address(addresses[0]).is_loopback


@contextmanager
def lean_data() -> Iterator[None]:
    """Ray Data of this process, for the length of the block, in which Ray is one node (`is_alone`)."""
    everything = {node["NodeID"]: dict(node["Resources"]) for node in ray.nodes() if node["Alive"]}
    counting = {
        "gen_dataset_id_from_stats_actor": staticmethod(lambda: uuid4().hex),
        **dict.fromkeys(
            ("register_dataset_to_stats_actor", "update_execution_metrics", "update_iteration_metrics"),
            staticmethod(_nothing),
        ),
    }
    sharing = {
        "get_reserved_resources": lambda of: everything,
        **dict.fromkeys(("request_resources", "cancel_request"), _nothing),
    }
    with ExitStack() as replaced:
        for (module, name), methods in ((_COUNTING, counting), (_SHARING, sharing)):
            replaced.enter_context(_replaced(module, name, methods))
        yield


@contextmanager
def _replaced(module: str, name: str, methods: Mapping[str, Any]) -> Iterator[None]:
    """A class of Ray's own with other methods. A version of Ray that lacks one of them keeps what it has."""
    owner = _class(module, name)
    before = {method: vars(owner)[method] for method in methods if owner and method in vars(owner)}
    if len(before) < len(methods):
        yield
        return
    try:
        for method, other in methods.items():
            setattr(owner, method, other)
        yield
    finally:
        for method, own in before.items():
            setattr(owner, method, own)


def _class(module: str, name: str) -> type | None:
    try:
        found: type = getattr(import_module(module), name)
    except (ImportError, AttributeError):
        return None
    return found
