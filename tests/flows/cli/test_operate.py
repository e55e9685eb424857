"""status, rounds and rollback, on stores whose history was written by hand; and two processes that decide at once."""

import re
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from flows.cli.main import app
from flows.run.lease import lease
from flows.run.round import coming_round
from flows.run.waiting import WaitingNote
from infra import rounds
from infra.begun import note_begin, note_end, unfinished
from infra.delta_log import log_entry
from infra.shards import Tally, cut, write_shard
from infra.stages import StageSpec, commit_rows
from infra.store import Store
from infra.tables import live_files, read
from schemas.errors import EngineError
from schemas.tables import build
from tests.infra import helpers

ROOT = Path(__file__).resolve().parents[3]
BASE, FIRST, SECOND = "ba5e" * 16, "f125" * 16, "5ec0" * 16


def call(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    for name in ("ADHMR_STORE", "PREFECT_API_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    return Store.open(tmp_path / "store")


@pytest.fixture
def lived(store: Store) -> Store:
    """A campaign of two promoted rounds, the second with figures."""
    rounds.begin(store, "c", BASE)
    for number, policy in ((1, FIRST), (2, SECOND)):
        rounds.open_round(store, "c", number, "dpo round")
        rounds.promote(store, "c", number, policy, "all gates hold", _compared(store, number, policy))
        rounds.close_round(store, "c", number)
    return store


def _compared(store: Store, number: int, policy: str) -> str:
    spec = StageSpec("compare", 1, {"number": number})
    rows = [("zero_noise_mpvpe", "change", -6.25, "wild"), ("drift", "change", 0.5, "source")]
    metrics = build(
        "metrics",
        {
            "stage_key": [spec.key] * 2,
            "name": [row[0] for row in rows],
            "unit": ["%"] * 2,
            "value": [row[2] for row in rows],
            "low": [None] * 2,
            "high": [None] * 2,
            "n": [10] * 2,
            "model": [policy] * 2,
            "dataset": [row[3] for row in rows],
            "split": ["test"] * 2,
            "role": [row[1] for row in rows],
            "round": [number] * 2,
        },
    )
    models = build(
        "models",
        {
            "digest": [policy],
            "kind": ["policy"],
            "uri": ["x"],
            "parents": [[BASE if policy == FIRST else FIRST]],
            "config_digest": ["0"],
            "config_json": ["{}"],
            "stage_key": [spec.key],
            "created_at": [datetime.now(UTC)],
        },
    )
    commit_rows(store, spec, {"metrics": metrics, "models": models})
    return spec.key


def test_rounds_show_figures_and_lineage(lived: Store) -> None:
    said = call("rounds", "--store", lived.url)
    assert said.exit_code == 0, said.output
    (line,) = (line for line in said.output.splitlines() if "current" in line and SECOND[:12] in line and "+" in line)
    for word in (FIRST[:12], "\u22126.2", "+0.5", "current", "promoted"):
        assert word in line
    assert "all gates hold" in said.output


def test_rounds_show_the_newest_and_say_how_many_there_were(lived: Store) -> None:
    every, last = (call("rounds", *words, "--store", lived.url).output for words in ([], ["--last", "1"]))
    assert "earlier rounds" not in every
    assert "1 earlier rounds are not shown" in last
    events = [line.split()[1:3] for line in last.splitlines() if line.startswith("c  ")]
    assert events == [["2", "opened"], ["2", "promoted"], ["2", "closed"]]
    assert [line.split()[0] for line in last.splitlines() if "+0.5" in line] == ["2"]


def test_a_round_is_a_line_of_eighty_columns(lived: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    said = call("rounds", "--store", lived.url)
    line = next(line for line in said.output.splitlines() if line.startswith("2 ") and SECOND[:12] in line)
    assert line.split()[1:4] == ["promoted", SECOND[:12], FIRST[:12]]
    assert line.split()[-1] == "current"
    assert len(line) <= 80


def test_rollback_adds_to_the_history(lived: Store) -> None:
    before = rounds.history(lived, "c").num_rows
    said = call("rollback", "--to", FIRST[:6], "--why", "complaints", "--store", lived.url)
    assert said.exit_code == 0, said.output
    assert f"Policy {FIRST[:12]} is current in campaign c now instead of {SECOND[:12]}" in said.output
    told = rounds.history(lived, "c").to_pylist()
    assert len(told) == before + 1
    assert (told[-1]["event"], told[-1]["policy"], told[-1]["previous"]) == ("rolled_back", FIRST, SECOND)
    assert told[-1]["why"] == "complaints"
    again = call("rollback", "--to", FIRST, "--store", lived.url)
    assert "is current in campaign c already: nothing was written" in again.output
    assert rounds.history(lived, "c").num_rows == before + 1
    assert call("rollback", "--to", SECOND, "--campaign", "c", "--store", lived.url).exit_code == 0
    assert rounds.state(lived, "c").policy == SECOND


def test_rollback_in_an_open_round_says_what_may_come(lived: Store) -> None:
    rounds.open_round(lived, "c", 3, "dpo round")
    said = call("rollback", "--to", BASE, "--store", lived.url)
    assert "Round 3 is open" in said.output


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--to", "abcd"], "was never the policy of campaign c; those that were current: ba5eba5eba5e, f125"),
        (["--to", ""], "was never the policy"),
        (["--to", "f125", "--campaign", "other"], "There is no campaign other; there are: c."),
    ],
)
def test_rollback_to_a_stranger(lived: Store, words: list[str], told: str) -> None:
    said = call("rollback", *words, "--store", lived.url)
    assert said.exit_code == 2
    assert told in said.stderr


def test_rollback_wants_a_campaign_where_there_are_several(lived: Store) -> None:
    assert "No campaign has begun" in call("rollback", "--to", "f", "--store", str(_other(lived).url)).stderr
    rounds.begin(lived, "d", BASE)
    assert "There are 2 campaigns (c, d): say which" in call("rollback", "--to", "f", "--store", lived.url).stderr


@pytest.mark.parametrize("command", ["rounds", "status", "report", "close --why x"])
def test_a_campaign_that_is_not_there(lived: Store, command: str) -> None:
    said = call(*command.split(), "--campaign", "other", "--store", lived.url)
    assert (said.exit_code, said.stderr) == (2, "adhmr: There is no campaign other; there are: c.\n")


def test_a_campaign_file_names_the_campaign(lived: Store, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("campaign: other\n", encoding="utf-8")
    file = ("--config", str(tmp_path / "mine.yaml"), "--store", lived.url)
    for words in (("rounds",), ("status",), ("close", "--why", "x"), ("rollback", "--to", FIRST)):
        said = call(*words, *file)
        assert (said.exit_code, said.stderr) == (2, "adhmr: There is no campaign other; there are: c.\n")
        assert "campaign other" not in call(*words, "--campaign", "c", *file).stderr


def test_a_round_that_nobody_will_finish_is_closed(lived: Store) -> None:
    rounds.open_round(lived, "c", 3, "clean round")
    with pytest.raises(EngineError, match=r"unfinished clean round: .*`adhmr close --why TEXT`"):
        coming_round(rounds.state(lived, "c"), "dpo", BASE)
    assert call("close", "--store", lived.url).exit_code == 2, "without a reason"
    assert "say in some words" in call("close", "--why", " ", "--store", lived.url).stderr
    said = call("close", "--why", "bad labels", "--store", lived.url)
    assert said.exit_code == 0, said.output
    assert f"Round 3 of campaign c is closed as abandoned; policy {SECOND[:12]} is current" in said.output
    for kind in ("dpo", "clean"):
        opened, resumed = coming_round(rounds.state(lived, "c"), kind, BASE)
        assert (opened.number, opened.policy, resumed) == (4, SECOND, False)
    assert "abandoned: bad labels" in call("rounds", "--store", lived.url).output
    assert "c: round 3 was abandoned (bad labels)" in call("status", "--store", lived.url).output
    assert (
        "Round 3 of campaign c was abandoned and has no report: bad labels"
        in call("report", "--round", "3", "--store", lived.url).stderr
    )
    again = call("close", "--why", "once more", "--store", lived.url)
    assert (again.exit_code, again.stderr) == (2, "adhmr: No round of campaign c is open.\n")


def test_a_round_that_somebody_works_on_is_not_closed(lived: Store) -> None:
    rounds.open_round(lived, "c", 3, "dpo round")
    with lease(lived, "c", "a DPO round"):
        said = call("close", "--why", "too slow", "--store", lived.url)
    assert said.exit_code == 2
    assert "Campaign c is being worked on: a DPO round" in said.stderr
    assert rounds.state(lived, "c").is_open


def _other(store: Store) -> Store:
    return Store.open(f"{store.root}-empty")


DECIDE = """
import sys, time
from pathlib import Path
from infra import rounds
from infra.store import Store
store, what, policy, go = Store.open(sys.argv[1]), sys.argv[2], sys.argv[3], Path(sys.argv[4])
print("ready", flush=True)
while not go.exists():
    time.sleep(0.001)
if what == "promote":
    done = rounds.promote(store, "c", 3, policy, "all gates hold")
else:
    done = rounds.roll_back(store, "c", policy, "complaints")
print(done)
"""


@pytest.mark.slow
def test_a_promotion_and_a_rollback_at_the_same_moment(lived: Store, tmp_path: Path) -> None:
    third = "7417d" * 12 + "0000"
    rounds.open_round(lived, "c", 3, "dpo round")
    before = rounds.history(lived, "c").num_rows
    go = tmp_path / "go"
    both = [
        subprocess.Popen(
            [sys.executable, "-c", DECIDE, lived.url, what, policy, str(go)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        for what, policy in (("promote", third), ("roll_back", BASE))
    ]
    try:
        for one in both:
            assert one.stdout is not None
            assert one.stdout.readline() == "ready\n"
        go.touch()
        assert [one.communicate(timeout=120)[0] for one in both] == ["True\n", "True\n"]
    finally:
        for one in both:
            one.kill()
            one.wait()
    told = rounds.history(lived, "c").to_pylist()
    assert len(told) == before + 2
    assert [row["sequence"] for row in told] == list(range(1, len(told) + 1))
    last, newest = told[-2:]
    assert {(row["event"], row["policy"]) for row in (last, newest)} == {("promoted", third), ("rolled_back", BASE)}
    assert (last["previous"], newest["previous"]) == (SECOND, last["policy"])
    assert rounds.state(lived, "c").policy == newest["policy"]
    assert {SECOND, FIRST, BASE} <= set(read(lived, "rounds").column("policy").to_pylist())


def test_repair_says_what_it_did_and_what_is_left(lived: Store) -> None:
    assert "Nothing to repair" in call("repair", "--store", lived.url).output
    key = helpers.run(lived).stage_key
    Path(lived.path(log_entry("scores", 1))).unlink()
    for words, told in ((["--dry-run"], "would do"), ([], "done")):
        said = call("repair", *words, "--store", lived.url)
        assert said.exit_code == 0, said.output
        assert said.output.startswith(f"{told}  toy {key[:12]}: scores has 0 of 7 rows: put back from files")
    file = live_files(lived, "scores")[0]
    lived.remove(file.name)
    left = call("repair", "--store", lived.url)
    assert left.exit_code == 1
    assert left.output.startswith(f"left  {file.name} is not there. Put it back from a copy, or: ")


def test_status_of_a_store_at_rest(lived: Store) -> None:
    said = call("status", "--store", lived.url)
    assert said.exit_code == 0, said.output
    assert f"c: round 2 is closed; policy {SECOND[:12]} is current; no run is at work" in said.output
    assert "no unfinished stages" in said.output
    assert "No Prefect server is named" in said.output
    assert "No campaign has begun" in call("status", "--store", _other(lived).url).output


def test_status_of_a_round_at_work(lived: Store) -> None:
    rounds.open_round(lived, "c", 3, "dpo round")
    spec = StageSpec("score", 1, {"size": 4}, campaign="c", in_round=3)
    shards = cut(helpers.IDS, 4)
    note_begin(lived, spec, len(shards), "shards")
    write_shard(lived, spec.key, shards[0], {"scores": helpers.scores(spec.key, list(shards[0].ids))}, Tally(ok=4))
    with lease(lived, "c", "a DPO round"):
        said = call("status", "--store", lived.url).output
    assert "round 3 (dpo round) is open for 0:0" in said
    assert "at work: a DPO round, process" in said
    (line,) = (line for line in said.splitlines() if spec.key[:12] in line)
    for word in ("score", "c", "3", "1 of 3 shards", "ago"):
        assert word in line
    assert "No run is at work on them" not in said
    left = call("status", "--store", lived.url).output
    assert "no run is at work, the next run goes on with it" in left
    assert "No run is at work on them" in left


def test_status_says_who_waits_for_whom(lived: Store) -> None:
    note = WaitingNote(lived, "c", "a cleaning round", "brave-otter")
    note.write()
    assert "waits for its turn: a cleaning round, process" in call("status", "--store", lived.url).output
    with lease(lived, "c", "a DPO round", flow_run="calm-crane") as held:
        held.progress("generate, waiting for Ray: 1 GPU needed, 0 of 2 GPU free")
        held.show(time.time())
        holding, waiting = call("status", "--store", lived.url).output.splitlines()[:2]
    assert re.search(r"at work: a DPO round, process \d+ on \S+, flow run calm-crane, for 0:0\d", holding)
    assert "ago in generate, waiting for Ray: 1 GPU needed, 0 of 2 GPU free" in holding
    assert re.match(r"  waits for that: a cleaning round, process \d+ on \S+, flow run brave-otter, for 0:0\d", waiting)
    note.remove()
    assert "waits" not in call("status", "--store", lived.url).output


def test_status_counts_the_steps_of_a_training(lived: Store) -> None:
    spec = StageSpec("align", 1, {}, campaign="c", in_round=3)
    note_begin(lived, spec, 600, "steps")
    lived.atomic_write(f"ray/align-{spec.key[:16]}/engine/progress.json", b'{"step": 250, "note": "loss 1"}')
    (one,) = unfinished(lived)
    assert (one.done, one.begun.total, one.last is None) == (250, 600, False)
    note_end(lived, spec)
    assert unfinished(lived) == []


@pytest.mark.slow
def test_a_server_that_is_named_and_gone(lived: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: "http://name:planted@127.0.0.1:9/api"}):
        said = call("status", "--store", lived.url)
    assert said.exit_code == 0, said.output
    assert "Prefect at http://127.0.0.1:9/api does not answer" in said.output
    assert "planted" not in said.output


@pytest.mark.slow
def test_flow_runs_of_a_server_are_listed(lived: Store) -> None:
    from prefect import flow, get_client
    from prefect.states import Late, Scheduled
    from prefect.testing.utilities import prefect_test_harness

    heard: list[str] = []

    @flow(name="clean-round")
    def clean_round() -> None:
        pass

    @flow(name="dpo-round", flow_run_name="round three")
    def at_work() -> None:
        with get_client(sync_client=True) as client:
            when = datetime.now(UTC) - timedelta(minutes=5)
            client.create_flow_run(clean_round, name="round four", state=Late(scheduled_time=when))
            client.create_flow_run(clean_round, name="round five", state=Scheduled(scheduled_time=when))
        heard.append(call("status", "--store", lived.url).output)

    with prefect_test_harness(server_startup_timeout=180):
        at_work()
    assert "1 flow runs at work, 1 waiting" in heard[0]
    assert "dpo-round: round three, Running, for 0:0" in heard[0]
    assert re.search(
        r"clean-round: round four, Late, for 5:0\d; waits for a worker of its deployment: none has", heard[0]
    )
    assert "round five" not in heard[0]
