"""adhmr ingest and adhmr export, as a person types them; and the flow of the same name."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest
from typer.testing import CliRunner, Result

import flows.cli.commands.data
import flows.run.session
from flows.cli.main import app
from infra.stages import records
from infra.standing import newest_ingest
from infra.store import Store
from infra.tables import read
from schemas.ids import Target
from tasks.ingest.formats.registry import formats
from tests.prefect_server import PrefectServer
from tests.samples.humandata import write_humandata
from tests.samples.preferences import write_hypothesis_cache, write_pair_json, write_scorer_cache
from tests.samples.scorehypo import write_scorehypo
from tests.samples.truth import TruePerson, true_people
from tests.samples.video import write_video
from tests.tasks.ingest import pictures

ROOT = Path(__file__).resolve().parents[3]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module", autouse=True)
def harness(prefect_server: PrefectServer) -> Iterator[None]:
    with prefect_server.used():
        yield


@pytest.fixture(autouse=True)
def _at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(flows.run.session, "IN_PROCESS", True)
    monkeypatch.setattr(flows.cli.commands.data, "begin_server", lambda: lambda: None)
    monkeypatch.setenv("ADHMR_STORE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def people() -> list[TruePerson]:
    return true_people(4)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def call(text: str) -> Result:
    return CliRunner().invoke(app, shlex.split(text))


def ingest(text: str, dataset: str = "mine", split: str = "train") -> str:
    answer = call(f"ingest {text} --dataset {dataset} --split {split} --profile micro")
    assert answer.exit_code == 0, answer.output
    return " ".join(answer.stdout.split())


def complaint(text: str) -> str:
    answer = call(text)
    assert answer.exit_code == 2, answer.output
    assert "Traceback" not in answer.output
    return " ".join(answer.stderr.split())


def folder(root: Path) -> None:
    """Twelve good pictures and one that is none, with their boxes."""
    files = {f"{number}.jpg": pictures.jpeg(pictures.noise(seed=number)) for number in range(12)}
    pictures.folder(root, files | {"text.jpg": b"see attachment\n"})
    rows = [f"{name},10,10,30,50" for name in [*files, "text.jpg"]]
    (root / "boxes.csv").write_text("\n".join(["path,x,y,w,h", *rows]))


def test_a_folder_and_what_is_said_at_the_end(tmp_path: Path, store: Store) -> None:
    folder(tmp_path)
    lenient = "--set gates.max_failed_share=0.2"
    said = ingest(f"--format folder --source images --boxes boxes.csv {lenient}")
    (record,) = records(store)
    assert "rows in 13" in said
    assert "instances 12" in said
    assert "failed 1 not a picture, such as mine/train/text.jpg#0" in said
    assert f"stage ingest {record.stage_key}" in said
    query = said[said.index("adhmr query ") :]
    answer = call(query.removeprefix("adhmr ") + " --csv")
    assert '"mine/train/text.jpg#0","not a picture"' in answer.output
    assert newest_ingest(store, Target("mine", "train")) == record.stage_key
    # from another folder, with the same places spelt out, it is the same ingest
    assert "rows in 13" in ingest(f"--format folder --source {tmp_path}/images --boxes {tmp_path}/boxes.csv {lenient}")
    assert len(records(store)) == 1


def test_names_that_a_terminal_would_obey(tmp_path: Path, store: Store) -> None:
    good = {f"{number}.jpg": pictures.jpeg(pictures.noise(seed=number)) for number in range(3)}
    pictures.folder(tmp_path, good | {"\x1b]0;owned\x07.jpg": b"no picture\n"})
    answer = CliRunner().invoke(
        app, [*shlex.split("ingest --format folder --source images --split train --profile micro"), "--dataset", "mine"]
    )
    assert "\x1b" not in answer.output
    assert "\x07" not in answer.output
    assert "\\x1b]0;owned\\x07.jpg" in answer.output.replace("\n", ""), answer.output
    answer = CliRunner().invoke(
        app, [*shlex.split("ingest --format folder --source images --split train"), "--dataset", "a\x1b[2J"]
    )
    assert answer.exit_code == 2
    assert "\x1b" not in answer.output


def test_links_are_followed_when_told(tmp_path: Path, store: Store) -> None:
    pictures.folder(tmp_path, {"a.jpg": pictures.jpeg(pictures.noise()), "b.heic": b""})
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "c.jpg").write_bytes(pictures.jpeg(pictures.noise(seed=1)))
    (tmp_path / "images" / "linked").symlink_to("../elsewhere")
    said = ingest("--format folder --source images")
    assert "instances 1" in said
    assert "filtered 1 linked folder, such as mine/train/linked" in said
    assert "filtered 1 picture type not read, such as mine/train/b.heic" in said
    assert "instances 2" in ingest("--format folder --source images --follow-links .")
    words = "--dataset mine --split train --profile micro --follow-links"
    assert "There is no folder that links may lead to at nowhere" in complaint(
        f"ingest --format folder --source images {words} nowhere"
    )
    assert "behind URLs are no links" in complaint(f"ingest --format folder --source images {words} s3://bucket")
    (tmp_path / "a.mp4").write_bytes(b"")
    assert "--follow-links belongs to folders of pictures" in complaint(
        f"ingest --format video --source a.mp4 {words} ."
    )


def test_an_ingest_that_a_gate_ends_says_everything_and_the_reason_last(tmp_path: Path, store: Store) -> None:
    bad = {"empty.jpg": b"", "text.jpg": b"see attachment\n", "cut.jpg": pictures.jpeg(pictures.noise())[:200]}
    pictures.folder(tmp_path, bad | {"good.jpg": pictures.jpeg(pictures.noise(seed=1))})
    answer = call("ingest --format folder --source images --dataset mine --split train --profile micro")
    assert answer.exit_code == 2, answer.output
    (record,) = records(store)
    said = " ".join(answer.stdout.split())
    assert "rows in 4 images 1 instances 1 failed 1" in said
    for row in read(store, "failures").to_pylist():
        assert f"{row['reason']}, such as {row['id']}" in said
    assert f"stage ingest {record.stage_key}" in said
    assert answer.stderr.strip().splitlines()[-1].startswith("adhmr: Stage ingest: 3 of 4 rows failed")
    assert store.exists("views.sql")


def test_nothing_follows_the_reason_when_the_process_ends(tmp_path: Path) -> None:
    """Not even what a library finds left over: an error that kept its frames alive would keep Ray's objects alive."""
    pictures.folder(tmp_path, {"text.jpg": b"see attachment\n"})
    words = f"ingest --format folder --source images --dataset mine --split train --profile micro --store {tmp_path}/s"
    ended = subprocess.run(
        [sys.executable, "-m", "flows.cli.main", *words.split()],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("adhmr: Stage ingest: 1 of 1 rows failed")
    assert "leaked" not in ended.stderr + ended.stdout


def test_a_folder_with_pictures_of_another_split(tmp_path: Path, store: Store) -> None:
    pictures.folder(tmp_path, {f"{number}.jpg": pictures.jpeg(pictures.noise(seed=number)) for number in range(2)})
    ingest("--format folder --source images", split="test")
    said = complaint("ingest --format folder --source images --dataset mine --split train --profile micro")
    assert "2 x picture of another split" in said
    assert "instances 2" in ingest("--format folder --source images --allow-leakage")


def test_humandata_from_the_proposal_of_the_doctor(people: list[TruePerson], tmp_path: Path, store: Store) -> None:
    source = write_humandata(people, tmp_path / "data")
    found = CliRunner().invoke(app, ["doctor", "--data", source.url]).stdout
    command = next(line for line in found.splitlines() if "adhmr ingest" in line)
    command = command[command.index("adhmr ") + len("adhmr ") :]
    answer = call(f"{command} --profile micro")
    assert answer.exit_code == 0, answer.output
    assert len(read(store, "instances")) == len(read(store, "labels")) == 4
    target = tmp_path / "out" / "humandata.npz"
    answer = call(f"export --to humandata --target {target} --dataset humandata --split train")
    assert answer.exit_code == 0, answer.output
    assert "4 labels of stage" in answer.stdout
    with np.load(target, allow_pickle=True) as file:
        assert sorted(file["image_path"]) == sorted(f"images/{person.index:06d}.jpg" for person in people)
    said = ingest(f"--format humandata --source {target} --images {tmp_path}/data --body tiny", "again")
    assert "labels 4" in said
    rows = read(store, "labels").sort_by("instance_id")
    joints = {
        name: np.array(rows.filter(pc.field("dataset") == name).column("joints").to_pylist())
        for name in ("humandata", "again")
    }
    assert np.abs(joints["humandata"] - joints["again"]).max() < 1e-4


def test_bodies_need_their_files(people: list[TruePerson], tmp_path: Path, store: Store) -> None:
    source = write_scorehypo(people, tmp_path / "data", "3dpw")
    command = f"ingest --format scorehypo --source {source.url} --dataset 3dpw --split train --profile micro"
    said = complaint(command)
    assert "has parameters of SMPL bodies. Say which body files pose them: --body DIR" in said
    assert records(store) == []
    answer = call(f"{command} --body tiny")
    assert answer.exit_code == 0, answer.output
    assert len(read(store, "labels")) == 4


def test_every_and_options_reach_the_reader(people: list[TruePerson], tmp_path: Path, store: Store) -> None:
    source = write_humandata(people, tmp_path / "data")
    ingest(f"--format humandata --source {source.url} --body tiny --every 2 --option zero_betas=true")
    labels = read(store, "labels")
    assert len(labels) == 2
    assert not np.array(labels.column("betas").to_pylist()).any()


def test_frames_of_a_video_stay_in_the_store(people: list[TruePerson], tmp_path: Path, store: Store) -> None:
    source = write_video(people, tmp_path / "data")
    ingest(f"--format video --source {source.url} --boxes {source.options['boxes']}")
    uris = read(store, "images").column("uri").to_pylist()
    assert len(uris) == 4
    assert all(uri.startswith("frames/mine/train/") and store.exists(uri) for uri in uris)


def test_pairs_in_and_out(people: list[TruePerson], tmp_path: Path, store: Store) -> None:
    source = write_humandata(people, tmp_path / "data")
    given = write_pair_json(people, tmp_path / "pairs")
    assert "There is no ingest of mine/train" in complaint(
        f"ingest --format dpo-json --source {given.url} --dataset mine --split train --profile micro"
    )
    pairs = json.loads(Path(given.url).read_text())
    for pair in pairs:
        pair["img_path"] = f"images/{pair['img_idx']:06d}.jpg"
    Path(given.url).write_text(json.dumps(pairs))
    ingest(f"--format humandata --source {source.url} --body tiny")
    assert "pairs 8" in ingest(f"--format dpo-json --source {given.url}")
    for form, target in (("dpo-json", "out/pairs.json"), ("trl", "out/trl")):
        answer = call(f"export --to {form} --target {target} --profile micro")
        assert answer.exit_code == 0, answer.output
        assert "8 pairs of stage" in answer.stdout
    written = json.loads(Path("out/pairs.json").read_text())
    assert sorted(pair["img_path"] for pair in written) == sorted(pair["img_path"] for pair in pairs)
    assert "no set of pairs of campaign micro, round 3" in complaint(
        "export --to trl --target out/other --round 3 --profile micro"
    )
    key = next(record.stage_key for record in records(store) if record.stage == "ingest_pairs")
    answer = call(f"export --to dpo-json --target out/named.json --pair-set {key[:8]} --dataset mine --split train")
    assert answer.exit_code == 0, answer.output
    assert "no set of pairs" in complaint("export --to dpo-json --target out/x.json --dataset other --profile micro")


@pytest.mark.parametrize(
    ("write", "form"), [(write_hypothesis_cache, "multihypo-npz"), (write_scorer_cache, "scorer-eval")]
)
def test_hypotheses(write: Any, form: str, people: list[TruePerson], tmp_path: Path, store: Store) -> None:
    source = write(people, tmp_path / "data")
    said = ingest(f"--format {form} --source {source.url}")
    assert "rows in 4" in said
    assert "hypotheses 16" in said
    assert len(read(store, "hypotheses")) == 16
    assert len(read(store, "errors")) == (16 if form == "scorer-eval" else 0)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("--format cocoa --source x", "There is no format 'cocoa'; there are humandata"),
        ("--format humandata --source nowhere.npz", "There is no source at nowhere.npz"),
        ("--format folder --source nowhere", "There is no folder of pictures at nowhere"),
        ("--format folder --source . --boxes b.csv", "There is no table of boxes at b.csv"),
        ("--format folder --source . --every 2", "--every counts rows"),
        ("--format folder --source . --body .", "--body belongs to annotations"),
        ("--format dpo-json --source . --body .", "--body belongs to annotations"),
        ("--format dpo-json --source . --replace", "--replace belongs to people"),
        ("--format dpo-json --source . --allow-leakage", "--allow-leakage belongs to pictures"),
        ("--format folder --source . --images .", "leave --images out"),
        ("--format coco --source . --as labels", "The format coco has no option 'as'"),
        ("--format bodies --source . --option as=pairs", "the format bodies is hypotheses or labels, not 'pairs'"),
        ("--format bodies --source . --replace", "--replace belongs to people"),
        ("--format coco --source . --option zero_betas=1", "The format coco has no option 'zero_betas'"),
        ("--format coco --source . --option zero_betas", "--option zero_betas: give an option and a value"),
        ("--format video --source . --option max_pixels=many", "The option max_pixels is a whole number"),
        ("--format coco --source . --images there", "There is no folder of pictures at there"),
        ("--format coco --source . --body nowhere", "There is no folder of body files at nowhere"),
    ],
)
def test_what_does_not_go_together_is_said_at_once(words: str, text: str, tmp_path: Path) -> None:
    assert text in complaint(f"ingest {words} --dataset mine --split train --profile micro")
    assert not (tmp_path / "store").exists()


