"""The reader of bodies: what rows say, what refuses them, and all ways in which tables of them can be broken."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.errors import ConfigError, DataError
from tasks.ingest.formats.bodies.reader import BODIES, BodiesReader
from tasks.ingest.formats.bodies.rows import KEYS, NEEDED, rotations
from tasks.ingest.formats.recognition import recognise
from tasks.ingest.formats.registry import reader_of
from tasks.ingest.people.annotations import ANNOTATIONS, AnnotationSource
from tasks.ingest.source.folder import RefusedError
from tests.samples.bodies import Row, body_rows, in_weak_perspective, with_matrices, write_bodies, write_rows
from tests.samples.truth import TruePerson, true_people
from tests.tasks.ingest.formats.mutations import broken, mutated

KINDS = ("parquet", "npz", "jsonl")


@pytest.fixture(scope="module")
def people() -> list[TruePerson]:
    return true_people(2)


@pytest.fixture(scope="module")
def row(people: list[TruePerson]) -> Row:
    return body_rows(people[0], 1)[0]


def read_all(file: Path, work: Path, **options: Any) -> list[dict[str, Any]]:
    source = AnnotationSource("bodies", str(file), "mine", "train", options={"as": "hypotheses", **options})
    reader = reader_of(source, work)
    reader.survey()
    return [row for batch in reader.batches() for row in batch.to_pylist()]


def read_one(row: Any, folder: Path, **options: Any) -> dict[str, Any]:
    (folder / "one.jsonl").write_text(json.dumps(row) + "\n")
    (read,) = read_all(folder / "one.jsonl", folder / "work", **options)
    return read


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_any_kind_of_table(kind: str, people: list[TruePerson], tmp_path: Path) -> None:
    rows = [row for person in people for row in body_rows(person, 2)]
    source = write_bodies(people, tmp_path, kind=kind, rows=rows)
    reader = BodiesReader(source, tmp_path / "work")
    survey = reader.survey()
    assert (survey.rows, survey.bodies, survey.images) == (None if kind == "jsonl" else 4, ["smpl"], str(tmp_path))
    assert (survey.facts["people"], survey.facts["sources"], survey.remarks) == (
        "by path, person and box",
        "'sample'",
        [],
    )
    (batch,) = reader.batches()
    assert batch.schema == BODIES
    for number, (read, wanted) in enumerate(zip(batch.to_pylist(), rows, strict=True)):
        assert (read["row"], read["reason"], read["label_kind"]) == (number, None, "pseudo")
        assert read["origin"] == f"bodies.{kind}: {'line' if kind == 'jsonl' else 'row'} {number + 1}"
        for name in ("path", "person", "box", "source", "sample", "body_model", "gender", "fx", "fy", "cx", "cy"):
            assert read[name] == wanted[name], name
        for name in ("global_orient", "body_pose", "betas", "transl"):
            np.testing.assert_allclose(read[name], wanted[name], rtol=1e-6)
    labels = AnnotationSource(**{**vars(source), "options": {"as": "labels", "label_kind": "gt"}})
    (batch,) = reader_of(labels, tmp_path / "labels").batches()
    assert batch.schema == ANNOTATIONS
    assert set(batch.column("label_kind").to_pylist()) == {"gt"}


def test_matrices_weak_perspective_and_what_is_left_out(row: Row, tmp_path: Path) -> None:
    plain = read_one(row, tmp_path)
    turned = read_one(with_matrices(row), tmp_path)
    np.testing.assert_allclose(turned["body_pose"], plain["body_pose"], atol=1e-6)
    assert turned["betas"] == plain["betas"]
    weak = read_one(in_weak_perspective(row), tmp_path)
    x, y, w, h = row["box"]
    size = 1.4 * max(w, h)
    assert (weak["fx"], weak["fy"]) == pytest.approx([5000 / 256 * size] * 2)
    assert (weak["cx"], weak["cy"]) == pytest.approx((x + w / 2, y + h / 2))
    assert weak["transl"] == pytest.approx([0.01, 0.3, 2 * 5000 / 256 / 0.8])
    gone = {**row, "gender": None, "person": float("nan"), "sample": None, "source": "", "cx": None, "cy": float("nan")}
    bare = read_one(gone, tmp_path)
    assert bare["reason"] is None
    assert [bare[name] for name in ("person", "sample", "source", "cx", "cy")] == [None] * 5
    assert bare["gender"] == "neutral"
    in_parts = read_one({**row, "person": [0], "fx": [row["fx"]], "body_pose": row["body_pose"][:63]}, tmp_path)
    assert (in_parts["person"], in_parts["fx"]) == (0, row["fx"])
    assert in_parts["body_pose"] == pytest.approx([*plain["body_pose"][:63], *[0] * 6])
    hands = {"left_hand_pose": [0.1] * 45, "jaw_pose": np.eye(3).tolist(), "expression": [0.5] * 12}
    whole = read_one({**row, "body_model": "SMPLX ", "body_pose": row["body_pose"][:63], **hands}, tmp_path)
    assert whole["reason"] is None
    assert (whole["body_model"], whole["jaw_pose"]) == ("smplx", [0, 0, 0])
    assert whole["left_hand_pose"] == pytest.approx([0.1] * 45)
    assert whole["expression"] == [0.5] * 10


REFUSED: tuple[tuple[Row, str, str], ...] = (
    ({"body_model": None}, "key missing", "there is no body_model"),
    ({"body_model": 3}, "row not readable", "body_model is 3, smpl or smplx"),
    ({"gender": "robot"}, "row not readable", "gender is 'robot'"),
    ({"global_orient": None}, "key missing", "there is no global_orient"),
    ({"global_orient": [0.0, 0.0]}, "row not readable", "has 2 numbers, 3 (axis-angles) or 9 (matrices)"),
    ({"body_pose": "x"}, "row not readable", "body_pose is 'x', numbers are expected"),
    ({"body_pose": [float("nan")] * 69}, "not finite", "body_pose holds numbers that are missing"),
    ({"body_pose": [[1.0]] * 207}, "impossible pose", "body_pose: matrix 0 is no rotation"),
    ({"betas": [1.0] * 9}, "row not readable", "betas has 9 numbers, 10 are expected"),
    ({"path": None}, "key missing", "there is no path"),
    ({"path": ["a.jpg"]}, "row not readable", "path is ['a.jpg'], a text"),
    ({"box": [1.0, 2.0, 3.0]}, "row not readable", "box has 3 numbers"),
    ({"box": [1.0, 2.0, 0.0, 9.0]}, "box without area", "box is [1.0, 2.0, 0.0, 9.0]"),
    ({"person": -1}, "row not readable", "person is -1"),
    ({"sample": 1.5}, "row not readable", "sample is 1.5"),
    ({"fx": None}, "key missing", "there is no fx"),
    ({"fx": 0.0}, "camera not usable", "fx 0"),
    ({"cx": 1e12}, "camera not usable", "cx 1e+12"),
    ({"transl": [1.0, 2.0]}, "row not readable", "transl has 2 numbers"),
    ({"transl": [float("nan")] * 3}, "no depth", "there is neither transl nor a weak-perspective camera"),
    ({"transl": None, "s": 0.9}, "key missing", "there is no tx"),
)


@pytest.mark.parametrize(("change", "reason", "detail"), REFUSED, ids=lambda value: str(value)[:30])
def test_what_refuses_a_row(change: Row, reason: str, detail: str, row: Row, tmp_path: Path) -> None:
    read = read_one({**row, **change}, tmp_path)
    assert read["reason"] == reason
    assert detail in read["detail"]
    assert (read["row"], read["origin"]) == (0, "one.jsonl: line 1")


def test_weak_cameras_that_see_nothing(row: Row, tmp_path: Path) -> None:
    weak = in_weak_perspective(row)
    for change in ({"s": -0.5}, {"s": 1e-300}, {"box_size": 0}, {"crop_px": -256}, {"focal_length": -1}, {"tx": 1e38}):
        assert read_one({**weak, **change}, tmp_path)["reason"] == "camera not usable", change
    read = read_one({**weak, "box_center": [1]}, tmp_path)
    assert read["reason"] == "row not readable"


def test_smplx_has_21_joints_and_rows_of_smpl_no_hands(row: Row, tmp_path: Path) -> None:
    assert read_one({**row, "body_model": "smplx"}, tmp_path)["detail"].startswith("body_pose has 69 numbers, 63")
    half = {**row, "body_model": "smplx", "body_pose": row["body_pose"][:63], "left_hand_pose": [0.0] * 12}
    assert read_one(half, tmp_path)["detail"].startswith("left_hand_pose has 12 numbers, 45")
    assert read_one({**row, "left_hand_pose": [0.0] * 12}, tmp_path)["reason"] is None


def test_lines_that_are_none_cost_themselves_alone(row: Row, tmp_path: Path) -> None:
    good = json.dumps(row)
    no_unicode = "\ud800".encode("utf-8", "surrogatepass").decode("latin-1")
    text = "\n".join([good, "{", "", "[1]", "[" * 5000, '{"path": 1e400}', no_unicode, good])
    with gzip.open(tmp_path / "bodies.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write(text)
    read = read_all(tmp_path / "bodies.jsonl.gz", tmp_path / "work")
    assert [row["reason"] for row in read] == [None, *["row not readable"] * 5, None]
    assert [row["origin"].rsplit(" ", 1)[1] for row in read] == ["1", "2", "4", "5", "6", "7", "8"]
    for content, words in (("[1, 2]", "is a list of json"), ("x" * (1 << 20) + "y", "has more than 1048576 bytes")):
        (tmp_path / "bodies.jsonl").write_text(content)
        with pytest.raises(DataError, match=words):
            read_all(tmp_path / "bodies.jsonl", tmp_path / "work")


def test_an_npz_may_have_one_value_for_all_and_rows_of_other_shapes(row: Row, tmp_path: Path) -> None:
    count = 3
    poses = np.empty(count, object)
    poses[:] = [np.zeros(69), np.zeros(5), np.zeros(69)]
    shared = {name: np.array(row[name]) for name in ("body_model", "fx", "gender")}
    each = {name: np.array([row[name]] * count) for name in ("path", "box", "global_orient", "betas", "transl")}
    np.savez(tmp_path / "bodies.npz", body_pose=poses, **shared, **each)
    read = read_all(tmp_path / "bodies.npz", tmp_path / "work")
    assert [one["reason"] for one in read] == [None, "row not readable", None]
    assert read[1]["detail"] == "body_pose: 69 numbers expected, not 5 numbers"
    assert [one["fx"] for one in read[::2]] == [row["fx"]] * 2
    np.savez(tmp_path / "bodies.npz", body_pose=np.zeros((2, 69)), **shared, **each)
    with pytest.raises(DataError, match=r"path has 3 rows, but body_pose 2|box has 3 rows, but body_pose 2"):
        read_all(tmp_path / "bodies.npz", tmp_path / "work")


def test_it_is_recognised_by_its_columns(people: list[TruePerson], tmp_path: Path) -> None:
    for kind in KINDS:
        source = write_bodies(people, tmp_path / kind, kind=kind)
        assert [each.format for each in recognise(source.url).candidates] == ["bodies"], kind
    write_rows(tmp_path / "parquet" / "more.parquet", body_rows(people[0], 1))
    first = recognise(str(tmp_path / "parquet")).candidates[0]
    assert (first.format, first.url, first.why) == (
        "bodies",
        str(tmp_path / "parquet"),
        "2 files with bodies, a row for each",
    )
    (tmp_path / "other.jsonl").write_text('{"a": 1}\n')
    (note,) = recognise(str(tmp_path / "other.jsonl")).notes
    assert "is json lines with the keys a: no format here" in note


def test_options_and_folders_that_are_none(row: Row, tmp_path: Path) -> None:
    write_rows(tmp_path / "bodies.jsonl", [row])
    with pytest.raises(ConfigError, match="What becomes of the format bodies is hypotheses or labels, not 'pairs'"):
        read_all(tmp_path / "bodies.jsonl", tmp_path, **{"as": "pairs"})
    with pytest.raises(ConfigError, match="label_kind is gt or pseudo, not 'true'"):
        read_all(tmp_path / "bodies.jsonl", tmp_path, label_kind="true")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"has no table of bodies: files that end in \.parquet, \.npz, \.jsonl"):
        read_all(tmp_path / "empty", tmp_path)


def test_columns_that_mean_nothing_and_betas_that_are_cut_are_said(row: Row, tmp_path: Path) -> None:
    write_rows(tmp_path / "bodies.jsonl", [{**with_matrices(row), "vertices": 1}])
    source = AnnotationSource("bodies", str(tmp_path / "bodies.jsonl"), "mine", "train")
    first, second = BodiesReader(source, tmp_path / "work").survey().remarks
    assert first == "Columns that mean nothing here: 'vertices'."
    assert "have up to 11 numbers; 10 are taken and the rest is CUT, up to 0.25" in second


def survived(file: Path, work: Path, **options: Any) -> Iterator[dict[str, Any]]:
    """The rows of a file that may be broken, each with its reason; none where it is refused as a whole."""
    refusal, rows = None, []
    try:
        rows = read_all(file, work, **options)
    except DataError as error:
        refusal = error
    assert len(str(refusal)) < 2000
    for row in rows:
        assert row["reason"] is None or row["detail"]
        yield row


@pytest.mark.parametrize("kind", KINDS)
def test_mutated_rows_are_read_or_refused(kind: str, people: list[TruePerson], tmp_path: Path) -> None:
    random = np.random.default_rng(KINDS.index(kind))
    rows = [*body_rows(people[0], 2), *map(in_weak_perspective, body_rows(people[1], 2))]
    for number in range(60):
        changed = rows
        for _ in range(int(random.integers(1, 4))):
            _, changed = mutated(changed, random)
        changed = [row for row in changed if isinstance(row, dict)] or [{}]
        file, work = tmp_path / f"{number}.{kind}", tmp_path / f"work{number}"
        try:
            write_rows(file, changed)
        except (pa.ArrowException, OverflowError, UnicodeEncodeError, TypeError, AttributeError, KeyError):
            continue  # what can't be written can't be met
        if random.random() < 0.3:
            file.write_bytes(broken(file.read_bytes(), random))
        for _ in survived(file, work, **{"as": ("hypotheses", "labels")[number % 2]}):
            pass


def test_parquet_of_other_types(row: Row, tmp_path: Path) -> None:
    """Lists of fixed size and of 32 bits, texts as dictionaries, numbers as texts or structs."""
    plain = {name: pa.array([row[name]]) for name in ("path", "box", "betas", "transl", "fx", "body_model")}
    poses = {"global_orient": pa.array([row["global_orient"]], pa.list_(pa.float32(), 3))}
    poses["body_pose"] = pa.array([np.reshape(row["body_pose"], (23, 3)).tolist()], pa.list_(pa.list_(pa.float32())))
    changes: tuple[dict[str, pa.Array], ...] = (
        {"path": plain["path"].dictionary_encode()},
        {"fx": pa.array([str(row["fx"])])},
        {"fx": pa.array([int(row["fx"])], pa.uint64())},
        {"betas": pa.array([{"a": 1}])},
        {"transl": pa.array([b"\xff\xfe"])},
    )
    reasons = []
    for change in changes:
        pq.write_table(pa.table({**plain, **poses, **change}), tmp_path / "bodies.parquet")
        (read,) = read_all(tmp_path / "bodies.parquet", tmp_path / "work")
        reasons.append(read["reason"])
    assert reasons == [None, None, None, "row not readable", "row not readable"]


def test_every_column_stands_in_the_page() -> None:
    page = (Path(__file__).resolve().parents[4] / "docs" / "any-model.md").read_text()
    assert set(NEEDED) < KEYS
    assert sorted(name for name in KEYS if f"`{name}`" not in page) == []


def test_rotations_by_their_count() -> None:
    assert rotations([[1.0, 2.0, 3.0]], "x", 1).tolist() == [1, 2, 3]
    assert np.abs(rotations([np.eye(3).tolist()] * 21, "x", 23, 21)).max() == 0
    with pytest.raises(RefusedError, match="6D rotations"):
        rotations([0.0] * 6, "x", 1)
