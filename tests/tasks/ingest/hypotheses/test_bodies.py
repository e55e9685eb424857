"""Bodies of any model as hypotheses: as smplx poses them, in the crop of their person, and on to scores and pairs."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from infra.store import Store
from infra.tables import read
from models.bodies import load_body, smplx_model
from models.body_arrays import BUILT_IN, read_arrays
from models.cameras import affine_intrinsics, apply_affine, camera_from_uvd, crop_affine, project
from models.kinematics import twist_from_rotations
from models.smplx_body import load_smplx_body
from schemas.errors import ConfigError, DataError
from schemas.tables import matrix
from tasks.engine.context import Context
from tasks.engine.results import StageResult
from tasks.export.chosen import ingests_of
from tasks.ingest.hypotheses.bodies import IngestBodies
from tasks.ingest.hypotheses.stage import IngestHypotheses
from tasks.ingest.people.annotations import AnnotationSource
from tasks.stages.pair import Pair
from tasks.stages.score import Score
from tests.samples.bodies import (
    CROP_PX,
    FOCAL_PX,
    Row,
    body_rows,
    in_camera,
    in_weak_perspective,
    with_matrices,
    write_bodies,
    write_rows,
)
from tests.samples.preferences import true_crop, write_hypothesis_cache, write_list_cache
from tests.samples.truth import TruePerson, true_people
from tests.tasks import micro
from tests.tasks.conftest import MicroStore
from tests.tasks.ingest.hypotheses.test_stage import entries_of

pytestmark = pytest.mark.slow

M = 3
GATES = micro.CONFIG.gates.model_copy(update={"max_failed_share": 1.0})
CONFIG = micro.CONFIG.model_copy(update={"gates": GATES})


@pytest.fixture(scope="module")
def people() -> list[TruePerson]:
    return true_people(3)


@pytest.fixture
def here(tmp_path: Path) -> Context:
    return Context(Store.open(str(tmp_path / "store")), CONFIG, in_process=True)


def rows_of(people: Sequence[TruePerson]) -> list[Row]:
    return [row for person in people for row in body_rows(person, M)]


def taken(here: Context, people: list[TruePerson], folder: Path, rows: list[Row], **more: Any) -> StageResult:
    return IngestBodies(write_bodies(people, folder, rows=rows, **more), "tiny").run(here)


def rotvecs(value: Any) -> NDArray[np.float32]:
    """(J, 3) of axis-angles or matrices."""
    array = np.array(value, np.float64)
    if array.size % 9 == 0 and array.ndim > 1:
        array = Rotation.from_matrix(array.reshape(-1, 3, 3)).as_rotvec()
    return array.reshape(-1, 3).astype(np.float32)


def smplx_joints(row: Row, bodies: Path | None = None) -> NDArray[np.float64]:
    """(29, 3) metres, camera frame: what the library smplx makes of the parameters of a row."""
    orient, pose = (torch.from_numpy(rotvecs(row[name])) for name in ("global_orient", "body_pose"))
    parameters = {
        "betas": torch.tensor(row["betas"], dtype=torch.float32)[None, :10],
        "global_orient": orient.view(1, 3),
        "body_pose": torch.nn.functional.pad(pose.reshape(1, -1), (0, 0 if bodies else 69 - pose.numel())),
        "transl": torch.from_numpy(in_camera(row)[0].astype(np.float32))[None],
    }
    with torch.no_grad():
        if bodies is None:
            return smplx_model(read_arrays(BUILT_IN["tiny"]))(**parameters).joints[0].double().numpy()
        body = load_smplx_body(bodies)
        zeros = {f"{name}_pose": torch.zeros(1, size) for name, size in (("jaw", 3), ("leye", 3), ("reye", 3))}
        hands = {f"{side}_hand_pose": torch.zeros(1, 45) for side in ("left", "right")}
        posed = body.model(**parameters, **zeros, **hands, expression=torch.zeros(1, 10))
        keypoints, top = posed.joints[0].double().numpy(), posed.vertices[0, body.head_top].double().numpy()
        return np.concatenate([keypoints[[*range(22), 28, 43]], top[None], keypoints[[68, 73, 60, 63]]])


def back_projected(here: Context, key: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The joints (N, M, 29, 3) of the hypotheses in metres, by the crop cameras of their people, and the cameras."""
    instances = read(here.store, "instances", stage_keys=[key]).sort_by("instance_id")
    made = read(here.store, "hypotheses", stage_keys=[key])
    made = made.sort_by([("instance_id", "ascending"), ("sample_index", "ascending")])
    cameras = torch.tensor(matrix(instances, "crop_intrinsics")).double().repeat_interleave(M, 0)
    uvd = torch.tensor(matrix(made, "uvd").reshape(-1, 29, 3)).double()
    depth = torch.from_numpy(made.column("root_depth_m").to_numpy().copy())
    joints = camera_from_uvd(uvd, cameras, micro.CONFIG.ingest.crop_size_px, depth).numpy()
    return joints.reshape(-1, M, 29, 3), matrix(instances, "image_intrinsics")


