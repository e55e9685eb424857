"""WebDataset's tars: labels and pictures of one name, read where they lie."""

import io
import json
import os
import pickle
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.errors import ConfigError, DataError
from tasks.ingest.formats.recognition import recognise
from tasks.ingest.formats.webdataset.reader import WebDatasetReader
from tasks.ingest.people.annotations import AnnotationSource
from tests.bombs import zeros_npz
from tests.models.hostile import Hostile
from tests.samples.truth import TruePerson, true_people
from tests.samples.webdataset import packed, tar_of, write_webdataset
from tests.tasks.ingest.formats.mutations import broken, rows_or_error


@pytest.fixture(scope="module")
def people() -> list[TruePerson]:
    return true_people(3)


def _rows(source: AnnotationSource, work: Path) -> list[dict[str, Any]]:
    return [row for batch in WebDatasetReader(source, work).batches() for row in batch.to_pylist()]


@pytest.mark.parametrize("form", ["data.pyd", "json", "npz"])
def test_rows_agree_with_the_truth(form: Any, people: list[TruePerson], tmp_path: Path) -> None:
    source = write_webdataset(people, tmp_path, form=form)
    survey = WebDatasetReader(source, tmp_path / "work").survey()
    assert (survey.bodies, survey.files, survey.images) == (["smpl"], [source.url], str(tmp_path / "images"))
    assert survey.facts["samples"] == f"3 in 1 tars, with {', '.join(sorted([form, 'jpg']))}"
    assert any("There is no transl" in remark for remark in survey.remarks) == (form == "data.pyd")
    for number, (row, person) in enumerate(zip(_rows(source, tmp_path / "work"), people, strict=True)):
        label = person.label
        assert (row["row"], row["counts_as"], row["reason"], row["person"]) == (number, number, None, 0)
        assert (row["label_kind"], row["body_model"], row["crop_rule"]) == ("pseudo", "smpl", "joints")
        np.testing.assert_allclose(row["global_orient"], label.global_orient, atol=1e-6)
        np.testing.assert_allclose(row["body_pose"], label.body_pose, atol=1e-6)
        np.testing.assert_allclose(row["betas"], label.betas, atol=1e-6)
        pixels = np.reshape(row["pixels"], (29, 2))
        known = [4, 5, 7, 8, 16, 17, 18, 19, 20, 21, 27, 28]
        np.testing.assert_allclose(pixels[known], person.pixels[known], atol=0.01)
        assert np.isnan(np.delete(pixels, known, 0)).all()
        x, y, w, h = row["box"]
        np.testing.assert_allclose([x + w / 2, y + h / 2], person.box[:2] + person.box[2:] / 2, atol=1e-3)
        np.testing.assert_allclose([w, h], 1.2 * person.box[2:], atol=1e-3)
        assert (tmp_path / "images" / row["path"]).read_bytes() == person.jpeg
        if form == "data.pyd":
            assert (row["transl"], row["fx"]) == (None, None)
        else:
            np.testing.assert_allclose(row["transl"], label.transl, atol=1e-6)
            assert [row[key] for key in ("fx", "fy", "cx", "cy")] == pytest.approx(person.intrinsics.tolist())


def test_bodies_that_a_label_denies_leave_the_person(people: list[TruePerson], tmp_path: Path) -> None:
    def denied(number: int, label: Any) -> Any:
        label[0][("has_body_pose", "has_betas", "none")[number]] = np.array(0.0)
        return label

    rows = _rows(write_webdataset(people, tmp_path, edit=denied), tmp_path / "work")
    assert [row["label_kind"] for row in rows] == [None, None, "pseudo"]
    assert [(row["crop_rule"], row["crop_scale"]) for row in rows][1:] == [("box", 1.0), ("joints", 1.25)]


def test_pictures_are_written_once_and_only_those_that_count(people: list[TruePerson], tmp_path: Path) -> None:
    source = write_webdataset(people, tmp_path)
    _rows(replace(source, every=2), tmp_path / "work")
    files = sorted((tmp_path / "images" / "000000").iterdir())
    assert [file.name for file in files] == ["000000.jpg", "000002.jpg"]
    os.utime(files[0], (1, 1))
    files[1].write_bytes(b"another")
    _rows(source, tmp_path / "work")
    assert files[0].stat().st_mtime == 1
    assert files[1].read_bytes() == people[2].jpeg
    assert len(list((tmp_path / "images" / "000000").iterdir())) == 3


