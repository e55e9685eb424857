"""The command line: what it says of wrong input, and what it does not import."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import flows.doctor.machine
from flows.cli.main import app
from flows.run.lease import lease
from infra import rounds
from infra.stages import commit_rows, records
from infra.store import Store
from schemas.tables import build
from tests.flows.queries import QUERIES
from tests.infra import helpers
from tests.tasks.ingest import pictures


def call(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def complaint(result: Result) -> str:
    assert result.exit_code == 2, result.output
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert "Traceback" not in result.output
    return lines[0]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


@pytest.fixture(autouse=True)
def _no_store_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ADHMR_STORE", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("command", ["run", "clean", "evaluate", "plan"])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("align.betta=3", "There is no configuration field 'align.betta'"),
        ("align.beta=minus", "Configuration field align.beta: Input should be a valid number"),
        ("align.beta", "--set align.beta: give a field and a value"),
    ],
)
def test_wrong_configuration(command: str, change: str, said: str) -> None:
    assert said in complaint(call(command, "--set", change))


def test_unknown_profile() -> None:
    assert "There is no profile 'huge'; there are tiny, micro, paper" in complaint(call("run", "--profile", "huge"))


@pytest.mark.parametrize("words", [("query", "SELECT 1"), ("rounds",), ("report",), ("vacuum",)])
def test_missing_store(words: tuple[str, ...], tmp_path: Path) -> None:
    said = complaint(call(*words, "--store", str(tmp_path / "nowhere")))
    assert f"There is no store at {tmp_path / 'nowhere'}" in said
    assert not (tmp_path / "nowhere").exists()


def test_unknown_table(store: Store) -> None:
    said = complaint(call("query", "SELECT * FROM hypothesis", "--store", store.url))
    assert "hypothesis" in said
    assert "The tables are:" in said


def test_queries_only_read(store: Store) -> None:
    assert "Refused" in complaint(call("query", "DROP VIEW pairs", "--store", store.url))


def test_unwritable_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *_args: object, **_settings: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    # rights alone would not stop the superuser, who runs the tests in many containers
    monkeypatch.setattr(Path, "mkdir", refuse)
    said = complaint(call("run", "--store", str(tmp_path / "locked" / "store")))
    assert f"{tmp_path / 'locked' / 'store'} can't be used: it is not writable" in said


def test_a_file_where_the_store_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert "there is a file where a folder should be" in complaint(call("run", "--store", str(tmp_path / "file" / "s")))


def test_pictures_that_are_not_there(tmp_path: Path) -> None:
    said = complaint(call("run", "--images", "holiday", "--profile", "micro", "--store", str(tmp_path / "s")))
    assert "There is no folder of pictures at holiday" in said
    assert "boxes were given without images" in complaint(call("plan", "--boxes", "b.csv"))


def test_what_is_given_is_read_before_anything_begins(tmp_path: Path) -> None:
    pictures.folder(tmp_path, {"a.jpg": pictures.jpeg(pictures.noise())})
    (tmp_path / "boxes.csv").write_text("path,x,y\na.jpg,1,2\n")
    (tmp_path / "bad.parquet").write_text("no parquet at all")
    (tmp_path / "empty").mkdir()
    for words, told in (
        (("run", "--images", "images", "--boxes", "boxes.csv"), "lacks the columns w, h"),
        (("run", "--images", "empty"), "There is no picture in"),
        (("clean", "--labels", "bad.parquet"), "bad.parquet is no Parquet file that can be read"),
        (("clean", "--labels", "nowhere.parquet"), "nowhere.parquet is not there"),
        (("evaluate", "--policy", "abc"), "no model begins with 'abc'; there are: none"),
        (("evaluate", "--split", "tset"), "There is no ingest of wild/tset"),
        (("evaluate", "--dataset", "3dpw"), "There is no ingest of 3dpw/test"),
    ):
        assert told in complaint(call(*words, "--profile", "micro", "--store", str(tmp_path / "s"))), words
    store = Store.open(tmp_path / "s")
    assert rounds.campaigns(store) == []
    assert records(store) == []


def test_a_busy_campaign(store: Store) -> None:
    with lease(store, "micro", "a DPO round"):
        said = complaint(call("run", "--profile", "micro", "--store", store.url))
    assert "Campaign micro is being worked on: a DPO round" in said


def test_no_report_yet(store: Store) -> None:
    assert "has no closed round yet" in complaint(call("report", "--store", store.url))


def test_rounds_lists_the_log(store: Store) -> None:
    assert "No campaign has begun" in call("rounds", "--store", store.url).output
    rounds.begin(store, "default", "c0ffee" + "0" * 58)
    answer = call("rounds", "--store", store.url)
    assert answer.exit_code == 0
    assert "c0ffee" in answer.output
    assert "promoted" in answer.output


def test_query_as_csv(store: Store) -> None:
    helpers.run(store, "one")
    answer = call("query", "SELECT stage, ok, reads FROM stages", "--csv", "--store", store.url)
    assert answer.output.splitlines()[0] == '"stage","ok","reads"'
    assert Path(store.root, "views.sql").exists()


@pytest.mark.parametrize("heading", sorted(QUERIES))
def test_documented_queries_run(heading: str, store: Store) -> None:
    helpers.run(store, "one")
    assert call("query", QUERIES[heading], "--store", store.url).exit_code == 0


def test_failed_images_by_reason_are_counted(store: Store) -> None:
    spec = helpers.spec("ingest")
    rows = build(
        "failures",
        {
            "stage_key": [spec.key] * 3,
            "id": ["a", "b", "c"],
            "stage": "ingest",
            "outcome": "failed",
            "reason": ["picture empty", "picture truncated", "picture empty"],
            "detail": "",
            "attempts": [1, 1, 1],
            "round": [None, None, None],
        },
    )
    commit_rows(store, spec, {"failures": rows})
    answer = call("query", QUERIES["Failed images by reason"], "--csv", "--store", store.url)
    assert answer.output.splitlines()[1:] == ['"picture empty",2,"a"', '"picture truncated",1,"b"']


def test_set_takes_a_value_and_the_plan_says_what_it_does_not_know(tmp_path: Path) -> None:
    answer = call("plan", "--profile", "micro", "--store", str(tmp_path / "none"), "--set", "generate.hypotheses=6")
    assert answer.exit_code == 0, answer.output
    assert "0 to reuse" in answer.output
    assert not (tmp_path / "none").exists()


def test_an_unknown_command_is_refused_with_the_one_that_was_meant() -> None:
    answer = call("evalute")
    assert answer.exit_code == 2
    assert "No such command 'evalute'. Did you mean 'evaluate'" in " ".join(answer.output.split())


@pytest.mark.slow
def test_light_commands_import_nothing_heavy(store: Store) -> None:
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom flows.cli.main import app\n"
        f"assert CliRunner().invoke(app, ['rounds', '--store', {store.url!r}]).exit_code == 0\n"
        "commands = {name for name in sys.modules if name.startswith('flows.cli.commands.')}\n"
        "assert commands == {'flows.cli.commands.operate'}, commands\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0\n"
        "heavy = {'torch', 'ray', 'prefect', 'matplotlib', 'duckdb'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_doctor_finds_a_store_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("x")
    answer = call("doctor", "--store", str(tmp_path / "full"))
    assert answer.exit_code == 1
    assert "PROBLEM store" in answer.output


def test_doctor_tells_of_an_exposed_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = tmp_path / ".ray" / "auth_token"
    token.parent.mkdir()
    token.touch(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert list(flows.doctor.machine._ray_token()) == []
    token.chmod(0o644)
    (found,) = flows.doctor.machine._ray_token()
    assert f"others can read {token}" in found.text


def test_doctor_is_content_with_a_new_place(tmp_path: Path) -> None:
    answer = call("doctor", "--store", str(tmp_path / "new"), "--profile", "micro")
    assert answer.exit_code == 0, answer.output
    assert "body: tiny" in answer.output
    assert not (tmp_path / "new").exists()
