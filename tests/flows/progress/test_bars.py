"""ConsoleProgress: bars on a terminal, few and whole lines elsewhere."""

import io
import threading
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from flows.progress.bars import ConsoleProgress, PatientConsole
from flows.progress.pace import clock_time


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def plain(clock: Clock, interval: float = 10.0) -> tuple[ConsoleProgress, io.StringIO]:
    out = io.StringIO()
    return ConsoleProgress(Console(file=out, width=60, force_terminal=False), interval, clock), out


def test_off_a_terminal_it_prints_begin_seldom_lines_and_end() -> None:
    clock = Clock()
    progress, out = plain(clock)
    progress.begin("generate", 2000, "images")
    for _ in range(40):
        clock.now += 1.0
        progress.advance("generate", 50, "loss 0.31")
    progress.end("generate", "all fine")
    lines = out.getvalue().splitlines()
    assert lines[0] == "generate: begins, 2,000 images"
    assert lines[1] == "generate: 500 of 2,000 images (25 %), 50 images/s, 0:30 left, loss 0.31"
    assert lines[-1] == "generate: done, 2,000 images in 0:40; all fine"
    assert len(lines) == 2 + 4


@given(steps=st.lists(st.floats(0, 5), max_size=200), interval=st.floats(1, 20))
def test_never_a_flood(steps: list[float], interval: float) -> None:
    clock = Clock()
    progress, out = plain(clock, interval)
    progress.begin("score", len(steps), "rows")
    for step in steps:
        clock.now += step
        progress.advance("score")
    progress.end("score")
    assert len(out.getvalue().splitlines()) <= 2 + clock.now / interval


def test_what_is_said_is_neither_wrapped_nor_read_as_markup() -> None:
    progress, out = plain(Clock())
    text = "[bold]reused[/bold] " + "x" * 200 + " [1, 2] :smile:"
    progress.say(text)
    progress.begin("pair [a]", 1, "pairs")
    progress.end("pair [a]", "[red]")
    assert out.getvalue().splitlines() == [
        text,
        "pair [a]: begins, 1 pairs",
        "pair [a]: done, 0 pairs in 0:00; [red]",
    ]


def test_stages_that_never_began_do_no_harm() -> None:
    progress, out = plain(Clock())
    progress.end("align", "reused")
    progress.advance("score", 3)
    progress.end("score")
    assert out.getvalue().splitlines() == [
        "align: reused",
        "score: begins, 0 units",
        "score: done, 3 units in 0:00",
    ]


def test_on_a_terminal_bars_are_drawn_and_the_cursor_comes_back() -> None:
    out = io.StringIO()
    console = Console(file=out, width=120, force_terminal=True)

    def broken_off() -> None:
        with closing(ConsoleProgress(console)) as progress:
            progress.begin("train base", 100, "steps")
            progress.advance("train base", 40, "loss 0.5")
            progress.say("a line above the bars")
            progress.begin("score", 10, "images")
            progress.end("score", "done well")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        broken_off()
    shown = out.getvalue()
    assert "40 of 100 steps (40 %)" in shown
    assert "loss 0.5" in shown
    assert "a line above the bars" in shown
    assert "score: done, 0 images in 0:00; done well" in shown
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 1, "cursor hidden and shown again"


def test_time_left_is_seen_in_eighty_columns() -> None:
    """With the longest names of stages, and counts of a large set."""
    clock = Clock()
    progress, _ = plain(clock)
    for stage, unit in (("align (random pairs)", "steps"), ("evaluate (first policy)", "hypotheses")):
        progress.begin(stage, 128_000, unit)
        for _ in range(4):
            clock.now += 10.0
            progress.advance(stage, 400, "loss 0.310, and more than there is room for")
    drawn = io.StringIO()
    Console(file=drawn, width=80).print(progress._bars)
    lines = [line.rstrip() for line in drawn.getvalue().splitlines()]
    assert len(lines) == 2
    assert all(len(line) <= 80 for line in lines)
    assert "align (random pairs)" in lines[0]
    assert "52:40 left, 1,600 of 128,000 steps" in lines[0]
    assert "evaluate (first policy)" in lines[1]
    assert "52:40 left, 1,600 of 128,000 hyp" in lines[1]
    progress.close()


def test_what_went_before_the_first_report_says_nothing_of_the_pace() -> None:
    """Two minutes of preparation, told or not, don't make a training of two steps a second look like one of half a
    step."""
    clock = Clock()
    progress, out = plain(clock)
    progress.begin("train", 200, "steps")
    progress.advance("train", 0)
    clock.now += 120.0
    progress.advance("train", 20)
    for _ in range(4):
        clock.now += 10.0
        progress.advance("train", 20)
    lines = out.getvalue().splitlines()
    assert lines[1] == "train: 20 of 200 steps (10 %)"
    assert lines[2] == "train: 40 of 200 steps (20 %), 2 steps/s, 1:20 left"
    assert lines[-1] == "train: 100 of 200 steps (50 %), 2 steps/s, 0:50 left"
    progress.end("train")


def test_threads_count_every_unit() -> None:
    progress, out = plain(Clock())
    progress.begin("generate", 4000, "images")

    def work() -> None:
        for _ in range(1000):
            progress.advance("generate")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    progress.end("generate")
    assert "done, 4,000 images" in out.getvalue()


def test_a_reader_that_has_gone_away_stops_nothing() -> None:
    class GoneFile(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    console = PatientConsole()
    console.file = GoneFile()
    progress = ConsoleProgress(console)
    progress.begin("generate", 2, "images")
    progress.advance("generate")
    progress.end("generate")


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (41.4, "0:41"), (725, "12:05"), (3723, "1:02:03")])
def test_clock_time(seconds: float, text: str) -> None:
    assert clock_time(seconds) == text
