"""doctor --data: what it says of files and folders of every format, and of those of none."""

import gzip
import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from flows.cli.main import app
from flows.doctor.data import examine_data
from flows.run.ingest_request import request
from tasks.ingest.formats.recognition import recognise
from tasks.ingest.people.annotations import AnnotationSource
from tests.models.hostile import Hostile
from tests.samples.bodies import write_bodies
from tests.samples.coco import write_coco
from tests.samples.emdb_pkl import write_emdb_pkl
from tests.samples.humandata import write_humandata
from tests.samples.neuralannot import write_neuralannot
from tests.samples.osx_h36m import write_osx_h36m
from tests.samples.preferences import write_hypothesis_cache, write_pair_json, write_scorer_cache
from tests.samples.pw3d_pkl import write_pw3d_pkl
from tests.samples.scorehypo import write_scorehypo
from tests.samples.truth import TruePerson, true_people
from tests.samples.video import write_video
from tests.samples.webdataset import write_webdataset
from tests.tasks.ingest import pictures


@pytest.fixture(scope="module")
def people() -> list[TruePerson]:
    return true_people(4)


def call(*words: str) -> Result:
    return CliRunner().invoke(app, ["doctor", "--data", *words])


def lines(result: Result) -> list[str]:
    return [" ".join(line.split()) for line in result.stdout.splitlines()]


def said(result: Result, what: str) -> list[str]:
    return [line.partition(f"{what}: ")[2] for line in lines(result) if f" {what}: " in line]


def next_command(result: Result) -> list[str]:
    (command,) = (text for text in said(result, "next") if text.startswith("adhmr "))
    return shlex.split(command)


WRITERS: dict[str, Callable[[list[TruePerson], Path], AnnotationSource]] = {
    "humandata": write_humandata,
    "scorehypo": lambda people, folder: write_scorehypo(people, folder, "3dpw"),
    "osx-h36m": write_osx_h36m,
    "pw3d-pkl": write_pw3d_pkl,
    "emdb-pkl": write_emdb_pkl,
    "neuralannot": write_neuralannot,
    "webdataset": write_webdataset,
    "coco": write_coco,
    "video": write_video,
    "dpo-json": write_pair_json,
    "multihypo-npz": write_hypothesis_cache,
    "scorer-eval": write_scorer_cache,
    "bodies": lambda people, folder: write_bodies(people, folder, hypotheses=1),
}


@pytest.mark.parametrize("name", sorted(WRITERS))
def test_each_format_is_recognised_by_its_content(name: str, people: list[TruePerson], tmp_path: Path) -> None:
    source = WRITERS[name](people, tmp_path / "data")
    seen = recognise(source.url)
    # EMDB's pictures lie in the same folder, which may be read as such, too
    assert [each.format for each in seen.candidates] == [name, *(["folder"] if name == "emdb-pkl" else [])]
    answer = call(source.url)
    assert answer.exit_code == 0, answer.output
    assert said(answer, "format")[0].startswith(f"{name}: ")
    words = next_command(answer)
    assert words[:6] == ["adhmr", "ingest", "--format", name, "--source", source.url]
    if name not in ("video", "webdataset"):
        assert said(answer, "usable")[0].startswith("4 of the first 4" if name != "dpo-json" else "8 of the first 8")
        assert len(said(answer, "row")) == 3
    # what it proposes is what ingest takes
    given = dict(zip(words[2::2], words[3::2], strict=True))
    bodies = dict.fromkeys(("humandata", "scorehypo", "pw3d-pkl"), "tiny")
    bodies |= dict.fromkeys(("osx-h36m", "emdb-pkl", "neuralannot", "webdataset", "bodies"), "human_model_files")
    assert given.get("--body") == bodies.get(name)
    asked = request(given["--format"], given["--source"], given["--dataset"], given["--split"])
    assert asked.source.url == source.url


def test_a_variant_and_its_split_are_told_by_the_name(people: list[TruePerson], tmp_path: Path) -> None:
    write_humandata(people, tmp_path, body="smplx", name="bedlam_test.npz")
    answer = call(str(tmp_path / "bedlam_test.npz"))
    assert said(answer, "variant") == ["BEDLAM"]
    assert next_command(answer)[6:] == ["--dataset", "bedlam", "--split", "test", "--body", "human_model_files"]


