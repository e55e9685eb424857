"""3DPW's and EMDB's own files: bodies of the world, seen by a camera that moves."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from scipy.spatial.transform import Rotation

from schemas.errors import ConfigError, DataError
from tasks.ingest.formats.recognition import recognise
from tasks.ingest.formats.registry import reader_of
from tasks.ingest.people.annotations import AnnotationSource
from tests.models.hostile import Hostile
from tests.samples.emdb_pkl import write_emdb_pkl
from tests.samples.pw3d_pkl import write_pw3d_pkl
from tests.samples.truth import TruePerson, true_people

WRITERS: dict[str, Callable[..., AnnotationSource]] = {"pw3d-pkl": write_pw3d_pkl, "emdb-pkl": write_emdb_pkl}


@pytest.fixture(scope="module")
def people() -> list[TruePerson]:
    return true_people(3)


def _rows(source: AnnotationSource, work: Path) -> list[dict[str, Any]]:
    return [row for batch in reader_of(source, work).batches() for row in batch.to_pylist()]


def _in_second(change: Callable[[dict[str, Any]], object]) -> Callable[[int, dict[str, Any]], dict[str, Any]]:
    """An `edit` of the second file."""

    def edit(number: int, content: dict[str, Any]) -> dict[str, Any]:
        if number == 1:
            change(content)
        return content

    return edit


@pytest.mark.parametrize("name", WRITERS)
def test_rows_agree_with_the_truth(name: str, people: list[TruePerson], tmp_path: Path) -> None:
    source = WRITERS[name](people[:2], tmp_path, frames=3)
    reader = reader_of(source, tmp_path / "work")
    survey = reader.survey()
    assert (survey.rows, survey.bodies, len(survey.files)) == (6, ["smpl"], 2)
    rows = [row for batch in reader.batches() for row in batch.to_pylist()]
    assert [(row["row"], row["counts_as"]) for row in rows] == [(at, at % 3) for at in range(6)]
    for row, person in zip(rows[::3], people, strict=False):
        label = person.label
        assert (row["reason"], row["label_kind"], row["body_model"], row["gender"]) == (None, "gt", "smpl", "neutral")
        assert (row["person"], row["crop_rule"], row["crop_scale"]) == (0, "joints", 1.25)
        turned, true = (Rotation.from_rotvec(np.array(each)) for each in (row["global_orient"], label.global_orient))
        np.testing.assert_allclose(turned.as_matrix(), true.as_matrix(), atol=1e-5)
        np.testing.assert_allclose(row["body_pose"], label.body_pose, atol=1e-5)
        np.testing.assert_allclose(row["betas"], label.betas, atol=1e-5)
        turn, shift = np.reshape(row["extrinsics"][:9], (3, 3)), np.array(row["extrinsics"][9:])
        rest = label.joints[0] - label.transl
        np.testing.assert_allclose(turn @ (rest + row["transl"]) + shift, label.joints[0], atol=1e-5)
        assert [row[key] for key in ("fx", "fy", "cx", "cy")] == pytest.approx(person.intrinsics.tolist())
        pixels = np.reshape(row["pixels"], (29, 2))
        np.testing.assert_allclose(pixels[:24], person.pixels[:24], atol=0.01)
        assert np.isnan(pixels[24:]).all()
        assert (Path(survey.images) / row["path"]).is_file()
        x, y, w, h = row["box"]
        inside = (pixels[:24] >= (x - 1, y - 1)) & (pixels[:24] <= (x + w + 1, y + h + 1))
        assert inside.all()


def test_two_people_and_frames_that_do_not_count(people: list[TruePerson], tmp_path: Path) -> None:
    def twice(content: dict[str, Any]) -> None:
        for key in ("betas", "poses", "trans", "poses2d", "jointPositions", "campose_valid"):
            content[key] = content[key] * 2
        content["genders"] = ["m", "f"]
        content["campose_valid"] = [np.array([1, 0, 1]), np.array([0, 1, 1])]

    source = write_pw3d_pkl(people[:1], tmp_path, frames=3, edit=lambda number, content: twice(content) or content)
    rows = _rows(source, tmp_path / "work")
    assert [row["gender"] for row in rows] == ["male", None, "male", None, "female", "female"]
    assert [row["person"] for row in rows] == [0] * 3 + [1] * 3
    left_out = [row for row in rows if row["reason"]]
    assert [(row["reason"], row["detail"]) for row in left_out] == [("frame left out", "campose_valid says so")] * 2
    assert left_out[1]["origin"] == "downtown_walk_00.pkl, person 1, frame 0"


def test_emdb_leaves_out_what_its_masks_say_and_has_two_parts(people: list[TruePerson], tmp_path: Path) -> None:
    def hidden(number: int, content: dict[str, Any]) -> dict[str, Any]:
        content["good_frames_mask"][0] = False
        content["bboxes"]["invalid_idxs"] = np.array([1])
        return content

    source = write_emdb_pkl(people, tmp_path, frames=3, edit=hidden)
    rows = _rows(source, tmp_path / "work")
    assert [row["reason"] for row in rows] == ["frame left out", "frame left out", None] * 3
    assert (rows[0]["width_px"], rows[2]["width_px"]) == (None, people[0].width)
    first = AnnotationSource("emdb-pkl", source.url, "emdb", "test", options={"part": "1"})
    assert {row["path"].split("/")[1] for row in _rows(first, tmp_path / "work")} == {
        "00_outdoor_walk",
        "02_outdoor_walk",
    }
    with pytest.raises(ConfigError, match="The option part is 1, 2, all, not '3'"):
        reader_of(AnnotationSource("emdb-pkl", source.url, "emdb", "test", options={"part": "3"}), tmp_path)


def test_joints_are_left_alone_where_one_says_so(people: list[TruePerson], tmp_path: Path) -> None:
    source = write_pw3d_pkl(people[:1], tmp_path)
    alone = AnnotationSource("pw3d-pkl", source.url, "3dpw", "test", options={"joints": "unused"})
    (row,) = _rows(alone, tmp_path / "work")
    assert (row["reason"], row["joints"], row["pixels"]) == (None, None, None)
    (compared,) = _rows(source, tmp_path / "work")
    assert np.isfinite(np.reshape(compared["joints"], (29, 3))[:24]).all()
    # without joints the box is around what was detected
    np.testing.assert_allclose(row["box"], compared["box"], atol=30)
    with pytest.raises(ConfigError, match="The option joints is compared or unused"):
        reader_of(AnnotationSource("pw3d-pkl", source.url, "3dpw", "test", options={"joints": "no"}), tmp_path)


BAD_ROWS: list[tuple[str, Callable[[dict[str, Any]], object], str]] = [
    ("pw3d-pkl", lambda c: c["poses"][0].__setitem__((0, 5), np.nan), "not finite"),
    ("pw3d-pkl", lambda c: c["cam_poses"].__setitem__(0, np.diag([1, 1, 2, 1])), "camera not usable"),
    ("pw3d-pkl", lambda c: c["cam_poses"][0].__setitem__((2, 3), -40.0), "impossible depth"),
    ("pw3d-pkl", lambda c: c.update(cam_intrinsics=np.zeros((3, 3))), "camera not usable"),
    ("pw3d-pkl", lambda c: c.update(cam_intrinsics=[[1, 2]]), "camera not usable"),
    ("pw3d-pkl", lambda c: c.update(genders=["x"]), "row not readable"),
    ("pw3d-pkl", lambda c: c["poses2d"][0].__iadd__(500), "box disagrees"),
    ("pw3d-pkl", lambda c: c.update(jointPositions=None, poses2d=None), "key missing"),
    ("pw3d-pkl", lambda c: c.update(poses=[np.zeros((1, 70))]), "sequence not readable"),
    ("pw3d-pkl", lambda c: c.update(trans=[np.zeros((7, 3))]), "sequence not readable"),
    ("pw3d-pkl", lambda c: c.update(betas=[]), "sequence not readable"),
    ("pw3d-pkl", lambda c: c.pop("sequence"), "sequence not readable"),
    ("pw3d-pkl", lambda c: c.update(cam_poses=np.zeros((0, 4, 4))), "sequence not readable"),
    ("emdb-pkl", lambda c: c["bboxes"]["bboxes"].__setitem__(0, [5, 5, 5, 9]), "box without area"),
    ("emdb-pkl", lambda c: c["smpl"]["trans"].__setitem__(0, np.inf), "not finite"),
    ("emdb-pkl", lambda c: c["camera"].update(width="wide"), "sequence not readable"),
    ("emdb-pkl", lambda c: c.update(name="walk"), "sequence not readable"),
    ("emdb-pkl", lambda c: c.update(smpl=[1, 2]), "sequence not readable"),
    ("emdb-pkl", lambda c: c["smpl"].pop("betas"), "sequence not readable"),
]


@pytest.mark.parametrize(("name", "change", "reason"), BAD_ROWS)
def test_a_bad_row_is_refused_and_its_neighbours_stay(
    name: str, change: Callable[[dict[str, Any]], object], reason: str, people: list[TruePerson], tmp_path: Path
) -> None:
    source = WRITERS[name](people, tmp_path, edit=_in_second(change))
    rows = {row["origin"]: row for row in _rows(source, tmp_path / "work")}
    (refused,) = (row for row in rows.values() if row["reason"])
    assert (refused["reason"], len(rows)) == (reason, 3)
    assert refused["detail"]
    assert "01" in refused["origin"]


def test_one_file_that_can_not_be_read_is_named_and_the_others_go_on(people: list[TruePerson], tmp_path: Path) -> None:
    source = write_pw3d_pkl(people, tmp_path)
    files = sorted(Path(source.url).iterdir())
    files[0].write_bytes(files[0].read_bytes()[:-700])
    files[1].write_bytes(pickle.dumps(Hostile(tmp_path / "ran"), protocol=2))
    reader = reader_of(source, tmp_path / "work")
    first, second = reader.survey().remarks[:2]
    assert first.startswith("downtown_walk_00.pkl is truncated or damaged")
    assert first.endswith("All people of downtown_walk_00.pkl are one failure.")
    assert "asks for posix.system" in second
    rows = _rows(source, tmp_path / "work")
    assert [row["reason"] for row in rows] == ["sequence not readable"] * 2 + [None]
    assert [row["row"] for row in rows] == [0, 1, 2]
    files[2].unlink()
    with pytest.raises(DataError, match="truncated or damaged"):
        _rows(source, tmp_path / "work")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", WRITERS)
def test_files_behind_a_url_are_read_as_those_of_a_disk(name: str, people: list[TruePerson], tmp_path: Path) -> None:
    source = WRITERS[name](people, tmp_path / "data")
    memory = MemoryFileSystem()
    memory.put(f"{tmp_path}/data", f"/{name}", recursive=True)
    url = source.url.replace(str(tmp_path / "data"), f"memory://{name}")
    there = reader_of(AnnotationSource(name, url, "any", "test"), tmp_path / "work")
    here = reader_of(AnnotationSource(name, source.url, "any", "test"), tmp_path / "work")
    assert there.survey().images == here.survey().images.replace(str(tmp_path / "data"), f"memory:///{name}")
    rows = [[row for batch in reader.batches() for row in batch.to_pylist()] for reader in (here, there)]
    assert str(rows[0]) == str(rows[1])
    memory.rm(f"/{name}", recursive=True)


def test_sources_that_can_not_be_used(people: list[TruePerson], tmp_path: Path) -> None:
    write_pw3d_pkl(people[:1], tmp_path)
    for url, said in (
        (tmp_path / "nowhere", "There is nothing at"),
        (tmp_path / "sequenceFiles", r"has no file \*\.pkl: name the folder of one split of 3DPW"),
    ):
        with pytest.raises(DataError, match=said):
            reader_of(AnnotationSource("pw3d-pkl", str(url), "3dpw", "test"), tmp_path / "work")


def test_both_are_recognised_by_their_keys(people: list[TruePerson], tmp_path: Path) -> None:
    pw3d, emdb = write_pw3d_pkl(people, tmp_path / "3DPW"), write_emdb_pkl(people, tmp_path / "EMDB")
    for url in (pw3d.url, str(Path(pw3d.url) / "downtown_walk_00.pkl")):
        seen = recognise(url)
        assert [(each.format, each.url, each.split) for each in seen.candidates] == [("pw3d-pkl", url, "test")]
    for url in (emdb.url, f"{emdb.url}/P0", str(next(Path(emdb.url).rglob("*.pkl")))):
        assert (recognise(url).candidates[0].format, recognise(url).candidates[0].url) == ("emdb-pkl", url)
    (tmp_path / "other.pkl").write_bytes(pickle.dumps({"weights": np.zeros(3)}))
    (note,) = recognise(str(tmp_path / "other.pkl")).notes
    assert "other.pkl is a pickle of none of the formats here; it holds weights" in note
    (tmp_path / "bad.pkl").write_bytes(pickle.dumps(Hostile(tmp_path / "ran")))
    (note,) = recognise(str(tmp_path / "bad.pkl")).notes
    assert "asks for posix.system" in note
    assert not (tmp_path / "ran").exists()