@pytest.mark.parametrize("change", [dict, with_matrices, in_weak_perspective], ids=["as is", "matrices", "weak"])
def test_joints_are_those_of_smplx(
    change: Callable[[Row], Row], here: Context, people: list[TruePerson], tmp_path: Path
) -> None:
    rows = list(map(change, rows_of(people)))
    made = taken(here, people, tmp_path, rows)
    assert (made.record.tally.ok, made.record.rows["hypotheses"]) == (3, 3 * M)
    joints, cameras = back_projected(here, made.key)
    wanted = np.stack([smplx_joints(row) for row in rows]).reshape(joints.shape)
    assert np.linalg.norm(joints - wanted, axis=-1).max() < 1e-4
    np.testing.assert_allclose(cameras, [in_camera(row)[1] for row in rows[::M]], rtol=1e-6)
    samples = read(here.store, "hypotheses", stage_keys=[made.key]).sort_by("sample_index").to_pylist()
    assert {(row["source"], row["root_depth_source"]) for row in samples} == {("sample", "given")}
    assert sorted(row["sample_index"] for row in samples) == sorted([*range(M)] * 3)
    np.testing.assert_allclose(sorted(row["betas"] for row in samples), sorted(row["betas"][:10] for row in rows), 1e-5)


def test_twists_are_those_of_the_rotations(here: Context, people: list[TruePerson], tmp_path: Path) -> None:
    rows = rows_of(people[:1])
    made = read(here.store, "hypotheses", stage_keys=[taken(here, people[:1], tmp_path, rows).key])
    body, turns = (
        load_body("tiny"),
        [np.vstack([rotvecs(row[name]) for name in ("global_orient", "body_pose")]) for row in rows],
    )
    rotations = torch.from_numpy(
        Rotation.from_rotvec(np.reshape(turns, (-1, 3))).as_matrix().reshape(M, 24, 3, 3)
    ).float()
    rest = body.rest_joints(torch.tensor([row["betas"] for row in rows], dtype=torch.float32))
    wanted = twist_from_rotations(rotations, rest).numpy().reshape(M, 46)
    np.testing.assert_allclose(matrix(made.sort_by("sample_index"), "twist"), wanted, atol=1e-4)


def test_bodies_of_smplx_are_posed_by_their_file(
    here: Context, people: list[TruePerson], bodies: Path, tmp_path: Path
) -> None:
    rows = [row for person in people for row in body_rows(person, M, body_model="smplx")]
    made = IngestBodies(write_bodies(people, tmp_path, rows=rows), str(bodies)).run(here)
    joints, _ = back_projected(here, made.key)
    wanted = np.stack([smplx_joints(row, bodies) for row in rows]).reshape(joints.shape)
    assert np.linalg.norm(joints - wanted, axis=-1).max() < 1e-4
    hypotheses = read(here.store, "hypotheses", stage_keys=[made.key])
    assert not matrix(hypotheses, "betas").any(), "they are of another body than hypotheses pose"


