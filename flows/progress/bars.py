"""Progress on the console: live bars where there is a terminal, a few plain lines where there is none."""

import atexit
import threading
import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TaskID, TextColumn
from rich.text import Text

from flows.process.terminal import TextConsole
from flows.process.visible import visible
from flows.progress.pace import Pace, clock_time


class PatientConsole(TextConsole):
    """A console on standard error that falls silent, instead of ending the program, when its reader has gone away."""

    def __init__(self) -> None:
        super().__init__(stderr=True)

    def on_broken_pipe(self) -> None:
        self.quiet = True


class ConsoleProgress:
    """A `Progress` on a console. Safe to call from several threads; methods return at once and don't raise.

    On a terminal every running stage has a live bar with rate, time left and its last note. Elsewhere (a log file, a
    CI job) a stage prints a line when it begins, one at most every `interval` seconds, and one when it ends. Close it
    (`contextlib.closing`), so that the terminal is put in order again whatever happens.
    """

    def __init__(
        self, console: Console | None = None, interval: float = 10.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`console`: where to write, standard error by default; `interval`: seconds between lines off a terminal."""
        self._console = console or PatientConsole()
        self._live = self._console.is_terminal and not self._console.is_dumb_terminal
        self._interval = interval
        self._clock = clock
        self._lock = threading.RLock()
        self._tasks: dict[str, TaskID] = {}
        self._printed: dict[str, float] = {}
        # Off a terminal this never starts to draw: it only counts and estimates.
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=12),
            _StateColumn(),
            console=self._console,
            get_time=clock,
            transient=True,
            refresh_per_second=4,
        )
        atexit.register(self.close)

    def begin(self, stage: str, total: int, unit: str) -> None:
        with self._lock:
            if stage in self._tasks:
                self._forget(stage)
            task_id = self._bars.add_task(stage, total=total or None, pace=Pace(total, unit), note="")
            self._tasks[stage] = task_id
            if self._live:
                self._bars.start()
            else:
                self._printed[stage] = self._clock()
                self.say(f"{stage}: begins, {total:,} {unit}")

    def advance(self, stage: str, count: int = 1, note: str = "") -> None:
        with self._lock:
            if stage not in self._tasks:
                self.begin(stage, 0, "units")
            task = self._task(stage)
            task.fields["pace"].advance(count, self._clock())
            self._bars.update(task.id, advance=count, note=note or task.fields["note"])
            if not self._live and self._clock() - self._printed[stage] >= self._interval:
                self._printed[stage] = self._clock()
                pace, note = task.fields["pace"], visible(task.fields["note"])
                self.say(f"{stage}: {', '.join(filter(None, (_counted(task), pace.rate, pace.left, note)))}")

    def end(self, stage: str, note: str = "") -> None:
        with self._lock:
            if stage not in self._tasks:
                self.say(f"{stage}: {note}" if note else f"{stage}: done")
                return
            task = self._task(stage)
            text = f"{int(task.completed):,} {task.fields['pace'].unit} in {clock_time(task.elapsed or 0.0)}"
            self._forget(stage)
            self.say(f"{stage}: done, {text}" + (f"; {note}" if note else ""))
            if self._live and not self._tasks:
                self._bars.stop()

    def say(self, text: str) -> None:
        with self._lock:
            # Whole lines, never wrapped or cut: they are read with grep as often as with eyes.
            self._console.print(visible(text), markup=False, emoji=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Take the bars away and give the terminal its cursor back. Harmless when called twice."""
        with self._lock:
            for stage in list(self._tasks):
                self._forget(stage)
            if self._live:
                self._bars.stop()
            atexit.unregister(self.close)

    def _task(self, stage: str) -> Task:
        task_id = self._tasks[stage]
        return next(task for task in self._bars.tasks if task.id == task_id)

    def _forget(self, stage: str) -> None:
        self._bars.remove_task(self._tasks.pop(stage))
        self._printed.pop(stage, None)


class _StateColumn(ProgressColumn):
    """What is asked first comes first: in 80 columns the end of it may have no room."""

    def render(self, task: Task) -> Text:
        pace: Pace = task.fields["pace"]
        parts = (pace.left, _counted(task), pace.rate, visible(task.fields["note"]))
        return Text(", ".join(filter(None, parts)), overflow="ellipsis", no_wrap=True)


def _counted(task: Task) -> str:
    unit = task.fields["pace"].unit
    if task.total:
        return f"{int(task.completed):,} of {int(task.total):,} {unit} ({int(task.percentage)} %)"
    return f"{int(task.completed):,} {unit}"
