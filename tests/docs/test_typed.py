"""Every command of a page is typed: here, in a folder with what the page speaks of, or in the test that is named."""

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import flows.run.session
from flows.cli.commands import data, predict, steps
from flows.cli.commands import rounds as rounds_commands
from flows.cli.main import app
from flows.order.foundations import find_foundations
from infra import rounds
from infra.stages import records
from infra.standing import newest_ingest
from infra.store import Store
from infra.tables import read
from models.body_arrays import BUILT_IN
from schemas.ids import ModelDigest, StageKey, Target
from schemas.splits import WILD_TRAIN
from tasks.engine.context import Context
from tasks.ingest.annotated import IngestAnnotations
from tasks.stages.clean import Keep, PseudoLabel, ScoreLabels
from tasks.stages.generate import Generate
from tasks.stages.pair import Pair
from tasks.stages.score import Score
from tests.flows.test_renewed_rounds import Straight
from tests.prefect_server import PrefectServer
from tests.profiles import load_profile
from tests.samples.bodies import body_rows, write_bodies, write_rows
from tests.samples.humandata import write_humandata
from tests.samples.scorehypo import write_scorehypo
from tests.samples.truth import TruePerson, true_people
from tests.tasks import micro

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
ROOT = Path(__file__).resolve().parents[2]
PAGES = (
    "README.md",
    "docs/any-model.md",
    "docs/campaigns.md",
    "docs/commands.md",
    "docs/data.md",
    "docs/predict.md",
    "docs/tutorial-checkpoint.md",
    "docs/tutorial-cluster.md",
    "docs/tutorial-pairs.md",
    "docs/tutorial-photographs.md",
)
"""Those whose commands are typed here. Where one can't be, or was, ELSEWHERE names the test."""
ELSEWHERE: Final = {
    r"make run|pip install|adhmr init|adhmr run --config campaign.yaml|pip wheel": "tests/test_wheel.py",
    r"make (serve|stop)|\. .venv/bin/activate|prefect deployment": "tests/flows/serve/test_commands.py",
    r"adhmr run --images": "tests/flows/test_rounds.py",
    r"make clean-round": "tests/flows/test_rounds.py",
    r"adhmr (doctor|import|evaluate)": "tests/flows/cli/test_published.py",
    r"adhmr ingest --format scorehypo --source 3DPW_test": "tests/flows/cli/test_published.py",
    r"adhmr export --to (checkpoint|hub)": "tests/tasks/export/test_model.py",
    r"export ADHMR_PROFILE": "tests/flows/run/test_configuration.py",
    r"adhmr (campaign|study)": "tests/flows/cli/test_campaign_and_study.py",
    r"adhmr run --config campaigns/judged.yaml": "tests/flows/browse/test_drive.py",
    r"adhmr browse": "tests/flows/browse/test_drive.py",
    r"adhmr clean(-sweep)?( |$)": "tests/flows/test_rounds.py",
    r"adhmr compare": "tests/flows/cli/test_comparison.py",
    r"adhmr train-scorer --data gta-human2": "tests/flows/cli/test_steps.py",
    r"adhmr review|adhmr run --set review": "tests/flows/cli/test_review.py",
    r"adhmr report": "tests/flows/test_rounds.py",
    r"adhmr (rounds|query) --json": "tests/flows/cli/test_json.py",
    r"make bench-paper": "tests/benchmarks/test_paper.py",
    r"make bench-scale": "tests/benchmarks/test_scale.py",
    r"make (bench-gpu|gpu-pack)": "tests/benchmarks/test_gpu.py",
    r"docker|\(umask|cat \.env": "tests/infra/test_deployment_files.py",
}
TYPED_WHOLE: Final = {"docs/paper.md": "tests/paper/test_pipeline.py"}
KEYS: Final = {
    "2b0a577e030e": "hypotheses",
    "75d0f1b3c2aa": "scores",
    "9e1c40d7aa52": "pairs",
    "41b7c9e0d613": "labels",
}
"""The keys that pages write, and the table whose newest stage is meant."""
_NOT_MEANT: Final = ("ingest", "evaluate", "score_labels", "pseudo_label", "given_labels", "ingested_labels")
"""Stages that have rows of these tables, and are not what a page speaks of."""


def lines(page: str) -> list[str]:
    blocks = re.findall(r"^```console\n(.*?)^```$", (ROOT / page).read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line.startswith("$ ")]


@pytest.fixture(scope="module", autouse=True)
def harness(prefect_server: PrefectServer) -> Iterator[None]:
    with prefect_server.used():
        yield


