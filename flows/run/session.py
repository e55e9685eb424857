"""What a flow run needs around it: configuration, store, lease, progress and one Ray session for all of it."""

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

from flows.process.quiet import plain_run_errors
from flows.progress.artifacts import PrefectProgress
from flows.progress.bars import ConsoleProgress
from flows.run.campaign.room import machine_has_resources
from flows.run.configuration import Choices
from flows.run.lease import BusyError, Lease, LeaseProgress, lease
from flows.run.live import LiveRunner
from flows.run.waiting import WaitingNote
from infra.repair import open_logs
from infra.store import Store
from schemas.layers import Configured
from schemas.tables import OUTSIDE_ROUNDS
from tasks.engine.context import Context

TURN_SECONDS = 10.0

_open: list[LiveRunner] = []
IN_PROCESS = False
"""Tests set it, to have stages work in this process instead of on Ray."""


@contextmanager
def session(what: str, store: str | None = None, choices: Choices | None = None) -> Iterator[LiveRunner]:
    """The runner of stages; `what` names the run to others that find the campaign busy. A flow inside a flow shares it.

    Raises ConfigError, StoreError, or BusyError if another process works on the campaign; a run of a deployment waits
    for its turn instead.
    """
    if _open:
        yield _open[-1]
        return
    configured = (choices or Choices()).configured()
    opened = Store.open(store)
    plain_run_errors()
    with _turn(opened, configured.config.campaign, what) as held, _runner(opened, configured, held) as runner:
        yield runner


@contextmanager
def single_step(
    store: str | None = None, choices: Choices | None = None, *, create: bool = False
) -> Iterator[LiveRunner]:
    """The runner of a stage or two that belong to no campaign: they are recorded for none, in round 0.

    It holds no lease. Two equal steps at once do no harm: a stage is committed once, whoever does it. Raises
    ConfigError, also for CPUs and GPUs that this machine lacks, and StoreError as where there is no store, unless
    it is to `create` one.
    """
    configured = (choices or Choices()).configured()
    if not create:
        Store.open(store, create=False)  # what a step works on is there already
    opened = Store.open(store)
    plain_run_errors()
    with _runner(opened, configured) as runner:
        machine_has_resources(runner.context)
        runner.in_round(OUTSIDE_ROUNDS)
        yield runner


@contextmanager
def _runner(store: Store, configured: Configured, held: Lease | None = None) -> Iterator[LiveRunner]:
    with ExitStack() as resources:
        console = resources.enter_context(closing(ConsoleProgress()))
        display = resources.enter_context(closing(PrefectProgress(console)))
        progress = LeaseProgress(display, held) if held else display
        open_logs(store, progress.say)
        may_go_on = held.check if held else store.check_is_there
        context = Context(store, configured.config, progress, in_process=IN_PROCESS)
        runner = LiveRunner(context, resources, may_go_on, configured)
        _open.append(runner)
        try:
            yield runner
        except Exception:
            store.check_is_there()  # what is missing is all of it, whatever was missed first
            raise
        finally:
            _open.pop()


@contextmanager
def _turn(store: Store, campaign: str, what: str) -> Iterator[Lease]:
    """The campaign's lease. A deployment's run waits for it, as no user is there to try again."""
    logger, run = _deployed()
    news: object = None
    with ExitStack() as notes:
        note: WaitingNote | None = None
        while True:
            with ExitStack() as held:
                try:
                    mine = held.enter_context(lease(store, campaign, what, flow_run=run))
                except BusyError as busy:
                    if logger is None:
                        raise
                    if news != busy.news:
                        news = busy.news
                        logger.info("%s This run waits for that.", busy)
                    if note is None:
                        note = WaitingNote(store, campaign, what, run)
                        notes.callback(note.remove)
                    note.write()
                    time.sleep(TURN_SECONDS)
                    continue
                notes.close()
                yield mine
                return


def _deployed() -> tuple[logging.Logger | logging.LoggerAdapter[logging.Logger] | None, str]:
    """Log and name of the current Prefect run, if a deployment started it; a command's is on no server for long."""
    from prefect import get_run_logger
    from prefect.runtime import deployment, flow_run

    return (get_run_logger(), str(flow_run.name or "")) if deployment.id else (None, "")