def test_a_weak_perspective_camera_sees_what_its_network_projects(
    here: Context, people: list[TruePerson], tmp_path: Path
) -> None:
    """HMR2's own projection: joints by the focal length of the crop, about the middle of the crop."""
    rows = [in_weak_perspective(row) for row in rows_of(people[:1])]
    made = taken(here, people[:1], tmp_path, rows)
    (instance,) = read(here.store, "instances", stage_keys=[made.key]).to_pylist()
    hypotheses = read(here.store, "hypotheses", stage_keys=[made.key]).sort_by("sample_index")
    for row, uvd in zip(rows, matrix(hypotheses, "uvd").reshape(M, 29, 3), strict=True):
        at_origin = smplx_joints({**row, "tx": 0.0, "ty": 0.0}) - [0, 0, in_camera(row)[0][2]]
        camera_t = np.array([row["tx"], row["ty"], 2 * FOCAL_PX / (CROP_PX * row["s"])])
        points = at_origin + camera_t
        in_crop = FOCAL_PX / CROP_PX * points[:, :2] / points[:, 2:]  # sides of the crop, from its middle
        pixels = np.array(row["box_center"]) + in_crop * row["box_size"]
        affine = torch.tensor(instance["crop_affine"], dtype=torch.float64).view(2, 3)
        wanted = apply_affine(affine, torch.from_numpy(pixels)).numpy() / instance["crop_size_px"] * 2 - 1
        assert np.abs(uvd[:, :2] - wanted).max() < 1e-4