@pytest.fixture(scope="module")
def laid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that the pages speak of, and a store in which a few steps were done."""
    folder = tmp_path_factory.mktemp("typed")
    store, _ = micro.make_store(folder / "adhmr-store")
    people = true_people(6)
    for name in ("policy.pth", "scorer.pth", "hyponet.pth"):
        digest = micro.untrained(store, "scorer" if name == "scorer.pth" else "policy")
        shutil.copy(store.path(f"checkpoints/{digest}.safetensors"), folder / name)
    _write_bodies(folder, people)
    _write_photographs(folder, people)
    _write_data_sets(folder, people)
    return folder


def _write_bodies(folder: Path, people: list[TruePerson]) -> None:
    (folder / "human_model_files" / "smpl").mkdir(parents=True)
    shutil.copy(BUILT_IN["tiny"], folder / "human_model_files" / "smpl" / "SMPL_NEUTRAL.npz")
    for pictures in ("photos", "photographs"):
        write_bodies(people, folder / pictures)
    for name, count in (("b", 4), ("bodies", 4), ("l", 1), ("guesses", 1)):
        write_rows(folder / f"{name}.parquet", [row for person in people for row in body_rows(person, count)])


def _write_photographs(folder: Path, people: list[TruePerson]) -> None:
    boxes = [
        {"image_id": person.index, "category_id": 1, "bbox": person.box.tolist(), "score": 0.9} for person in people
    ]
    (folder / "results.json").write_text(json.dumps(boxes))
    rows = [["path", "x", "y", "w", "h"], *([f"images/{p.index:06d}.jpg", *p.box.tolist()] for p in people)]
    (folder / "photographs" / "boxes.csv").write_text("".join(",".join(map(str, row)) + "\n" for row in rows))


def _write_data_sets(folder: Path, people: list[TruePerson]) -> None:
    """3DPW's file as pages name it, data sets that were ingested, and what a campaign did with its wild people."""
    source = write_scorehypo(people, folder, "3dpw")
    Path(source.url).rename(folder / "3DPW_train.json")
    context = Context(Store.open(folder / "adhmr-store"), micro.CONFIG, in_process=True)
    for name in ("h36m", "insta", "gta-human2", "photographs"):
        given = write_humandata(people, folder / "sets" / name, dataset=name)
        IngestAnnotations(given, "tiny").run(context)
    IngestAnnotations(replace(source, url=str(folder / "3DPW_train.json")), "tiny").run(context)
    _a_campaign(context)
    theirs = (StageKey(newest_ingest(context.store, Target("photographs", "train"))),)
    made = PseudoLabel(theirs, (Target("photographs", "train"),), _digest(context, "policy")).run(context).key
    labels = read(context.store, "labels", stage_keys=[made])
    pq.write_table(labels.drop_columns(["stage_key", "label_set", "dataset", "split"]), folder / "labels.parquet")


def _digest(context: Context, kind: str) -> ModelDigest:
    rows = read(context.store, "models", columns=["digest", "kind"]).to_pylist()
    return ModelDigest(next(row["digest"] for row in rows if row["kind"] == kind))


def _a_campaign(context: Context) -> None:
    """Pairs, and labels that were kept, as its rounds leave them."""
    policy, scorer = _digest(context, "policy"), _digest(context, "scorer")
    base = find_foundations(Straight(replace(context, config=load_profile("micro")))).base
    rounds.begin(context.store, micro.CONFIG.campaign, base)  # that which `adhmr run` would train
    people = (StageKey(newest_ingest(context.store, WILD_TRAIN)),)
    drawn = Generate(people, (WILD_TRAIN,), policy, context.config.generate, 1).run(context).key
    scores = Score(drawn, people, scorer).run(context).key
    Pair(drawn, scores, context.config.pair, people).run(context)
    guessed = PseudoLabel(people, (WILD_TRAIN,), policy).run(context).key
    Keep(guessed, ScoreLabels(guessed, people, scorer).run(context).key).run(context)


@pytest.fixture
def here(laid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, in a folder of the test's own, which is where commands are typed."""
    shutil.copytree(laid, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(flows.run.session, "IN_PROCESS", True)
    for commands in (data, predict, rounds_commands, steps):
        monkeypatch.setattr(commands, "begin_server", lambda: lambda: None)
    for name in ("ADHMR_STORE", "ADHMR_CONFIG", "ADHMR_SET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ADHMR_PROFILE", "micro")
    monkeypatch.setenv("ADHMR_GATES__MIN_PAIRS", "1")
    monkeypatch.setenv("ADHMR_RAY__GPUS_PER_ACTOR", "0")  # the profile paper wants one
    return tmp_path / "here"


def typed_elsewhere(line: str) -> str | None:
    return next((test for words, test in ELSEWHERE.items() if re.match(words, line)), None)


def meant(line: str, store: Store) -> str:
    """A line with the keys of this store in place of the page's, and the beginning of its scorer's digest."""
    for key, table in KEYS.items():
        if key in line:
            newest = [one for one in records(store) if one.rows.get(table) and one.stage not in _NOT_MEANT]
            line = line.replace(key, newest[-1].stage_key[:12])
    scorers = [row["digest"] for row in read(store, "models").to_pylist() if row["kind"] == "scorer"]
    return line.replace("--scorer 3f2a", f"--scorer {scorers[0][:8]}")


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_in_their_order(page: str, here: Path) -> None:
    store = Store.open(here / "adhmr-store", create=False)
    for line in lines(page):
        if typed_elsewhere(line):
            continue
        words = shlex.split(meant(line, store), comments=True)
        assert words[0] == "adhmr", f"{page}: {line} is typed nowhere"
        if "--out" in words or "--target" in words:
            shutil.rmtree(here / words[-1], ignore_errors=True)
        answer = CliRunner().invoke(app, words[1:])
        assert answer.exit_code == 0, f"{page}: {line}\n{answer.output}"


def test_every_command_of_every_page_is_typed_somewhere() -> None:
    pages = ["README.md", *(f"docs/{file.name}" for file in sorted((ROOT / "docs").glob("*.md")))]
    untyped = [
        (page, line)
        for page in pages
        if page not in (*PAGES, *TYPED_WHOLE)
        for line in lines(page)
        if not typed_elsewhere(line)
    ]
    assert untyped == []
    for test in (*ELSEWHERE.values(), *TYPED_WHOLE.values()):
        assert (ROOT / test).is_file(), test
