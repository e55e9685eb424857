"""The paper's pipeline by its commands alone, at its own sizes, on a CPU: `make paper-smoke`, minutes.

The lines of docs/paper.md are typed, in their order, beside files that are what the page asks for with made-up weights.
What is learned is nothing: that every part takes what the one before gives is what this shows.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from infra.stages import StageRecord, find, records
from infra.store import Store
from infra.tables import read
from models.checkpoints.export import published_content
from models.checkpoints.loading import load_policy
from models.checkpoints.published import read_published
from models.policy import Policy
from schemas.ids import ModelDigest, Target
from schemas.profiles import paper
from tasks.report.stage import read_facts
from tasks.rows.metrics import read_metrics
from tasks.rows.models import load_policy as store_policy
from tasks.rows.models import model_of
from tests.flows.person import Person
from tests.paper.files import PEOPLE, write_files
from tests.parity.rules import manifest

pytestmark = [pytest.mark.paper, pytest.mark.timeout(3600)]
ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "paper.md").read_text("utf-8")
CAMPAIGN = "paper-3dpw"
SMALL = {
    # as the page says, for a look on a CPU
    **dict(word.split("=") for word in re.findall(r"ADHMR_[A-Z_]+=\d+", PAGE)),
    "ADHMR_RAY__THREADS_PER_ACTOR": "2",
    "ADHMR_TRAIN_CLEAN__PSEUDO_IMAGES": "2",
    "ADHMR_TRAIN_CLEAN__LABELLED_IMAGES": "2",
    "ADHMR_TRAIN_CLEAN__OPTIMISER__STEPS": "2",
    "ADHMR_TRAIN_SCORER__OPTIMISER__STEPS": "2",
    "ADHMR_TRAIN_SCORER__BATCH_IMAGES": "4",
    # weights that are made up, and a handful of people, pass no gate that means something
    "ADHMR_GATES__MIN_PAIRS": "1",
    "ADHMR_GATES__MIN_MARGIN": "0",
    "ADHMR_GATES__MIN_SPEARMAN": "-1",
}


def lines() -> list[str]:
    """The commands of the page."""
    blocks = re.findall(r"^```console\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]


class Reader:
    """Somebody who types the lines of the page, one after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        own = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "ADHMR", "RAY"))}
        self.environment = {**own, **SMALL, "PREFECT_HOME": str(folder / "prefect"), "COLUMNS": "100"}
        self.server: Person | None = None
        self.answers: dict[str, str] = {}
        """By line: what was read after it."""

    def types(self, line: str) -> None:
        words = shlex.split(line, comments=True)
        began = time.monotonic()
        match words:
            case ["export", *settings]:
                self.environment |= dict(one.split("=", 1) for one in settings)
                answer = ""
            case ["make", "serve"]:
                self.server = Person(self.folder / "served", str(self.store.root), self.environment, self.folder)
                answer = self.server.serves()
            case ["make", "stop"] if self.server:
                self.server.stops()
                answer = ""
            case ["prefect", *_] if self.server:
                answer = self.server.says(*words)
            case ["adhmr", *rest]:
                answer = self.runs(*rest)
            case _:
                raise AssertionError(f"{line}: what is that?")
        print(f"\n$ {line}\n{answer}({time.monotonic() - began:.0f} s)", flush=True)
        self.answers[line] = answer

    def runs(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "flows.cli.main", *words],
            cwd=self.folder,
            env={**self.environment, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=1200,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    @property
    def store(self) -> Store:
        return Store.open(self.folder / "adhmr-store", create=False)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """After the whole page."""
    folder = tmp_path_factory.mktemp("paper")
    shutil.copytree(ROOT / "campaigns", folder / "campaigns")
    write_files(folder)
    reader = Reader(folder)
    reader.runs("init", "deployment")
    for name in ("prefect.yaml", "prefect.toml"):
        shutil.copy(folder / "deployment" / name, folder / name)
    try:
        for line in lines():
            reader.types(line)
    except BaseException:
        if reader.server is not None:
            reader.server.print_logs()
            reader.server.stops()
        raise
    return reader


def of_round(store: Store, number: int, name: str, role: str = "") -> StageRecord:
    key = read_facts(store, CAMPAIGN, number).key(name, role)
    assert key is not None, (number, name, role)
    record = find(store, key)
    assert record is not None
    return record


def imported(store: Store, kind: str) -> ModelDigest:
    """The model that the campaign's file of this kind is."""
    (run,) = (run for run in read_facts(store, CAMPAIGN, 1).runs if (run.name, run.role) == ("import_model", kind))
    return model_of(store, run.key)


def test_a_round_takes_pairs_of_both_data_sets_in_the_published_mix(reader: Reader) -> None:
    store, policy = reader.store, imported(reader.store, "policy")
    assert of_round(store, 1, "generate").models == (policy,)
    assert of_round(store, 1, "score").models == (imported(store, "scorer"),)
    pairs = read(store, "pairs", stage_keys=[of_round(store, 1, "pair").stage_key]).to_pylist()
    assert {pair["instance_id"].split("/")[0] for pair in pairs} == {"3dpw", "instavariety"}
    assert len(pairs) == 2 * PEOPLE
    assert {pair["strategy"] for pair in pairs} == {"label_wins", "top_bottom"}
    aligned = of_round(store, 1, "align")
    assert aligned.config["people"] == [["instavariety/train", 0.5], ["3dpw/train", 0.5]]
    assert read_facts(store, CAMPAIGN, 1).policy_before == policy
    (row,) = read(store, "models", stage_keys=[aligned.stage_key]).to_pylist()
    (raw,) = (run.key for run in read_facts(store, CAMPAIGN, 1).runs if run.role == "raw weights")
    assert row["parents"] == [model_of(store, raw), policy]  # it begins with the one, its average with the other


def test_3dpw_is_measured_as_published_and_as_ours(reader: Reader) -> None:
    store = reader.store
    published = read_metrics(store, of_round(store, 1, "compare_published", "3dpw/test").stage_key)
    figures = {(one.name, one.role): one.value for one in published}
    for role in ("before", "after"):
        assert figures["published_min_mpvpe", role] <= figures["published_select_mpvpe", role]
    ours = read_metrics(store, of_round(store, 1, "compare").stage_key)
    assert {one.target for one in ours} == {Target("3dpw", "test"), Target("3dpw", "validation")}
    page = store.read_bytes(f"reports/{CAMPAIGN}-round-1.html").decode()
    assert "Held-out 3dpw/test, by the published protocol" in page


def test_the_exported_checkpoint_is_a_published_one(reader: Reader) -> None:
    """It loads in the published order of names, gives the same weights, and is known again."""
    store = reader.store
    facts = read_facts(store, CAMPAIGN, 1)
    assert facts.policy_after is not None
    reader.runs("export", "--to", "checkpoint", "--model", facts.policy_after, "--target", "aligned.pth")
    policy, path = store_policy(store, facts.policy_after), reader.folder / "aligned.pth"
    written = torch.load(path, weights_only=True, mmap=True)
    assert sorted(written) == sorted(published_content(policy))
    for part, name in (("model", "hyponet"), ("model_cond", "hrnet_cond")):
        assert list(written[part]) == list(manifest(name))
    again = Policy(paper().policy)
    load_policy(again, read_published(path))
    for name, value in again.eval().state_dict().items():
        assert torch.equal(value, policy.state_dict()[name]), name
    assert facts.policy_after[:12] in reader.runs("import", "aligned.pth")
    after_the_round = facts.policy_after if facts.promoted else facts.policy_before
    assert after_the_round[:12] in reader.runs("import", "adhmr_3dpw.pth")
    reader.runs("export", "--to", "hub", "--model", facts.policy_after, "--target", "hub")
    assert facts.policy_after[:12] in reader.runs("import", "hub")


def test_labels_of_others_are_cleaned(reader: Reader) -> None:
    store = reader.store
    assert read_facts(store, CAMPAIGN, 2).kind == "clean"
    assert of_round(store, 2, "ingested_labels").tally.ok == 2 * PEOPLE
    kept = of_round(store, 2, "keep").tally
    assert (kept.ok, kept.filtered) == (6, 2)
    assert read_facts(store, CAMPAIGN, 2).policy_after is not None


def test_both_forms_of_human36m_are_of_use(reader: Reader) -> None:
    (evaluated,) = records(reader.store, "evaluate_published")
    metrics = read_metrics(reader.store, evaluated.stage_key)
    assert {(one.role, one.target) for one in metrics} == {("human36m", Target("human36m", "test"))}
    drawn = [record for record in records(reader.store, "generate") if record.campaign is None]
    assert [record.tally.ok for record in drawn] == [PEOPLE]


def test_a_scorer_is_trained_on_two_data_sets(reader: Reader) -> None:
    (record,) = records(reader.store, "train_scorer")
    assert record.config["target"] == [["gta-human2/train", 1.0], ["hi4d/train", 1.0]]
    assert store_kinds(reader.store)[model_of(reader.store, record.stage_key)] == "scorer"


def test_a_deployment_does_the_next_round(reader: Reader) -> None:
    facts = read_facts(reader.store, CAMPAIGN, 3)
    assert (facts.kind, facts.reference) == ("dpo", imported(reader.store, "policy"))
    assert all(run.state == "reused" for run in facts.runs if run.name in ("ingest", "import_model"))


def test_nothing_was_left_out(reader: Reader) -> None:
    failed = [row for row in read(reader.store, "failures").to_pylist() if row["outcome"] == "failed"]
    assert failed == []


def store_kinds(store: Store) -> dict[str, Any]:
    return {row["digest"]: row["kind"] for row in read(store, "models", columns=["digest", "kind"]).to_pylist()}
