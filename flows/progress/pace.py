"""How fast a stage goes and when it will be over, in words."""

from dataclasses import dataclass


def clock_time(seconds: float) -> str:
    """ "0:41", "12:05" or "1:02:03" for a number of seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


@dataclass
class Pace:
    """Of one stage, from its first report of finished units on.

    What went before says nothing of it: neither loading and preparing, nor the units of an earlier run.
    """

    total: int
    unit: str
    done: int = 0
    _first_done: int = 0
    _first_at: float | None = None
    _last_at: float = 0.0

    def advance(self, count: int, now: float) -> None:
        """`count` more units are done at the time `now`, in seconds."""
        self.done += count
        if not self.done:
            return  # a word on what is being prepared
        if self._first_at is None:
            self._first_done, self._first_at = self.done, now
        self._last_at = now

    @property
    def per_second(self) -> float | None:
        """Units a second; None before there is a second report."""
        if self._first_at is None or self.done == self._first_done or self._last_at <= self._first_at:
            return None
        return (self.done - self._first_done) / (self._last_at - self._first_at)

    @property
    def rate(self) -> str:
        """ "52 images/s", or "0.31 images/s"; empty as long as `per_second` is None."""
        speed = self.per_second
        if speed is None:
            return ""
        return f"{speed:,.0f} {self.unit}/s" if speed >= 10 else f"{speed:.2g} {self.unit}/s"

    @property
    def left(self) -> str:
        """ "0:23 left"; empty as long as `per_second` is None, and when nothing is left."""
        speed = self.per_second
        return f"{clock_time((self.total - self.done) / speed)} left" if speed and self.total > self.done else ""
