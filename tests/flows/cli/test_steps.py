"""adhmr train-scorer, generate, score, pair, keep and align, as a person types them, from each answer to the next."""

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

import flows.cli.commands.data
import flows.cli.commands.steps
import flows.run.session
from flows.cli.main import app
from infra import rounds
from infra.stages import StageRecord, records
from infra.store import Store
from infra.tables import read
from tests.docs.test_any_model import PAGE, consoles
from tests.prefect_server import PrefectServer
from tests.samples.bodies import body_rows, write_bodies, write_rows
from tests.samples.preferences import write_hypothesis_cache, write_scorer_cache
from tests.samples.truth import true_people
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
    micro.make_store(folder / "store")
    elsewhere = Store.open(folder / "elsewhere")
    for kind in ("policy", "scorer"):
        digest = micro.untrained(elsewhere, kind)
        shutil.copy(elsewhere.path(f"checkpoints/{digest}.safetensors"), folder / f"{kind}.safetensors")
    return folder


@pytest.fixture
def store(made: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Store:
    """The store, in a copy of that folder, which is the working directory."""
    monkeypatch.setattr(flows.run.session, "IN_PROCESS", True)
    for commands in (flows.cli.commands.data, flows.cli.commands.steps):
        monkeypatch.setattr(commands, "begin_server", lambda: lambda: None)
    folder = tmp_path / "here"
    shutil.copytree(made, folder)
    monkeypatch.setenv("ADHMR_STORE", str(folder / "store"))
    monkeypatch.setenv("ADHMR_PROFILE", "micro")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(folder)
    return Store.open(folder / "store")


def call(text: str) -> Result:
    return CliRunner().invoke(app, shlex.split(text))


def done(text: str) -> list[str]:
    answer = call(text)
    assert answer.exit_code == 0, answer.output
    return answer.stdout.splitlines()


def following(lines: list[str], command: str) -> str:
    """The next command of that name that an answer proposes, to be typed as it is."""
    (line,) = (line for line in lines if line.startswith(f"next:   adhmr {command} "))
    return line.removeprefix("next:   adhmr ")


def of_stage(store: Store, name: str) -> StageRecord:
    (record,) = records(store, name)
    return record


def models_of(store: Store, record: StageRecord) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = read(store, "models", stage_keys=[record.stage_key]).to_pylist()
    return rows


def complaint(text: str) -> str:
    answer = call(text)
    assert answer.exit_code == 2, answer.output
    assert "Traceback" not in answer.output
    return answer.stderr.strip().splitlines()[-1]


def test_hypotheses_to_pairs_for_others(store: Store) -> None:
    """Each command is the one that the last has proposed; the scorer is still a file, and no model of the store."""
    generated = done("generate --data wild/train --policy policy.safetensors")
    score = following(generated, "score").replace("SCORER", "scorer.safetensors")
    scored = done(score)
    paired = done(following(scored, "pair"))
    assert [line.split() for line in paired[:2]] == [
        ["stage", "ok", "filtered", "failed", "rows", "key"],
        ["pair", "24", "0", "0", "24", "pairs", of_stage(store, "pair").stage_key[:12]],
    ]
    assert all(len(line) <= 80 for line in paired if not line.startswith("next:"))
    assert done(following(paired, "export"))[0].startswith("24 pairs of stage")
    assert sum(pq.read_table(file).num_rows for file in Path("pairs").rglob("*.parquet")) == 24

    policy = of_stage(store, "generate").models[0][:12]
    assert following(paired, "align").split()[3:] == ["--policy", policy, "--replay", "DATASET/SPLIT"]
    for name in ("import_model", "generate", "score", "pair"):
        assert {(record.campaign, record.round) for record in records(store, name)} == {(None, 0)}
    assert set(read(store, "pairs").column("round").to_pylist()) == {0}
    drawn, scores = (of_stage(store, name).stage_key[:8] for name in ("generate", "score"))
    said = done(f"export --to bodies --hypotheses {drawn} --scores {scores} --target all.parquet")
    rows = pq.read_table("all.parquet")
    assert said[0].startswith(f"{len(rows):,} bodies of stage {drawn}")
    assert len(rows) == len(read(store, "hypotheses"))
    assert pc.sum(rows.column("preferred")).as_py() == 24
    for words, reason in (
        (f"--hypotheses {scores}", "which left no hypotheses"),
        (f"--hypotheses {drawn} --scores {drawn}", "which left no scores"),
        (f"--hypotheses {drawn} --dataset wild", "--hypotheses stands alone"),
        (f"--scores {scores}", "--scores belongs to --hypotheses"),
    ):
        assert reason in complaint(f"export --to bodies --target x.parquet {words}")
    before = len(records(store))
    assert done(score) == scored
    assert len(records(store)) == before, "a finished step was done again"


def test_in_one_pass_where_not_all_are_kept(store: Store) -> None:
    generate = "generate --data wild/train --policy policy.safetensors --set hypotheses.keep=none"
    drawn = done(f"{generate} --scorer scorer.safetensors")
    key = of_stage(store, "draw").stage_key[:12]
    assert drawn[1].split() == ["draw", "24", "0", "0", "120", "scores", key]
    paired = done(following(drawn, "pair"))
    assert paired[1].split()[:6] == ["pair", "24", "0", "0", "24", "pairs"]
    policy = of_stage(store, "draw").models[0][:12]
    assert following(paired, "align").split()[3:5] == ["--policy", policy]
    assert done(following(paired, "export"))[0].startswith("24 pairs of stage")
    assert len(read(store, "hypotheses")) == 0
    kept = "that is a stage draw, which scored all hypotheses and kept what pairs take; `adhmr regenerate`"
    assert kept in complaint(f"score --hypotheses {key} --scorer scorer.safetensors")
    assert kept in complaint(f"export --to bodies --target x.parquet --hypotheses {key}")
    other = done(f"pair --scores {key} --set pair.strategy=random")
    assert other[1].split()[:6] == ["pair", "24", "0", "0", "24", "pairs"]


def test_labels_to_kept_ones_for_others(store: Store) -> None:
    """A policy's own, of two splits; then, as a table that somebody brings, a few of these."""
    own = "--data wild/train --data wild/validation --scorer scorer.safetensors --policy policy.safetensors"
    kept = done(f"keep {own} --set clean.keep_share=0.5 --store {store.root}/")
    counts = {words[0]: words[1:4] for words in (line.split() for line in kept[1:4])}
    assert counts == {
        "pseudo_label": ["36", "0", "0"],
        "score_labels": ["36", "0", "0"],
        "keep": ["18", "18", "0"],
    }
    assert any(line.startswith("keep: filtered 18: score below the kept share, such as wild/") for line in kept)
    export = following(kept, "export")
    assert export.endswith(f" --store {store.root}/")
    assert done(export)[0].startswith("18 labels of stage")
    assert len(np.load("kept.npz", allow_pickle=False)["image_path"]) == 18

    (pseudo,) = records(store, "pseudo_label")
    rows = read(store, "labels", stage_keys=[pseudo.stage_key]).sort_by("instance_id").slice(0, 10)
    pq.write_table(rows.drop_columns(["stage_key", "label_set", "dataset", "split"]), "labels.parquet")
    given = done("keep --data wild/train --labels labels.parquet --scorer scorer.safetensors")
    assert [line.split()[:2] for line in given[1:4]] == [["given_labels", "10"], ["score_labels", "10"], ["keep", "7"]]
    assert done(f"{following(given, 'export')} --dataset wild --split train")[0].startswith("7 labels of stage")
    none = complaint(f"keep {own} --set clean.keep_share=0.01")
    assert none.endswith("None of 36 labels passes the filter quantile: clean.keep_share is 0.01. Raise that.")

    theirs = done("keep --data wild/validation --labels ingested --scorer scorer.safetensors")
    assert [line.split()[:2] for line in theirs[1:4]] == [
        ["ingested_labels", "12"],
        ["score_labels", "12"],
        ["keep", "8"],
    ]
    assert done(following(theirs, "export"))[0].startswith("8 labels of stage")
    (kept_key,) = {record.stage_key for record in records(store, "keep") if record.rows["labels"] == 8}
    assert done(f"export --to bodies --label-set {kept_key[:8]} --target kept.parquet")[0].startswith(
        "8 labels of stage"
    )
    asked = f"export --to humandata --target x.npz --label-set {pseudo.stage_key[:8]}"
    assert done(asked)[0].startswith("36 labels of stage")


def test_hypotheses_of_others_are_scored_and_paired(store: Store) -> None:
    people = true_people(3)
    for number, write in enumerate((write_hypothesis_cache, write_scorer_cache)):
        source = write(people, Path(f"cache{number}"))
        done(f"ingest --format {source.format} --source {source.url} --dataset others{number} --split train")
    caches = records(store, "ingest_hypotheses")
    for cache in caches:
        done(following(done(f"score --hypotheses {cache.stage_key[:12]} --scorer scorer.safetensors"), "pair"))
    assert [record.tally.ok for record in records(store, "pair")] == [3, 3]
    assert {record.reads[0] for record in records(store, "pair")} == {cache.stage_key for cache in caches}
    of_the_same_people = done("generate --data others0/train --policy policy.safetensors")
    assert of_the_same_people[1].split()[:4] == ["generate", "3", "0", "0"]


def test_bodies_of_any_model_become_pairs_and_labels(store: Store) -> None:
    """The commands of docs/any-model.md, each but the first as the one before has proposed it."""
    (look, ingest, *_), (labels, *_) = consoles()
    people = true_people(3)
    rows = [row for person in people for row in body_rows(person, 4)]
    write_bodies(people, Path("photographs"), rows=rows)
    write_rows(Path("bodies.parquet"), rows)
    looked = " ".join(" ".join(done(shlex.join(look))).split())
    assert "format: bodies: a Parquet table with bodies, a row for each" in looked
    assert "usable: 12 of the first 12 can be used" in looked
    assert (
        "next: adhmr ingest --format bodies --source bodies.parquet --dataset bodies --split train --images" in looked
    )
    ingested = done(shlex.join(ingest))
    assert {"instances 3", "hypotheses 12"} <= {" ".join(line.split()) for line in ingested}
    scored = done(following(ingested, "score").replace("SCORER", "scorer.safetensors"))
    paired = done(following(scored, "pair"))
    assert done(following(paired, "export"))[0].startswith("3 pairs of stage")
    assert sum(pq.read_table(file).num_rows for file in Path("pairs").rglob("*.parquet")) == 3
    (question,) = re.findall(r'adhmr query "([^`]+)"', PAGE)
    answer = done(shlex.join(["query", " ".join(question.split()), "--csv"]))
    assert len(answer) == 13
    assert all('"sample"' in line for line in answer[1:])

    write_rows(Path("guesses.parquet"), rows[::4])
    taken_in = {" ".join(line.split()) for line in done(shlex.join(labels))}
    assert {"instances 3", "labels 3"} <= taken_in
    kinds = {row["label_kind"] for row in read(store, "labels").to_pylist() if row["dataset"] == "theirs"}
    assert kinds == {"pseudo"}


def test_a_scorer_and_an_aligned_policy_of_no_campaign(store: Store) -> None:
    trained = done("train-scorer --data scorer/train=3 --data source/train --policy policy.safetensors")
    generated = done(following(trained, "generate").replace("DATASET/SPLIT", "wild/train --data wild/test"))
    scored = done(following(generated, "score"))
    (scorer,) = models_of(store, of_stage(store, "train_scorer"))
    assert of_stage(store, "score").models == (scorer["digest"],)
    align = following(done(following(scored, "pair")), "align")
    alone = done(f"{align.partition(' --replay')[0]} --set align.replay=0")
    replayed = done(align.replace("DATASET/SPLIT", "source/train --replay scorer/train"))
    evenly = [["scorer/train", 1.0], ["source/train", 1.0]]
    assert of_stage(store, "train_scorer").config["target"] == [["scorer/train", 3.0], ["source/train", 1.0]]
    mixes = [(record.config["replay"], record.config["people"]) for record in records(store, "align")]
    assert mixes == [(mix, [["wild/train", 1.0], ["wild/test", 1.0]]) for mix in ([], evenly[::-1])]
    policies = [row["digest"] for record in records(store, "align") for row in models_of(store, record)]
    assert len(set(policies)) == 2
    for lines, policy in zip((alone, replayed), policies, strict=True):
        assert f"model {policy[:12]}; no campaign has it" in lines
        assert following(lines, "evaluate").endswith(
            f" --policy {policy[:12]}" + " --set align.replay=0" * (lines is alone)
        )
    assert rounds.campaigns(store) == []
    assert done("rounds") == ["No campaign has begun: `adhmr run` begins one."]


TRAIN = "train-scorer --policy policy.safetensors"
GENERATE = "generate --policy policy.safetensors"
SPLITS = "there are: scorer/train, source/test, source/train, wild/test, wild/train, wild/validation."


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (f"{GENERATE} --data wild/trian", f"--data: there is no wild/trian in STORE; {SPLITS}"),
        (f"{GENERATE} --data wild", "--data wild: give data set and split, such as 3dpw/train."),
        (f"{GENERATE} --data wild/train --set ingest.crop_size=8", "There is no configuration field"),
        (
            f"{GENERATE} --data wild/train --set hypotheses.keep=none",
            "scored in the same pass, so give --scorer; or --set",
        ),
        (f"{GENERATE} --data wild/train --scorer c0ffee", "--scorer belongs to hypotheses.keep=extremes or none"),
        ("generate --data wild/train --policy c0ffee", "no model begins with 'c0ffee'; there are: "),
        ("generate --data wild/train --policy scorer.safetensors", "holds a scorer, where a policy was asked for"),
        ("score --hypotheses abc --scorer scorer.safetensors", "There are none yet: `adhmr generate` draws some"),
        ("score --hypotheses INGEST --scorer scorer.safetensors", "that is a stage ingest, which left no hypotheses."),
        ("pair --scores abc", "--scores abc: no scores of hypotheses are called so. There are none yet: `adhmr score`"),
        ("align --pairs abc --policy policy.safetensors", "--pairs abc: no pairs are called so. There are none yet"),
        ("keep --data wild/train --scorer scorer.safetensors", "Keep what? Give --labels FILE"),
        ("keep --data wild/train --scorer scorer.safetensors --labels x.parquet", "x.parquet is not there"),
        ("train-scorer --data wild/train --policy policy.safetensors", "24 of 24 people have no label of a body"),
        (f"{TRAIN} --data scorer/train=0", "--data scorer/train=0: behind = stands a weight above 0"),
        (f"{TRAIN} --data scorer/train=much", "--data scorer/train=much: behind = stands a weight above 0"),
        (f"{TRAIN} --data scorer/train --data scorer/train=2", "--data names a split twice"),
        ("export --to humandata --target x.npz --label-set abc", "No set of labels has a key like 'abc'"),
        ("export --to trl --target x --label-set abc", "--label-set is about labels, and trl about pairs"),
    ],
)
def test_what_there_is_not_is_refused_before_a_server_starts(
    words: str, said: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flows.cli.commands.steps, "begin_server", lambda: pytest.fail("it went on"))
    (ingest,) = records(store, "ingest")
    assert said in complaint(words.replace("INGEST", ingest.stage_key[:12])).replace(store.url, "STORE")
    assert {record.stage for record in records(store)} <= {"ingest", "import_model"}


def test_alignment_wants_to_know_what_to_replay_and_crops_of_its_size(store: Store) -> None:
    done(GENERATE + " --data wild/train --set generate.hypotheses=2")
    done(f"score --hypotheses {of_stage(store, 'generate').stage_key[:12]} --scorer scorer.safetensors")
    done(f"pair --scores {of_stage(store, 'score').stage_key[:12]}")
    align = f"align --pairs {of_stage(store, 'pair').stage_key[:12]} --policy policy.safetensors"
    assert "--replay is missing: name labelled people" in complaint(align)
    assert "--replay wild/train: 24 of 24 people have no label" in complaint(f"{align} --replay wild/train")
    assert f"There are: {of_stage(store, 'score').stage_key[:12]} (score of " in complaint("pair --scores f00")
    larger = micro.CONFIG.policy.model_copy(
        update={"condition": micro.CONFIG.policy.condition.model_copy(update={"image_size": 96})}
    )
    other = micro.untrained(store, "policy", micro.CONFIG.model_copy(update={"policy": larger}))
    said = complaint(f"generate --data wild/train --policy {other[:12]}")
    assert "are 64 px wide, but model" in said
    assert said.endswith("takes 96 px: ingest the data again with --set ingest.crop_size_px=96.")
