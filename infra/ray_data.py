"""Ray Data in a session of our own: without the two processes that it starts for clusters.

One counts for a dashboard, which we have not; the other asks a cluster's autoscaler for machines, and shares them among
programs. Each takes a second of two cores to start, and the first stage would wait for one after the other.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import Any, Final
from uuid import uuid4

import ray

_DATA: Final = "ray.data._internal"
_COUNTING: Final = f"{_DATA}.stats", "_StatsManager"
_SHARING: Final = f"{_DATA}.cluster_autoscaler.default_autoscaling_coordinator", "DefaultAutoscalingCoordinator"


@contextmanager
def without_helpers() -> Iterator[None]:
    """For the length of the block, in which Ray runs on this machine alone, and for this process."""
    everything = {node["NodeID"]: dict(node["Resources"]) for node in ray.nodes() if node["Alive"]}

    def nothing(*given: Any, **named: Any) -> None: ...

    counting = {
        "gen_dataset_id_from_stats_actor": staticmethod(lambda: uuid4().hex),
        **dict.fromkeys(
            ("register_dataset_to_stats_actor", "update_execution_metrics", "update_iteration_metrics"),
            staticmethod(nothing),
        ),
    }
    sharing = {
        "get_reserved_resources": lambda of: everything,
        **dict.fromkeys(("request_resources", "cancel_request"), nothing),
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
