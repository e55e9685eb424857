"""What data holds reaches a terminal as text: no title is set, no line written over, no clipboard filled."""

import io
import logging
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from typer.testing import CliRunner

from flows.cli.main import app
from flows.cli.show.findings import print_finding
from flows.cli.show.rows import print_rows
from flows.process.errors import clear_errors
from flows.process.quiet import plain_run_errors
from flows.process.terminal import TextConsole, escape
from flows.process.visible import visible
from flows.progress.bars import ConsoleProgress
from infra.deep import Finding
from infra.store import Store
from schemas.errors import DataError

TITLE = "\x1b]0;owned\x07"
SHOWN = "\\x1b]0;owned\\x07"
ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (TITLE, SHOWN),
        ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
        ("\x9b2J\x7f", "\\x9b2J\\x7f"),
        ("gpj.\u202eexe", "gpj.\\u202eexe"),
        ("\udc80", "\\udc80"),
        ("Zoë 人 👩\u200d👧 C:\\x1b", "Zoë 人 👩\u200d👧 C:\\x1b"),
    ],
)
def test_control_characters_are_shown(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(st.text(alphabet=st.characters(), max_size=40))
def test_nothing_that_is_shown_controls(text: str) -> None:
    shown = visible(text, keep="\n")
    assert all(character.isprintable() or character == "\n" or ord(character) >= 0xA0 for character in shown)
    assert visible(shown, keep="\n") == shown
    shown.encode("utf-8")


class Terminal(io.TextIOWrapper):
    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", write_through=True)

    def isatty(self) -> bool:
        return True

    def text(self) -> str:
        self.flush()
        return self.buffer.getvalue().decode()  # type: ignore[attr-defined, no-any-return]


def test_styles_and_bars_still_work() -> None:
    out = Terminal()
    console = TextConsole(file=out, force_terminal=True, width=60, color_system="standard")
    table = Table(title=TITLE)
    table.add_column(TITLE)
    table.add_row(f"[bold]{escape(f'[red]{TITLE}')}[/bold]")
    console.print(table)
    with closing(ConsoleProgress(console)) as progress:
        progress.begin(f"generate{TITLE}", 2, "images")
        progress.advance(f"generate{TITLE}", 1, f"of {TITLE}")
        progress.say(f"note {TITLE}")
    said = out.text()
    assert "\x1b[1m" in said
    assert "\x1b[?25l" in said  # the cursor is hidden while bars are drawn
    assert TITLE not in said
    assert "\x1b]" not in said
    assert said.count("\\x1b]0;o") >= 4  # what is too wide is cut off


def test_answers_of_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    rows = pa.table({f"a{TITLE}": [TITLE, None], "list": [[TITLE], []]})
    print_rows(rows)
    print_finding(Finding("data", "note", f"file {TITLE}"))
    with pytest.raises(SystemExit), clear_errors():
        raise DataError(f"no picture in {TITLE}")
    out, err = capsys.readouterr()
    assert "\x1b" not in out + err
    assert out.count(SHOWN) == 4
    assert err == f"adhmr: no picture in {SHOWN}\n"


def test_csv_is_shown_to_people_and_handed_to_files(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = pa.table({"a": [TITLE]})
    for out, written in ((Terminal(), f'"a"\n"{SHOWN}"\n'), (io.TextIOWrapper(io.BytesIO()), f'"a"\n"{TITLE}"\n')):
        monkeypatch.setattr(sys, "stdout", out)
        print_rows(rows, as_csv=True)
        out.flush()
        assert out.buffer.getvalue().decode() == written  # type: ignore[attr-defined]


def test_an_answer_to_sql(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    sql = "SELECT chr(27) || ']0;owned' || chr(7) AS \"x\x1b[2J\", [chr(155)] AS listed"
    answer = CliRunner().invoke(app, ["query", sql, "--store", store.url])
    assert answer.exit_code == 0, answer.output
    assert not {"\x1b", "\x9b", "\x07"} & set(answer.output)
    assert SHOWN in answer.stdout
    refused = CliRunner().invoke(app, ["query", "SELECT '\x1b[2J' FROM nowhere", "--store", store.url])
    assert refused.exit_code == 2
    assert "\x1b" not in refused.output


def test_what_prefect_logs() -> None:
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    logging.getLogger().addHandler(handler)
    try:
        plain_run_errors()
        plain_run_errors()
    finally:
        logging.getLogger().removeHandler(handler)
    try:
        raise ValueError(TITLE)
    except ValueError:
        handler.handle(logging.LogRecord("any", logging.ERROR, "", 1, "row %s", (TITLE,), sys.exc_info()))
    assert "\x1b" not in out.getvalue()
    assert out.getvalue().startswith(f"row {SHOWN}\nTraceback")
    assert f"ValueError: {SHOWN}" in out.getvalue()


@pytest.mark.slow
def test_a_defects_traceback() -> None:
    script = f"from flows.cli import main\ndef app(): raise ValueError({TITLE!r})\nmain.app = app\nmain.main()"
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("Traceback")
    assert ended.stderr.endswith(f"ValueError: {SHOWN}\n")
