"""The command review, as it is typed, on pairs that were written by hand."""

import csv
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from flows.cli.main import app
from infra import rounds
from infra.reviews import PairName, latest
from infra.store import Store
from tests.infra.reviewing import store_with_pairs


def call(*words: str) -> Result:
    return CliRunner().invoke(app, ["review", *words])


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Store, list[PairName]]:
    store, pairs = store_with_pairs(tmp_path / "store")
    rounds.begin(store, "c", "ba5e" * 16)
    rounds.open_round(store, "c", 1, "dpo round")
    monkeypatch.setenv("ADHMR_STORE", store.url)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("ADHMR_REVIEWER", raising=False)
    return store, pairs


def test_from_list_to_verdict_to_undo(made: tuple[Store, list[PairName]]) -> None:
    store, pairs = made
    said = call("--sample", "uncertain", "3")
    assert said.exit_code == 0, said.output
    assert max(map(len, said.output.splitlines())) <= 120
    assert pairs[0].digest[:12] in said.output
    (command,) = re.findall(r"next:   adhmr review (.*)", said.output)
    assert call(*command.replace("NAME", "anna").split(), "--note", "feet").output.strip().startswith("anna: accept")
    assert latest(store)[pairs[0].digest]["anna"].note == "feet"
    again = call("--verdict", pairs[0].digest[:8], "accept", "--reviewer", "anna", "--note", "feet")
    assert "nothing was written" in again.output
    assert call("--verdict", pairs[0].digest, "swap", "--reviewer", "ben").exit_code == 0
    state = call().output
    assert "0 of 10 pairs are judged" in state, "two who are divided are no verdict"
    assert "agreement of 2 reviewers on 1 pairs: 0%" in state
    assert "swap of wild/train/00000000#0 1>2 is taken back" in call("--undo", "last", "--reviewer", "ben").output
    assert "1 of 10 pairs are judged" in call().output
    assert "There is no verdict of ben" in call("--undo", "last", "--reviewer", "ben").stderr


def test_a_list_goes_out_as_a_file_and_comes_back(made: tuple[Store, list[PairName]], tmp_path: Path) -> None:
    store, _ = made
    path = tmp_path / "pairs.csv"
    assert call("--sample", "random", "4", "--out", str(path)).exit_code == 0
    assert "nothing is overwritten" in call("--sample", "random", "4", "--out", str(path)).stderr
    rows = list(csv.DictReader(path.open()))
    for row, verdict in zip(rows, ("accept", "swap", "nonsense", ""), strict=True):
        row["verdict"] = verdict
    with path.open("w") as written:
        writer = csv.DictWriter(written, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    done = call("--import", str(path), "--reviewer", "anna")
    assert done.exit_code == 2
    assert "2 verdicts written, 0 known before, 1 lines without one" in done.output
    assert "line 4: 'nonsense' is no verdict" in done.stderr
    assert {by["anna"].verdict for by in latest(store).values()} == {"accept", "swap"}
    assert len(latest(store)) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--verdict", "123456", "accept"), "Who says it?"),
        (("--verdict", "123456", "accept", "--reviewer", "a"), "no pair '123456'"),
        (("--sample", "best", "3"), "There is no sampling 'best'"),
        (("--sample", "random", "3", "--undo", "last"), "--sample and --undo are different things"),
        (("--note", "x"), "belong to --verdict"),
        (("--out", "x"), "say that as well"),
        (("--round", "7"), "Campaign c: round 7 has not made pairs"),
        (("--pairs", "fff"), "no pairs are called so"),
        (("--import", "nowhere.csv"), "can't be read"),
    ],
)
def test_what_can_not_be_done_is_said_in_a_line(
    made: tuple[Store, list[PairName]], words: tuple[str, ...], said: str
) -> None:
    answer = call(*words)
    assert answer.exit_code == 2
    assert said in answer.stderr.replace("\n", " ")


def test_hostile_words_are_shown_and_not_obeyed(made: tuple[Store, list[PairName]]) -> None:
    _, pairs = made
    note = "\x1b]0;title\x07'; DROP TABLE pairs; --"
    said = call("--verdict", pairs[0].digest, "reject", "--reviewer", "<script>", "--note", note)
    assert said.exit_code == 0
    assert "\x1b" not in call().output
    assert "<script>" in call().output