def test_bad_rows_and_missing_pictures_are_counted(people: list[TruePerson], tmp_path: Path) -> None:
    source = write_humandata(people, tmp_path)
    with np.load(source.url, allow_pickle=True) as file:
        members = dict(file)
    members["bbox_xywh"][1] = np.nan
    np.savez(source.url, **members)
    (tmp_path / "images" / "000000.jpg").unlink()
    answer = call(source.url)
    assert answer.exit_code == 0
    assert said(answer, "usable") == ["3 of the first 4 can be used as far as the file shows"]
    assert said(answer, "failed")[0].startswith("1 x not finite; the first is humandata.npz, row 1")
    assert said(answer, "pictures")[0].startswith("1 of the first 3 are not in")
    answer = call(source.url, "--images", str(tmp_path / "images"))
    assert answer.exit_code == 1
    assert "PROBLEM pictures: 3 of the first 3 are not in" in answer.stdout


def test_labels_are_compared_with_what_the_file_has(people: list[TruePerson], tmp_path: Path) -> None:
    def shifted(content: Any) -> Any:
        joints = content["annotations"][2]["smpl_joint_cam"]
        content["annotations"][2]["smpl_joint_cam"] = [[x + 300, y, z] for x, y, z in joints]
        pixels = content["annotations"][3]["smpl_joint_img"]
        content["annotations"][3]["smpl_joint_img"] = [[x + 40, y, z] for x, y, z in pixels]
        return content

    source = write_scorehypo(people, tmp_path, "3dpw", edit=shifted)
    answer = call(source.url)
    assert said(answer, "body files") == ["tiny, the free body: the file's 3D joints are its own"]
    joints, seventeen = said(answer, "joints")
    assert joints.startswith("the file's 3D joints lie 0.0 / 255.0 / 300.0 mm from the posed body")
    assert seventeen.startswith("Human3.6M's 17 joints lie 0.0 / 0.0 / 0.0 mm")
    (reprojection,) = said(answer, "reprojection")
    assert re.match(r"labels lie 0\.0 / 34\.0 / 40\.0 px from the file's key-points", reprojection)
    longer = max(people[3].box[2:])
    assert f"/ {100 * 40 / longer:.1f} % of the box's longer side" in reprojection
    assert "of which 20% are allowed" in reprojection
    assert said(answer, "usable") == ["2 of the first 4 can be used as far as the file shows"]
    assert {text.split(";")[0] for text in said(answer, "failed")} == {"1 x joints disagree", "1 x reprojection error"}
    named = call(source.url, "--body", "full")
    assert said(named, "body files") == []
    assert next_command(named)[-2:] == ["--body", "full"]


def test_key_points_without_a_body_are_looked_at_too(people: list[TruePerson], tmp_path: Path) -> None:
    answer = call(write_humandata(people, tmp_path, body="none").url)
    assert said(answer, "body files") == said(answer, "joints") == []
    assert said(answer, "reprojection")[0].startswith("labels lie 0.0 / 0.0 / 0.0 px")
    assert "--body" not in next_command(answer)
    assert "reprojection" not in call(write_coco(people, tmp_path / "coco").url).stdout


def test_a_body_that_is_not_the_free_one_is_asked_for(people: list[TruePerson], tmp_path: Path) -> None:
    source = write_humandata(people, tmp_path)
    with np.load(source.url, allow_pickle=True) as file:
        members = dict(file)
    smpl = members["smpl"].item()
    members["smpl"] = np.array(smpl | {"betas": smpl["betas"] + 3}, object)
    np.savez(source.url, **members)
    answer = call(source.url)
    assert re.search(
        r"need their files: --body human_model_files.*free body's lie \d\d+ mm", said(answer, "body files")[0]
    )
    assert next_command(answer)[-2:] == ["--body", "human_model_files"]
    assert said(answer, "usable")[0].startswith("4 of the first 4"), "the free body says nothing of them"


def test_a_folder_with_its_table(tmp_path: Path) -> None:
    pictures.folder(tmp_path, {"a.jpg": pictures.jpeg(pictures.noise()), "b.jpg": b"", "c.jpg": b""})
    table = tmp_path / "boxes.csv"
    table.write_text("path,x,y,w,h\na.jpg,1,2,30,40\na.jpg,nan,2,30,40\nb.jpg,1,2,30,40\n../d.jpg,1,2,3,4\n")
    for url in (tmp_path / "images", table, tmp_path):
        answer = call(str(url))
        assert answer.exit_code == 0, answer.output
        assert next_command(answer)[4:6] == ["--source", str(tmp_path / "images")]
        assert next_command(answer)[-2:] == ["--boxes", str(table)]
        assert said(answer, "usable") == ["2 of the first 4 can be used as far as the file shows"]
        assert {text.split(";")[0] for text in said(answer, "failed")} == {
            "1 x box not finite",
            "1 x path leaves the folder",
        }
    table.unlink()
    answer = call(str(tmp_path / "images"))
    assert "NO BOXES were given" in said(answer, "remark")[0]
    assert "--boxes" not in next_command(answer)


