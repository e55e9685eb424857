"""What a run loads when it comes to it, for a process that can load it before there is a run.

By the names of modules: who imports this one has loaded none of them.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any, Final

from schemas.config.engine import RayConfig

OF_DRIVER: Final = ("tasks.engine.training", "tasks.compare", "tasks.report.fill", "tasks.report.page")
"""What trainings, gates and the report need of the process that runs a flow."""
OF_SHARDS: Final = (
    "tasks.generate",
    "tasks.score",
    "tasks.evaluate",
    "tasks.train.align",
    "tasks.engine.training_worker",
)
"""What the stages of a round need of the processes that Ray keeps for them."""


def load(names: Iterable[str]) -> None:
    """Import modules. One that can't be had is left to where it is needed, which says so."""
    for name in names:
        with suppress(ImportError):
            import_module(name)


def load_in_ray(settings: RayConfig) -> Sequence[Any]:
    """Have Ray start the processes that it keeps for this driver's shards, with what they need; references to wait for.

    One for each CPU at most: of more Ray ends those that have nothing to do.
    """
    import ray

    from tasks.engine.spread import as_many_as_fit

    each = {"CPU": settings.cpus_per_actor}
    fit = as_many_as_fit(each, settings.threads_per_actor) if settings.actors is None else settings.actors
    count = min(fit, int(ray.cluster_resources().get("CPU", 0)))
    task = ray.remote(load).options(num_cpus=settings.cpus_per_actor, max_retries=0)
    return [task.remote(OF_SHARDS) for _ in range(count)]