def test_the_same_hypotheses_get_the_same_scores_as_from_a_cache(
    micro_store: MicroStore, people: list[TruePerson], tmp_path: Path
) -> None:
    """As bodies of the people whom the cache brought, in its crops; and as bodies of people in the same squares."""
    rows, context = rows_of(people), replace(micro_store.context, config=CONFIG)
    cache = write_hypothesis_cache(people, tmp_path / "cache", hypotheses=M)
    entries = entries_of(cache)
    for entry, person in zip(entries, people, strict=True):
        theirs = [row for row in rows if row["path"].endswith(f"{person.index:06d}.jpg")]
        entry["output_joints"], entry["output_twists"] = published(theirs, person)
    write_list_cache(Path(cache.url), entries, "sample")
    cached = IngestHypotheses(cache).run(context).key
    ids = [f"sample/train/{person.index:05d}.jpg#0" for person in people]
    named = [
        {**{name: row[name] for name in row if name not in ("path", "person", "box")}, "instance_id": ids[place // M]}
        for place, row in enumerate(rows)
    ]
    (tmp_path / "named").mkdir()
    write_rows(tmp_path / "named" / "bodies.parquet", named)
    by_name = AnnotationSource("bodies", str(tmp_path / "named" / "bodies.parquet"), "sample", "train")
    of_cache = IngestBodies(by_name, "tiny").run(context).key
    squares = [{**row, "box": box_of_crop(people[place // M])} for place, row in enumerate(rows)]
    in_pictures = IngestBodies(write_bodies(people, tmp_path / "own", rows=squares), "tiny").run(context).key
    scores = []
    for key, ingest in ((cached, cached), (of_cache, cached), (in_pictures, in_pictures)):
        assert ingests_of(context.store, key) == [ingest]
        scored = Score(key, (ingest,), micro_store.scorer).run(context)
        made = read(context.store, "scores", stage_keys=[scored.key])
        made = made.sort_by([("instance_id", "ascending"), ("sample_index", "ascending")])
        scores.append(made.column("score").to_numpy())
    logs = np.log(scores)
    assert np.ptp(logs[0]) > 0.3
    assert np.abs(logs[1] - logs[0]).max() < 1e-5
    assert np.abs(logs[2] - logs[0]).max() < 2e-3, "a square of 64 px is cut at once, not by way of 256 px"


def published(rows: Sequence[Row], person: TruePerson) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Joints (M, 29, 3) in pixels of the test crop and mm behind the root, and twists (M, 23, 2), of bodies."""
    affine, body = torch.from_numpy(true_crop(person)), load_body("tiny")
    joints, twists = [], []
    for row in rows:
        posed = smplx_joints(row)
        pixels = apply_affine(affine, project(torch.from_numpy(posed), torch.from_numpy(in_camera(row)[1]))).numpy()
        joints.append(np.concatenate([pixels, 1000 * (posed[:, 2:] - posed[0, 2])], 1))
        turns = np.vstack([rotvecs(row[name]) for name in ("global_orient", "body_pose")])
        rotations = torch.from_numpy(Rotation.from_rotvec(turns).as_matrix()).float()
        rest = body.rest_joints(torch.tensor([row["betas"]], dtype=torch.float32))
        twists.append(twist_from_rotations(rotations[None], rest)[0].numpy())
    return np.stack(joints).astype(np.float32), np.stack(twists).astype(np.float32)


def box_of_crop(person: TruePerson) -> list[float]:
    """The box around which the engine cuts the square of the published test crop."""
    (scale, _, x), (_, _, y) = true_crop(person)
    side = 256 / scale / micro.CONFIG.ingest.box_padding
    return [(128 - x) / scale - side / 2, (128 - y) / scale - side / 2, side, side]


def test_they_can_be_scored_and_paired(micro_store: MicroStore, people: list[TruePerson], tmp_path: Path) -> None:
    context = micro_store.context
    key = taken(context, people, tmp_path, rows_of(people)).key
    scored = Score(key, (key,), micro_store.scorer).run(context)
    paired = Pair(key, scored.key, micro.CONFIG.pair).run(context)
    assert (scored.record.rows["scores"], paired.record.tally.ok) == (3 * M, 3)


def test_people_of_an_ingest_keep_their_crops_and_another_camera_sees_them_as_large(
    micro_store: MicroStore, tmp_path: Path
) -> None:
    """The rows leave the camera out, or have one of twice the focal length, at twice the distance."""
    context = replace(micro_store.context, config=CONFIG)
    names = ["source/test/00000000#0", "source/test/00000001#0"]
    true = true_people(2, "source", "test")
    nearby, far = ([row for person in true for row in body_rows(person, 2)] for _ in range(2))
    for rows in (nearby, far):
        for place, row in enumerate(rows):
            row["instance_id"] = names[place // 2]
            del row["path"], row["person"], row["box"]
    for row in nearby:
        del row["fx"], row["fy"], row["cx"], row["cy"]
    for row in far:
        row["fx"], row["fy"], row["transl"] = 2 * row["fx"], 2 * row["fy"], [*row["transl"][:2], 2 * row["transl"][2]]
    depths = []
    for name, rows in (("near", nearby), ("far", far)):
        write_rows(tmp_path / f"{name}.jsonl", rows)
        source = AnnotationSource("bodies", str(tmp_path / f"{name}.jsonl"), "source", "test")
        made = IngestBodies(source, "tiny").run(context)
        assert made.record.reads == (micro_store.ingest_key,)
        assert made.record.rows == {"failures": 0, "hypotheses": 4, "images": 0, "instances": 0}
        read_back = read(context.store, "hypotheses", stage_keys=[made.key])
        assert sorted(set(read_back.column("instance_id").to_pylist())) == names
        depths.append(
            read_back.sort_by([("instance_id", "ascending"), ("sample_index", "ascending")])
            .column("root_depth_m")
            .to_numpy()
        )
        scored = Score(made.key, (micro_store.ingest_key,), micro_store.scorer).run(context)
        assert scored.record.rows["scores"] == 4
    np.testing.assert_allclose(depths[1], depths[0], rtol=0.1)
    labels = read(context.store, "labels", stage_keys=[micro_store.ingest_key]).to_pylist()
    label = {row["instance_id"]: row["joints"][2] for row in labels}
    np.testing.assert_allclose(depths[0][::2], [label[name] for name in names], rtol=1e-5)


@pytest.mark.parametrize("kind", ["parquet", "npz", "jsonl"])
def test_all_kinds_of_tables_say_the_same(kind: str, here: Context, people: list[TruePerson], tmp_path: Path) -> None:
    rows = rows_of(people)
    parts = tmp_path / "parts"
    whole = taken(here, people, tmp_path / kind, rows, kind=kind)
    parts.mkdir()
    for name, part in (("a", rows[:4]), ("b", rows[4:])):
        write_rows(parts / f"{name}.{kind}", part)
    images = str(tmp_path / kind)
    apart = IngestBodies(AnnotationSource("bodies", str(parts), "parts", "train", images), "tiny").run(here)
    first, second = (
        read(here.store, "hypotheses", stage_keys=[one.key]).sort_by(
            [("instance_id", "ascending"), ("sample_index", "ascending")]
        )
        for one in (whole, apart)
    )
    assert first.column("uvd").equals(second.column("uvd"))
    assert apart.record.tally.ok == 3


def test_people_may_have_bodies_of_several_models_in_any_order(
    here: Context, people: list[TruePerson], tmp_path: Path
) -> None:
    rows = [{**row, "source": source, "sample": None} for source in ("B", "A") for row in body_rows(people[0], 1)]
    rows += [{**row, "source": source, "sample": None} for source in ("A", "B") for row in body_rows(people[1], 1)]
    made = taken(here, people[:2], tmp_path, [rows[0], rows[2], rows[3], rows[1]])
    stored = read(here.store, "hypotheses", stage_keys=[made.key]).to_pylist()
    assert sorted((row["instance_id"][-8:], row["sample_index"], row["source"]) for row in stored) == [
        (f"0{number}.jpg#0", sample, source) for number in (0, 1) for sample, source in enumerate("AB")
    ]


def test_every_row_that_cannot_be_used_says_why(here: Context, people: list[TruePerson], tmp_path: Path) -> None:
    people = true_people(16)
    changes: dict[int, Row] = {
        1: {"global_orient": [np.nan, 0, 0]},
        2: {"betas": [0.0] * 9},
        3: {"body_pose": [0.0] * 138},
        4: {"global_orient": [[2.0, 0, 0], [0, 1, 0], [0, 0, 1]]},
        5: {"transl": None},
        6: {"box": [5000.0, 5000.0, 50.0, 50.0]},
        7: {"box": None},
        8: {"body_model": "mhr"},
        9: {"fx": -1.0},
        10: {"sample": 0},
        11: {"transl": [0.0, 0.0, 900.0]},
        12: {"cx": 3000.0},
        13: {"betas": [30.0] * 10},
        14: {"path": "nowhere.jpg"},
        15: {"gender": "female"},
    }
    rows = []
    for person in people:
        theirs = body_rows(person, M)
        theirs[1] |= changes.get(person.index, {})
        rows += theirs
    del rows[0]  # person 0 has one body less
    made = taken(here, people, tmp_path, rows, kind="jsonl")
    failures = {row["id"]: row for row in read(here.store, "failures", stage_keys=[made.key]).to_pylist()}
    found = {int(name.split("/")[-1][:6]): row["reason"] for name, row in failures.items() if "images/" in name}
    assert found == {
        0: "hypothesis count",
        1: "not finite",
        2: "row not readable",
        3: "row not readable",
        4: "impossible pose",
        5: "no depth",
        7: "key missing",
        8: "row not readable",
        9: "camera not usable",
        10: "duplicate id",
        11: "impossible depth",
        12: "reprojection error",
        13: "impossible shape",
        14: "hypothesis count",
        15: "body missing",
    }  # fmt: skip
    details = {int(name.split("/")[-1][:6]): row["detail"] for name, row in failures.items() if "images/" in name}
    assert details[3] == (
        "bodies.jsonl: line 10: body_pose has 138 numbers, 69 (axis-angles) or 207 (matrices) or 63 (axis-angles) or "
        "189 (matrices) are expected; 6D rotations? Turn them into matrices; their 2 other bodies are left out with it"
    )
    assert details[11].startswith("bodies.jsonl: line 34: joints are ")
    assert "bodies/train/nowhere.jpg#0" in failures
    assert made.record.tally.ok == 1
    assert made.record.tally.ok + made.record.tally.failed == made.record.units_in == 17


def test_people_without_numbers_and_with_several_boxes_are_not_guessed(
    here: Context, people: list[TruePerson], tmp_path: Path
) -> None:
    rows = [{**row, "person": None} for row in rows_of(people[:2])]
    rows[1] = {**rows[1], "box": [value + 1 for value in rows[1]["box"]]}
    made = taken(here, people, tmp_path, rows)
    (failure,) = read(here.store, "failures", stage_keys=[made.key]).to_pylist()
    assert (failure["reason"], failure["detail"]) == (
        "person ambiguous",
        "bodies.parquet: row 1: rows of one picture have different boxes and no person: number its people",
    )
    assert made.record.tally.ok == 1


def test_people_who_are_not_there_and_tables_that_are_none(
    micro_store: MicroStore, people: list[TruePerson], tmp_path: Path
) -> None:
    context = replace(micro_store.context, config=CONFIG)
    names = ["source/test/00000000#0", "source/test/99999999#0", "wild/test/00000000#0"]
    rows = [
        {**{name: value for name, value in body_rows(people[0], 1)[0].items() if name != "path"}, "instance_id": name}
        for name in names
    ]
    write_rows(tmp_path / "bodies.parquet", rows)
    source = AnnotationSource("bodies", str(tmp_path / "bodies.parquet"), "source", "test")
    IngestBodies(source, "tiny").run(context)
    reasons = [row["reason"] for row in read(context.store, "failures").to_pylist()]
    assert reasons.count("no such instance") == 2
    with pytest.raises(DataError, match=r"names people by instance_id, and .* has no ingest of source/else"):
        IngestBodies(replace(source, split="else"), "tiny").run(context)
    with pytest.raises(ConfigError, match=r"has parameters of SMPL bodies. Say which body files pose them: --body DIR"):
        IngestBodies(source, None).run(context)
    with pytest.raises(DataError, match=r"lacks path; as a Parquet table it has .*docs/any-model.md"):
        IngestBodies(replace(source, options={"as": "labels"}), "tiny").run(context)
    for spoil in ("body_pose", "transl"):
        write_rows(tmp_path / "bodies.parquet", [{name: row[name] for name in row if name != spoil} for row in rows])
        with pytest.raises(
            DataError, match="lacks body_pose" if spoil == "body_pose" else r"lacks a camera \(transl, or s"
        ):
            IngestBodies(source, "tiny").run(context)
    write_rows(tmp_path / "bodies.parquet", [{**row, "betas": []} for row in rows[:1]])
    with pytest.raises(DataError, match=r"No body of .* can be used. The first: "):
        IngestBodies(source, "tiny").run(context)


def test_done_again_it_is_found_and_every_takes_people(here: Context, people: list[TruePerson], tmp_path: Path) -> None:
    source = write_bodies(people, tmp_path, hypotheses=M)
    first = IngestBodies(source, "tiny").run(here)
    again = IngestBodies(source, "tiny").run(here)
    assert (again.reused, again.key) == (True, first.key) == (True, IngestBodies(source, "tiny").key(here))
    assert not here.store.list_files("ingests")
    some = IngestBodies(replace(source, every=2, dataset="some"), "tiny").run(here)
    names = read(here.store, "instances", stage_keys=[some.key]).column("instance_id").to_pylist()
    assert names == ["some/train/images/000000.jpg#0", "some/train/images/000002.jpg#0"]


def test_crops_are_those_of_photographs(here: Context, people: list[TruePerson], tmp_path: Path) -> None:
    made = taken(here, people, tmp_path, rows_of(people))
    for row, person in zip(read(here.store, "instances", stage_keys=[made.key]).to_pylist(), people, strict=True):
        x, y, w, h = person.box
        side = max(w, h) * CONFIG.ingest.box_padding
        square = torch.tensor([x + w / 2 - side / 2, y + h / 2 - side / 2, side, side], dtype=torch.float64)
        affine = crop_affine(square, CONFIG.ingest.crop_size_px)
        np.testing.assert_allclose(np.reshape(row["crop_affine"], (2, 3)), affine, rtol=1e-5)
        camera = affine_intrinsics(torch.from_numpy(person.intrinsics), affine)
        np.testing.assert_allclose(row["crop_intrinsics"], camera, rtol=1e-5)
        assert (row["crop_rule"], row["intrinsics_source"]) == ("box", "given")
