"""What a flow run needs around it: configuration, store, lease, progress and one Ray session for all of it."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from flows.configuration import configuration
from flows.lease import lease
from flows.progress import ConsoleProgress, PrefectProgress
from flows.quiet import plain_run_errors
from flows.stages import Running
from infra.store import Store
from tasks.context import Context

_open: list[Running] = []
IN_PROCESS = False
"""Tests set it, to have stages work in this process instead of on Ray."""


@contextmanager
def session(
    what: str,
    store: str | None = None,
    profile: str = "tiny",
    campaign: str | None = None,
    seed: int = 0,
    changes: Mapping[str, str] | None = None,
) -> Iterator[Running]:
    """A line that runs stages; `what` is told to whoever finds the campaign busy. A flow inside of a flow shares it.

    Raises ConfigError, StoreError, or BusyError if another process works on the campaign.
    """
    if _open:
        yield _open[-1]
        return
    config = configuration(profile, campaign, seed, changes)
    opened = Store.open(store)
    plain_run_errors()
    with ExitStack() as resources:
        resources.enter_context(lease(opened, config.campaign, what))
        progress = resources.enter_context(PrefectProgress(resources.enter_context(ConsoleProgress())))
        line = Running(Context(opened, config, progress, in_process=IN_PROCESS), resources)
        _open.append(line)
        try:
            yield line
        finally:
            _open.pop()