def test_a_table_among_the_pictures_is_proposed(tmp_path: Path) -> None:
    images = pictures.folder(tmp_path, {"a.jpg": pictures.jpeg(pictures.noise()), "b.jpg": b""})
    (images / "boxes.csv").write_text("Path;X;Y;W;H\na.jpg;1,5;2;30;40\n")
    for url in (images, tmp_path):
        answer = call(str(url))
        assert answer.exit_code == 0, answer.output
        assert next_command(answer)[4:6] == ["--source", str(images)]
        assert next_command(answer)[-2:] == ["--boxes", str(images / "boxes.csv")]
        assert said(answer, "rows")[0].startswith("1, one for each person")


def test_a_table_goes_with_the_folder_that_its_paths_start_from(tmp_path: Path) -> None:
    pictures.folder(tmp_path, {"a.jpg": pictures.jpeg(pictures.noise())})
    (tmp_path / "boxes.csv").write_text("path,x,y,w,h\nimages\\a.JPG,1,2,30,40\n")
    answer = call(str(tmp_path / "boxes.csv"))
    assert answer.exit_code == 0, answer.output
    assert next_command(answer)[4:6] == ["--source", str(tmp_path)]
    assert any("1 paths spell a picture in another way" in text for text in said(answer, "remark"))


def test_what_is_left_out_and_what_cannot_be_used_is_named(tmp_path: Path) -> None:
    files = {"a.jpg": pictures.jpeg(pictures.noise()), "b.jpg": b"no picture", "c.heic": b"", "d.jp2": b""}
    images = pictures.folder(tmp_path, files)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "e.jpg").write_bytes(files["a.jpg"])
    (images / "linked").symlink_to("../elsewhere")
    answer = call(str(images))
    assert answer.exit_code == 0, answer.output
    remarks = " ".join(said(answer, "remark"))
    assert "2 pictures are of types not read here: 1 .heic (c.heic), 1 .jp2 (d.jp2)" in remarks
    assert f"1 linked folder is not followed: linked is a link to {tmp_path}/elsewhere" in remarks
    assert said(answer, "rows") == ["2, one for each person"]
    assert said(answer, "pictures")[0].startswith("1 of the first 2 can't be used; the first: not a picture: b.jpg")
    answer = call(str(images), "--follow-links", str(tmp_path))
    assert said(answer, "rows") == ["3, one for each person"]
    assert next_command(answer)[-2:] == ["--follow-links", str(tmp_path)]
    for name in ("a.jpg", "b.jpg"):
        (images / name).unlink()
    answer = call(str(images))
    assert answer.exit_code == 1
    assert "2 pictures are of types not read here" in " ".join(said(answer, "data"))


def test_pictures_that_lie_on_their_side_are_named(people: list[TruePerson], tmp_path: Path) -> None:
    """As the close-ups of BEDLAM do, whose annotations are of the upright picture."""
    source = write_humandata(people, tmp_path)
    turned = 0
    for path in (tmp_path / "images").iterdir():
        with Image.open(path) as picture:
            turned += picture.width != picture.height
            picture.transpose(Image.Transpose.ROTATE_90).save(path)
    answer = call(source.url)
    (found,) = said(answer, "pictures")
    assert found.startswith(f"{turned} of the first 4 can't be used; the first: picture size differs: images/")
    assert "it seems to lie on its side (as BEDLAM's close-ups do): turn it upright" in found


@pytest.mark.parametrize("how", ["gzip", "utf-16", "capitals"])
def test_annotations_of_other_systems_are_recognised(how: str, people: list[TruePerson], tmp_path: Path) -> None:
    source = write_coco(people, tmp_path, "train")
    text = Path(source.url).read_text()
    url = Path(source.url)
    if how == "gzip":
        url = url.with_name(f"{url.name}.gz")
        url.write_bytes(gzip.compress(text.encode()))
    else:
        url.write_bytes(text.encode("utf-16") if how == "utf-16" else text.replace(".jpg", ".JPG").encode())
    answer = call(str(url))
    assert answer.exit_code == 0, answer.output
    assert next_command(answer)[3:6] == ["coco", "--source", str(url)]
    assert said(answer, "usable") == ["4 of the first 4 can be used as far as the file shows"]
    if how == "capitals":
        assert said(answer, "pictures")[1].startswith("4 of the first 4 are spelled in another way there")