def test_tars_of_a_folder_and_people_of_a_picture(people: list[TruePerson], tmp_path: Path) -> None:
    one = write_webdataset(people[:1], tmp_path / "shards", edit=lambda number, label: label * 2)
    for name in ("a/000001.tar", "000001.tar"):
        (tmp_path / "shards" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "shards" / name).write_bytes(Path(one.url).read_bytes())
    for url in (tmp_path / "shards", f"{tmp_path}/shards/*.tar", f"{one.url},{tmp_path}/shards/000001.tar"):
        rows = _rows(replace(one, url=str(url)), tmp_path / "work")
        assert [(row["path"], row["person"]) for row in rows] == [
            (f"{folder}/000000.jpg", person) for folder in ("000000", "000001") for person in (0, 1)
        ]
    twins = _rows(replace(one, url=f"{one.url},{tmp_path}/shards/a/000001.tar,{tmp_path}/shards/000001.tar"), tmp_path)
    assert {row["path"].split("/")[0] for row in twins} == {"000000", "000001", "000001~1"}


BAD: list[tuple[Any, str]] = [
    (lambda label: label[0].pop("center"), "key missing"),
    (lambda label: label[0].update(keypoints_2d=np.zeros((21, 3))), "key-point count"),
    (lambda label: label[0].update(body_pose=np.zeros(66)), "row not readable"),
    (lambda label: label[0].update(body_pose=np.full(72, np.nan)), "not finite"),
    (lambda label: label[0].update(scale=np.zeros(2)), "box without area"),
    (lambda label: label[0].update(has_betas="yes"), "row not readable"),
    (lambda label: label.__setitem__(0, [1, 2]), "row not readable"),
]


@pytest.mark.parametrize(("change", "reason"), BAD)
def test_a_bad_row_is_refused_and_its_neighbours_stay(
    change: Any, reason: str, people: list[TruePerson], tmp_path: Path
) -> None:
    def edit(number: int, label: Any) -> Any:
        if number == 1:
            change(label)
        return label

    rows = _rows(write_webdataset(people, tmp_path, edit=edit), tmp_path / "work")
    assert [row["reason"] for row in rows] == [None, reason, None]
    assert rows[1]["detail"]
    assert rows[1]["origin"] == "000000.tar, 000001, person 0"


def _tar_source(folder: Path, data: bytes) -> AnnotationSource:
    (folder / "own.tar").write_bytes(data)
    return AnnotationSource("webdataset", str(folder / "own.tar"), "own", "train", str(folder / "images"))


def test_names_that_lead_elsewhere_and_samples_that_are_not_whole(people: list[TruePerson], tmp_path: Path) -> None:
    label, picture = packed({"bbox": [10, 10, 40, 60]}, "json"), people[0].jpeg
    files = {
        "../../out.jpg": picture,
        "../../out.json": label,
        "/etc/a.jpg": picture,
        "/etc/a.json": label,
        "alone.jpg": picture,
        "blind.json": label,
        "bad.jpg": picture,
        "bad.json": b"[{",
        "./in/b.jpg": picture,
        "./in/b.json": label,
        "evil.jpg": picture,
        "evil.pyd": pickle.dumps(Hostile(tmp_path / "ran")),
    }
    rows = _rows(_tar_source(tmp_path, tar_of(files)), tmp_path / "work")
    assert [(row["origin"].split(",")[1].strip(), row["reason"]) for row in rows] == [
        ("../../out", "path leaves the folder"),
        ("/etc/a", "path leaves the folder"),
        ("alone", "key missing"),
        ("blind", "picture missing"),
        ("bad", "row not readable"),
        ("./in/b", None),
        ("evil", "row not readable"),
    ]
    assert "asks for posix.system" in rows[6]["detail"]
    assert rows[5]["path"] == "own/in/b.jpg"
    assert [path.relative_to(tmp_path) for path in tmp_path.rglob("*.jpg")] == [Path("images/own/in/b.jpg")]
    assert not (tmp_path / "ran").exists()


def test_links_devices_and_files_with_holes_are_no_members(people: list[TruePerson], tmp_path: Path) -> None:
    buffer = io.BytesIO(tar_of({"a.jpg": people[0].jpeg, "a.json": packed({"bbox": [10, 10, 40, 60]}, "json")}))
    with tarfile.open(fileobj=buffer, mode="a") as archive:
        for name, kind in (("b.jpg", tarfile.SYMTYPE), ("c.jpg", tarfile.LNKTYPE), ("d.jpg", tarfile.CHRTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
        holes = tarfile.TarInfo("e.jpg")
        holes.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(2**40)}
        holes.size = 512
        archive.addfile(holes, io.BytesIO(b"1\n0\n512\n".ljust(512, b"\0")))
        archive.addfile(tarfile.TarInfo("f.json"))
    source = _tar_source(tmp_path, buffer.getvalue())
    assert (
        "own.tar: 4 links, devices or files with holes are left alone."
        in WebDatasetReader(source, tmp_path / "work").survey().remarks
    )
    assert [row["reason"] for row in _rows(source, tmp_path / "work")] == [None, "row not readable"]


def test_a_link_in_the_folder_of_pictures_is_not_followed(people: list[TruePerson], tmp_path: Path) -> None:
    source = write_webdataset(people[:1], tmp_path)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "000000").symlink_to(tmp_path / "elsewhere")
    (row,) = _rows(source, tmp_path / "work")
    assert row["reason"] == "path leaves the folder"
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_tar_that_is_cut_gives_what_is_whole_and_says_so(people: list[TruePerson], tmp_path: Path) -> None:
    source = write_webdataset(people, tmp_path)
    data = Path(source.url).read_bytes()
    Path(source.url).write_bytes(data[: data.index(b"000002.jpg") + 700])
    rows = _rows(source, tmp_path / "work")
    assert [row["reason"] for row in rows][:2] == [None, None]
    assert {row["reason"] for row in rows[2:]} <= {"key missing", "archive damaged"}
    assert "archive damaged" in [row["reason"] for row in rows]
    # tarfile takes a damaged header for the end of the archive
    Path(source.url).write_bytes(data.replace(b"000001.jpg", b"00000\xff.jpg", 1))
    assert [row["reason"] for row in _rows(source, tmp_path / "work")] == [None, "archive damaged"]
    Path(source.url).write_bytes(b"no tar at all" * 100)
    with pytest.raises(DataError, match="is no readable tar archive"):
        _rows(source, tmp_path / "work")