def test_a_bad_name() -> None:
    assert "can't be the name of a data set" in complaint("ingest --format coco --source . --dataset a/b --split train")


def test_a_file_that_is_none_of_it(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(b"PK" + bytes(100))
    said = complaint("ingest --format humandata --source x.npz --dataset mine --split train --profile micro")
    assert "is no readable npz" in said


def test_exports_that_make_no_sense(store: Store) -> None:
    assert "--split belongs to a data set" in complaint("export --to trl --target x --split train")
    assert "--pair-set is about pairs" in complaint("export --to humandata --target x --pair-set abc")
    assert "It has no pairs yet" in complaint("export --to trl --target x")
    assert "No cleaning round has kept labels" in complaint("export --to humandata --target x")
    assert "--model belongs to --to checkpoint and --to hub" in complaint("export --to trl --target x --model abc")
    for word in ("--pair-set abc", "--round 1", "--dataset mine", "--dataset mine --split train"):
        assert "choose rows; --to hub writes a model" in complaint(f"export --to hub --target x {word}")
    assert "Campaign default has no policy yet" in complaint("export --to checkpoint --target x")
    assert "There is no campaign absent" in complaint("export --to checkpoint --target x --campaign absent")
    assert "no model begins with 'abc'" in complaint("export --to checkpoint --target x --model abc")
    assert not Path("x").exists()
    assert "Which split of mine" in complaint("export --to humandata --target x --dataset mine")
    assert "There is no ingest of mine/test" in complaint(
        "export --to humandata --target x --dataset mine --split test"
    )


def test_help_names_every_format() -> None:
    text = " ".join(call("ingest --help").stdout.split())
    assert flows.cli.commands.data.FORMATS.split(", ") == sorted(formats())
    assert "Take your own data into the store" in text
