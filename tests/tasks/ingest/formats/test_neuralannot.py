"""NeuralAnnot's parameters, joined with the COCO file whose annotations they are of."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.errors import ConfigError, DataError
from tasks.ingest.formats.neuralannot.reader import NeuralAnnotReader
from tasks.ingest.formats.recognition import recognise
from tasks.ingest.people.annotations import AnnotationSource
from tests.samples.neuralannot import write_neuralannot
from tests.samples.truth import TruePerson, true_people
from tests.tasks.ingest.formats.mutations import broken, mutated, rows_or_error


@pytest.fixture(scope="module")
def people() -> list[TruePerson]:
    return true_people(3)


def _rows(source: AnnotationSource, work: Path) -> list[dict[str, Any]]:
    return [row for batch in NeuralAnnotReader(source, work).batches() for row in batch.to_pylist()]


@pytest.mark.parametrize("body", ["smpl", "smplx"])
def test_rows_agree_with_the_truth(body: str, people: list[TruePerson], tmp_path: Path) -> None:
    source = write_neuralannot(people, tmp_path, body=body)
    reader = NeuralAnnotReader(source, tmp_path / "work")
    survey = reader.survey()
    assert (survey.rows, survey.bodies, survey.images) == (3, [body], str(tmp_path))
    assert survey.files == [source.url, source.options["annotations"]]
    for number, (row, person) in enumerate(zip(_rows(source, tmp_path / "work"), people, strict=True)):
        label = person.label
        assert (row["row"], row["reason"], row["label_kind"], row["body_model"]) == (number, None, "pseudo", body)
        assert (row["crop_rule"], row["crop_scale"], row["gender"]) == ("joints", 1.25, "neutral")
        np.testing.assert_allclose(row["global_orient"], label.global_orient, atol=1e-6)
        np.testing.assert_allclose(row["body_pose"][:63], label.body_pose[:63], atol=1e-6)
        np.testing.assert_allclose(row["betas"], label.betas, atol=1e-6)
        np.testing.assert_allclose(row["transl"], label.transl, atol=1e-6)
        assert [row[key] for key in ("fx", "fy", "cx", "cy")] == pytest.approx(person.intrinsics.tolist())
        np.testing.assert_allclose(row["box"], person.box, atol=1e-9)
        np.testing.assert_allclose(np.reshape(row["pixels"], (29, 2))[16], person.pixels[16], atol=0.01)
        assert (tmp_path / row["path"]).is_file()
        if body == "smplx":
            assert row["body_pose"][63:] == [0] * 6
            assert (len(row["left_hand_pose"]), row["right_hand_pose"]) == (45, None)
            assert (len(row["jaw_pose"]), len(row["expression"])) == (3, 10)


def test_both_files_are_accounted_for(people: list[TruePerson], tmp_path: Path) -> None:
    """A person without parameters is left out, whatever is wrong with the box; parameters of nobody fail."""

    def edit(content: Any) -> Any:
        del content["1001"]
        content["1002"] = None
        return {**content, "77": content["1000"]}

    def crowd(content: Any) -> Any:
        content["annotations"][1]["iscrowd"] = 1
        return content

    source = write_neuralannot(people, tmp_path, edit=edit, edit_coco=crowd)
    rows = _rows(source, tmp_path / "work")
    assert [row["reason"] for row in rows] == [None, "no parameters", "no parameters", "annotation not listed"]
    assert [row["row"] for row in rows] == [0, 1, 2, 3]
    assert rows[3]["origin"] == "MSCOCO_train_SMPL_NeuralAnnot.json, '77'"
    assert "person_keypoints_train2017.json has no annotation with this id" in rows[3]["detail"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda e: e.pop("cam_param"), "key missing"),
        (lambda e: e["cam_param"].update(focal=[0, 1]), "camera not usable"),
        (lambda e: e["cam_param"].update(R=np.eye(3).tolist(), t=[0, 0, 0]), "camera not usable"),
        (lambda e: e.pop("smpl_param"), "key missing"),
        (lambda e: e["smpl_param"].pop("trans"), "key missing"),
        (lambda e: e["smpl_param"].update(pose=[0.0] * 70), "row not readable"),
        (lambda e: e["smpl_param"].update(shape=[float("nan")] * 10), "not finite"),
        (lambda e: e["smpl_param"].update(gender="x"), "row not readable"),
        (lambda e: e.update(smpl_param=[1]), "row not readable"),
    ],
)
def test_a_bad_row_is_refused_and_its_neighbours_stay(
    people: list[TruePerson], tmp_path: Path, change: Any, reason: str
) -> None:
    def edit(content: Any) -> Any:
        change(content["1001"])
        return content

    rows = _rows(write_neuralannot(people, tmp_path, edit=edit), tmp_path / "work")
    assert [row["reason"] for row in rows] == [None, reason, None]
    assert rows[1]["detail"]
    assert rows[1]["origin"] == "person_keypoints_train2017.json, annotations[1]"


def test_sources_that_can_not_be_used(people: list[TruePerson], tmp_path: Path) -> None:
    source = write_neuralannot(people, tmp_path)
    with pytest.raises(ConfigError, match="name that file with the option annotations"):
        NeuralAnnotReader(AnnotationSource("neuralannot", source.url, "coco", "train"), tmp_path / "work")
    by_action = {"2": {"1": {"5": {"pose": [0.0] * 72}}}}
    for content, said in (([], "is a list"), (by_action, "has no entry with smpl_param or smplx_param")):
        Path(source.url).write_text(json.dumps(content))
        with pytest.raises(DataError, match=said):
            NeuralAnnotReader(source, tmp_path / "work").survey()


def test_the_coco_file_is_found_beside_it_or_asked_for(people: list[TruePerson], tmp_path: Path) -> None:
    source = write_neuralannot(people, tmp_path)
    (seen,) = recognise(source.url).candidates
    assert (seen.format, seen.options) == ("neuralannot", source.options)
    coco = Path(source.options["annotations"])
    coco.with_name("instances_train2017.json").write_bytes(coco.read_bytes())
    several = recognise(source.url)
    assert several.candidates == ()
    assert "(there are " in several.notes[0]
    assert f"--format neuralannot --source {source.url} --option annotations=FILE" in several.notes[0]


def test_mutated_files_end_as_rows_or_as_one_error(people: list[TruePerson], tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    source = write_neuralannot(people, tmp_path)
    file = Path(source.url)
    text = file.read_bytes()
    content = json.loads(text)
    for _ in range(30):
        done, worse = mutated(content, rng)
        file.write_text(json.dumps(worse))
        told = rows_or_error(lambda: NeuralAnnotReader(source, tmp_path / "work"))
        if isinstance(told, list):
            assert [row["row"] for row in told] == list(range(len(told))), done
            assert len(told) >= 3
    for _ in range(15):
        file.write_bytes(broken(text, rng))
        rows_or_error(lambda: NeuralAnnotReader(source, tmp_path / "work"))