@pytest.mark.timeout(20)
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "people.json")
    answer = call(str(tmp_path / "people.json"))
    assert answer.exit_code == 1
    assert "is neither a file nor a folder" in " ".join(said(answer, "data"))


def test_a_folder_is_looked_through(people: list[TruePerson], tmp_path: Path) -> None:
    write_osx_h36m(people, tmp_path, subjects=[9, 11])
    answer = call(str(tmp_path))
    assert next_command(answer)[3:7] == ["osx-h36m", "--source", str(tmp_path / "annotations"), "--dataset"]
    assert next_command(answer)[8:10] == ["--split", "test"]
    assert said(answer, "or") == [f"{tmp_path} with --format folder: a folder with 4 pictures"]
    answer = call(str(tmp_path), "--format", "folder")
    assert next_command(answer)[2:6] == ["--format", "folder", "--source", str(tmp_path)]
    next((tmp_path / "annotations").glob("*subject9_camera.json")).unlink()
    answer = call(str(tmp_path))
    assert any("Subject 9 of Human3.6M lacks Human36M_subject9_camera.json" in text for text in said(answer, "data"))
    assert said(answer, "subjects") == ["11"]
    words = next_command(answer)
    assert words[8:10] == ["--split", "test"]
    assert words[words.index("--option") + 1] == "subjects=11"


NEITHER: dict[str, tuple[bytes, str]] = {
    "thesis.tex": (b"\\documentclass{article}\n", "is no npz, json, table, picture or video"),
    "empty.npz": (b"", "is empty"),
    "cut.npz": (b"PK\x03\x04" + bytes(40), "is no readable npz"),
    "half.json": (b'[{"a": 1}, {"b"', "is no readable JSON"),
    "deep.json": (b"[" * 5000, "holds no annotations"),
    "settings.json": (b'{"a": 1}', "an object without a list annotations"),
    "other.json": (b'[{"a": 1}]', "its rows are those of none of"),
    "film.mp4": (bytes(5000), "can't be read as a video"),
    "people.parquet": (b"PAR1" + bytes(30), "is no readable Parquet file"),
    "people.csv": (b"name,age\nAda,36\n", "is a CSV table with the columns name, age"),
    "one.jpg": (b"\xff\xd8\xff\xe0" + bytes(100), "is one picture: name the folder"),
}


@pytest.mark.parametrize("name", sorted(NEITHER))
def test_what_is_of_no_format_is_said_so(name: str, tmp_path: Path) -> None:
    content, text = NEITHER[name]
    (tmp_path / name).write_bytes(content)
    answer = call(str(tmp_path / name))
    assert answer.exit_code == 1
    assert any(text in line for line in said(answer, "data")), answer.output
    assert any("humandata: HumanData .npz" in line for line in said(answer, "formats"))
    assert "Traceback" not in answer.output


def test_nothing_there_and_no_such_scheme(tmp_path: Path) -> None:
    assert "There is nothing at" in call(str(tmp_path / "nowhere")).stdout
    assert "s3x://bucket is no path or URL" in " ".join(call("s3x://bucket").stdout.split())
    assert CliRunner().invoke(app, ["doctor", "--format", "coco"]).exit_code == 2
    assert "There is no format 'cocoa'" in call(str(tmp_path), "--format", "cocoa").stdout


def test_a_pickle_that_runs_programs(people: list[TruePerson], tmp_path: Path) -> None:
    source = write_humandata(people, tmp_path)
    with np.load(source.url, allow_pickle=True) as file:
        members = dict(file)
    members["smpl"] = np.array([Hostile(tmp_path / "ran")], object)
    np.savez(source.url, **members)
    answer = call(source.url)
    assert answer.exit_code == 1
    assert "PROBLEM data" in answer.stdout
    assert not (tmp_path / "ran").exists()


def test_nothing_is_written(people: list[TruePerson], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_video(people, tmp_path / "data")
    before = sorted((tmp_path / "data").rglob("*"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADHMR_STORE", str(tmp_path / "store"))
    assert not any(finding.level == "problem" for finding in examine_data(source.url))
    assert sorted((tmp_path / "data").rglob("*")) == before
    assert not (tmp_path / "store").exists()