def test_a_label_that_claims_to_be_large_is_not_unpacked(people: list[TruePerson], tmp_path: Path) -> None:
    zeros_npz(tmp_path / "label.npz", "betas", (2**20,))
    files = {"a.jpg": people[0].jpeg, "a.npz": (tmp_path / "label.npz").read_bytes()}
    files |= {"b.jpg": people[0].jpeg, "b.pyd": pickle.dumps([{"bbox": np.zeros(20_000)}])}
    files |= {"c.jpg": people[0].jpeg, "c.json": b"[" + b"[1]," * 20_000 + b"[1]]"}
    files |= {"d.jpg": people[0].jpeg, "d.pyd": b"\x80\x04](" + b"]" * 300_000 + b"e."}
    rows = _rows(_tar_source(tmp_path, tar_of(files)), tmp_path / "work")
    assert {row["reason"] for row in rows} == {"row not readable"}
    details = [row["detail"] for row in rows]
    assert details[:3] == [
        "a.npz, betas: 1048576 numbers are far more than a person's.",
        "bbox has 20000 numbers, far more than a person's",
        "the label has 20001 people, more than the 1000 that are read",
    ]
    assert "d.pyd is truncated or damaged, or no file of arrays (more values than arrays need)" in details[3]


def test_bodies_that_come_late_are_not_posed_by_a_body_that_nobody_named(
    people: list[TruePerson], tmp_path: Path
) -> None:
    files = {}
    for number in range(21):
        late = {"body_pose": [0.0] * 72, "betas": [0.0] * 10, "transl": [0, 0, 5]} if number == 20 else {}
        files[f"{number:02d}.jpg"] = people[0].jpeg
        files[f"{number:02d}.json"] = json.dumps({"bbox": [10, 10, 40, 60], **late}).encode()
    source = _tar_source(tmp_path, tar_of(files))
    assert WebDatasetReader(source, tmp_path / "work").survey().bodies == []
    rows = _rows(source, tmp_path / "work")
    assert [row["reason"] for row in rows] == [None] * 20 + ["body missing"]


def test_tars_are_recognised_by_the_people_in_their_labels(people: list[TruePerson], tmp_path: Path) -> None:
    source = write_webdataset(people, tmp_path / "shards")
    assert [each.format for each in recognise(source.url).candidates] == ["webdataset"]
    (seen,) = recognise(str(tmp_path / "shards")).candidates
    assert (seen.format, seen.url) == ("webdataset", str(tmp_path / "shards"))
    (tmp_path / "words.tar").write_bytes(tar_of({"a.jpg": people[0].jpeg, "a.txt": b"a person"}))
    words = recognise(str(tmp_path / "words.tar"))
    assert words.candidates == ()
    assert "is a WebDataset shard with 1 pictures and their .txt (a.jpg), which is not read as it is" in words.notes[0]


def test_options_and_places(people: list[TruePerson], tmp_path: Path) -> None:
    source = write_webdataset(people[:1], tmp_path)
    for option, said in (("place", "found or refused"), ("label_kind", "pseudo or gt")):
        with pytest.raises(ConfigError, match=f"The option {option} is {said}"):
            WebDatasetReader(replace(source, options={option: "x"}), tmp_path / "work")
    with pytest.raises(DataError, match="can be written to a local folder only"):
        WebDatasetReader(replace(source, images="s3://bucket/pictures"), tmp_path / "work")
    (row,) = _rows(replace(source, options={"place": "refused", "label_kind": "gt"}), tmp_path / "work")
    assert (row["box_per_joints"], row["label_kind"]) == (None, "gt")


def test_mutated_tars_end_as_rows_or_as_one_error(people: list[TruePerson], tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    source = write_webdataset(people, tmp_path)
    data = Path(source.url).read_bytes()
    for _ in range(40):
        Path(source.url).write_bytes(broken(data, rng))
        rows_or_error(lambda: WebDatasetReader(source, tmp_path / "work"))
