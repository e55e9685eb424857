"""adhmr evaluate --protocol and adhmr evaluate-scorer, as a person types them."""

import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import flows.cli.commands.evaluate
import flows.run.session
from flows.cli.main import app
from flows.evaluate_published import ingested, order_of, target_of
from infra.stages import records
from infra.store import Store
from schemas.errors import ConfigError, DataError
from schemas.ids import Target
from schemas.splits import WILD_TEST
from tasks.rows.metrics import read_metrics
from tests.prefect_server import PrefectServer
from tests.tasks import micro

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module", autouse=True)
def harness(prefect_server: PrefectServer) -> Iterator[None]:
    with prefect_server.used():
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store of ingested people, and beside it a policy and a scorer as files."""
    folder = tmp_path_factory.mktemp("made")
    store, _ = micro.make_store(folder / "store")
    elsewhere = Store.open(folder / "elsewhere")
    for kind in ("policy", "scorer"):
        digest = micro.untrained(elsewhere, kind)
        shutil.copy(elsewhere.path(f"checkpoints/{digest}.safetensors"), folder / f"{kind}.safetensors")
    return Path(store.root).parent


@pytest.fixture(autouse=True)
def here(made: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(flows.run.session, "IN_PROCESS", True)
    monkeypatch.setattr(flows.cli.commands.evaluate, "begin_server", lambda: lambda: None)
    folder = tmp_path / "here"
    shutil.copytree(made, folder)
    monkeypatch.setenv("ADHMR_STORE", str(folder / "store"))
    monkeypatch.setenv("ADHMR_PROFILE", "micro")
    monkeypatch.chdir(folder)
    return folder


def call(text: str) -> Result:
    return CliRunner().invoke(app, shlex.split(text))


def done(text: str) -> list[str]:
    result = call(text)
    assert result.exit_code == 0, result.output
    return result.output.splitlines()


def complaint(text: str) -> str:
    result = call(text)
    assert result.exit_code == 2, result.output
    lines = result.stderr.strip().splitlines()
    assert "Traceback" not in result.output
    assert lines[-1].startswith("adhmr: ")
    return lines[-1]


def test_a_policy_and_a_scorer_from_files(here: Path) -> None:
    words = "evaluate --policy policy.safetensors --scorer scorer.safetensors --data source --m 5 --protocol published"
    lines = done(words)
    assert any("source/test, 12 people, 3dpw" in line for line in lines)
    assert any("published_select_pa_mpjpe" in line and "mm" in line and "[" in line for line in lines)
    key = lines[-1].split()[-1]
    assert lines[-1] == f"evaluation {key}"
    store = Store.open(here / "store")
    assert len(read_metrics(store, key)) == 12
    before = len(records(store))
    assert done(words)[-1] == lines[-1]
    assert len(records(store)) == before


def test_a_scorer_from_a_file_and_then_by_its_digest(here: Path) -> None:
    lines = done("evaluate-scorer --scorer scorer.safetensors --data source/test --m 4")
    assert any("source/test, 12 people, noised labels" in line for line in lines)
    assert any("published_kendall_within_pa_mpvpe" in line for line in lines)
    store = Store.open(here / "store")
    digest = next(record.models[0] for record in records(store) if record.stage == "evaluate_scorer")
    assert done(f"evaluate-scorer --scorer {digest[:10]} --data source --m 4")[-1] == lines[-1]
    assert any("expected MPVPE by score" in line for line in lines)
    assert any("is expected is" in line and "mm off" in line for line in lines)
    assert any("is not known to this store" in line for line in lines)


def test_a_scorer_on_the_samples_of_a_policy(here: Path) -> None:
    words = "evaluate-scorer --scorer scorer.safetensors --policy policy.safetensors --data source/test --m 3"
    lines = done(words)
    assert any("source/test, 12 people, policy samples" in line for line in lines)
    assert not any("pa_mpvpe" in line for line in lines)
    assert "--body poses noised labels" in complaint(f"{words} --body bodies")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("evaluate --data source", "--data belongs to --protocol published"),
        ("evaluate --m 5", "--m belongs to --protocol published"),
        ("evaluate --protocol published", "--protocol needs --data"),
        ("evaluate --protocol published --data a/b/c", "give a data set that was ingested"),
        ("evaluate --protocol published --data 3dpw", "There is no ingest of 3dpw/test"),
        ("evaluate --protocol published --data source", "has no policy yet: name one with --policy"),
        ("evaluate --protocol published --data source --policy absent.pth", "There is no checkpoint absent.pth"),
        ("evaluate --protocol published --data source --policy c0ffee", "no model begins with 'c0ffee'"),
        (
            "evaluate --protocol published --data source --policy scorer.safetensors",
            "scorer.safetensors holds a scorer, where a policy was asked for",
        ),
        ("evaluate --protocol published --data source --body absent", "There is no folder of body files at absent"),
        ("evaluate-scorer --scorer policy.safetensors --data source", "holds a policy, where a scorer was asked for"),
        ("evaluate-scorer --scorer scorer.safetensors --data renbody", "There is no ingest of renbody/test"),
    ],
)
def test_what_does_not_go_together(words: str, said: str) -> None:
    assert said in complaint(words)


def test_which_alignment_a_data_set_has() -> None:
    assert order_of("published", "3dpw") == order_of("published", "wild") == "3dpw"
    assert order_of("published", "h36m") == order_of("published", "Human36M") == "human36m"
    assert order_of("published-3dpw", "human36m") == "3dpw"
    with pytest.raises(ConfigError, match="There is no protocol 'new'"):
        order_of("new", "3dpw")


def test_names_of_splits(here: Path) -> None:
    assert target_of("3dpw") == Target("3dpw", "test")
    assert target_of("3dpw/validation") == Target("3dpw", "validation")
    for odd in ("/test", "3dpw/", ""):
        with pytest.raises(ConfigError):
            target_of(odd)
    store = Store.open(here / "store")
    assert ingested(store, WILD_TEST)[0] == WILD_TEST
    with pytest.raises(DataError, match="no ingest of h36m/test"):
        ingested(store, Target("h36m", "test"))
