"""What a prediction writes: parameters, joints, overlays and meshes say the same; it is there whole or not at all."""

import io
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
import pytest
import roma
import torch
from numpy.typing import NDArray
from PIL import Image

from infra.stages import StageSpec, commit_rows
from infra.store import Store
from infra.tables import read
from models.bodies import BodyOutput, load_body
from models.cameras import Intrinsics, project, uvd_from_camera
from models.rendering.raster import rasterise
from schemas.errors import DataError
from schemas.ids import ModelDigest, StageKey, Target
from tasks.engine.context import Context
from tasks.ingest.annotated import IngestAnnotations
from tasks.ingest.people.annotations import AnnotationSource
from tasks.ingest.source.folder import Folder
from tasks.predict import output
from tasks.predict.bodies import Predicted, Take
from tasks.predict.meshes import read_glb
from tasks.predict.output import Written, write_prediction
from tasks.rows.hypotheses import Hypotheses, hypotheses_table
from tasks.rows.instances import instance_ids, load_instances
from tasks.stages.score import Score
from tests.samples.truth import TruePerson, true_people
from tests.tasks.conftest import MicroStore
from tests.tasks.micro import CONFIG

SIDE = 240
TARGET = Target("predict", "photos")
PATHS = ("a.jpg", "sub/b.jpg", "sub/b.jpg", "sub/b.png")
SAMPLES = 3


class Predictions(NamedTuple):
    """The stages of a prediction on black pictures, on which a body is easily told. Hypotheses are known poses: an
    untrained policy's bodies are specks at the horizon."""

    context: Context
    folder: Folder
    predicted: Predicted

    def write(self, out: Path, take: Take, **asked: bool) -> Written:
        return write_prediction(self.context, replace(self.predicted, take=take), self.folder, str(out), **asked)


@pytest.fixture(scope="module")
def made(shared_micro_store: MicroStore, tmp_path_factory: pytest.TempPathFactory) -> Predictions:
    root = tmp_path_factory.mktemp("predict")
    photos = root / "photos"
    truth = true_people(len(PATHS), "wild", "test")
    joints = torch.from_numpy(np.stack([person.label.joints for person in truth])).float()
    lines = ["path,x,y,w,h,focal_px,cx,cy\n"]
    for number, (path, person) in enumerate(zip(PATHS, truth, strict=True)):
        (photos / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (SIDE, SIDE)).save(photos / path)
        # two people of one picture may have cameras of their own: each row says one
        camera = torch.from_numpy(person.intrinsics * SIDE / 128).float() + torch.tensor([0, 0, 5.0 * number, 0])
        pixels = project(joints[number], camera)
        low, high = pixels.amin(0), pixels.amax(0)
        values = [*low.tolist(), *(high - low).tolist(), *camera[[0, 2, 3]].tolist()]
        lines.append(f"{path},{','.join(map(str, values))}\n")
    (root / "boxes.csv").write_text("".join(lines))
    shutil.copytree(shared_micro_store.store.root, root / "store")
    context = Context(Store.open(root / "store"), CONFIG, in_process=True)
    source = AnnotationSource("folder", str(photos), *TARGET, options={"boxes": str(root / "boxes.csv")})
    people = IngestAnnotations(source).run(context).key
    policy, scorer = ModelDigest(shared_micro_store.policy), ModelDigest(shared_micro_store.scorer)
    generation = _known_poses(context, people, truth, joints)
    scores = Score(generation, (people,), scorer).run(context).key
    models = {"policy": policy, "scorer": scorer}
    predicted = Predicted(ingests=(people,), generation=generation, scores=scores, target=TARGET, **models)
    return Predictions(context, Folder(str(photos)), predicted)


def _known_poses(context: Context, people: StageKey, truth: list[TruePerson], joints: torch.Tensor) -> StageKey:
    """The people's own poses, and the same with joints that are off by some cm."""
    instances = load_instances(context.store, [people], instance_ids(context.store, [people], [TARGET]))
    uvd, depth = uvd_from_camera(joints, torch.from_numpy(instances.crop_intrinsics), instances.crop_size)
    shifts = 0.02 * np.random.default_rng(0).standard_normal((len(truth), SAMPLES, 29, 3))
    shifts[:, 0] = 0
    every = (1, SAMPLES, 1)
    hypotheses = Hypotheses(
        (uvd.numpy()[:, None] + shifts).astype(np.float32),
        np.tile(np.stack([person.label.twist for person in truth]).reshape(-1, 1, 23, 2), (*every, 1)),
        np.tile(np.stack([person.label.betas for person in truth])[:, None], every),
        np.tile(depth.numpy()[:, None], (1, SAMPLES)),
    )
    spec = StageSpec("generate", 1, {"known": "poses"}, reads=(people,))
    rows = hypotheses_table(spec.key, instances, hypotheses, range(SAMPLES), 0, np.arange(len(truth)))
    commit_rows(context.store, spec, {"hypotheses": rows.drop_columns(["stage_key"])})
    return spec.key


def posed(rows: list[dict[str, Any]]) -> BodyOutput:
    """The bodies that rows of the table speak of."""
    theta = torch.tensor([[*row["global_orient"], *row["body_pose"]] for row in rows]).view(-1, 24, 3)
    betas, transl = (torch.tensor([row[name] for row in rows]) for name in ("betas", "transl"))
    return load_body(CONFIG.body)(roma.rotvec_to_rotmat(theta), betas, transl)


def table(out: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(out / "bodies.parquet").to_pylist()
    return rows


def silhouette(mesh: tuple[NDArray[Any], NDArray[Any]], row: dict[str, Any]) -> NDArray[np.bool_]:
    camera = Intrinsics(row["fx"], row["fy"], row["cx"], row["cy"])
    return rasterise(*mesh, camera, SIDE, SIDE).mask


def test_meshes_read_back_are_the_overlays_and_the_parameters(made: Predictions, tmp_path: Path) -> None:
    written = made.write(tmp_path / "out", "selected", meshes=True)
    assert (written.people, written.pictures, written.bodies, written.unused) == (4, 3, 4, ())
    rows = table(tmp_path / "out")
    assert [(row["path"], row["person"], row["preferred"]) for row in rows] == [
        ("a.jpg", 0, True),
        ("sub/b.jpg", 0, True),
        ("sub/b.jpg", 1, True),
        ("sub/b.png", 0, True),
    ]
    bodies = posed(rows)
    for picture, name in (("a.jpg", "a"), ("sub/b.jpg", "sub/b"), ("sub/b.png", "sub/b.png")):
        places = [place for place, row in enumerate(rows) if row["path"] == picture]
        meshes = read_glb(tmp_path / "out" / "meshes" / f"{name}.glb")
        assert list(meshes) == [f"person {rows[place]['person']} sample {rows[place]['sample']}" for place in places]
        for place, (vertices, faces) in zip(places, meshes.values(), strict=True):
            np.testing.assert_allclose(vertices, bodies.vertices[place].numpy(), atol=1e-4)
            assert np.array_equal(faces, load_body(CONFIG.body).faces.numpy())
        drawn = np.asarray(Image.open(tmp_path / "out" / "overlays" / f"{name}.jpg")).max(-1) > 40
        seen = np.any([silhouette(mesh, rows[row]) for mesh, row in zip(meshes.values(), places, strict=True)], axis=0)
        assert seen.sum() > 1000
        assert (drawn & seen).sum() / (drawn | seen).sum() >= 0.97
    joints = np.array([row["joints"] for row in rows]).reshape(-1, 29, 3)
    np.testing.assert_allclose(joints, bodies.joints.numpy(), atol=1e-4)


def test_meshes_have_y_up_and_lie_before_a_camera_of_gltf(made: Predictions, tmp_path: Path) -> None:
    import trimesh

    made.write(tmp_path / "out", "zero", overlays=False, meshes=True)
    (row, *_) = table(tmp_path / "out")
    file = tmp_path / "out" / "meshes" / "a.glb"
    (mesh,) = trimesh.load_scene(io.BytesIO(file.read_bytes()), file_type="glb", process=False).geometry.values()
    vertices = posed([row]).vertices[0].numpy()
    np.testing.assert_allclose(mesh.vertices, vertices * [1, -1, -1], atol=1e-4)
    assert (mesh.vertices[:, 2] < 0).all()
    # a half turn keeps what is outside outside
    assert mesh.volume > 0


def test_all_hypotheses_have_their_scores_and_one_of_them_is_preferred(made: Predictions, tmp_path: Path) -> None:
    made.write(tmp_path / "all", "all", overlays=False)
    rows = table(tmp_path / "all")
    count = SAMPLES
    assert len(rows) == 4 * count
    said = read(made.context.store, "scores", stage_keys=[made.predicted.scores or ""])
    by_sample = {
        (row["instance_id"].removeprefix("predict/photos/"), row["sample_index"]): row["score"]
        for row in said.to_pylist()
    }
    assert {(f"{row['path']}#{row['person']}", row["sample"]): row["score"] for row in rows} == by_sample
    for first in range(0, len(rows), count):
        scores = [row["score"] for row in rows[first : first + count]]
        assert [row["preferred"] for row in rows[first : first + count]] == [s == max(scores) for s in scores]
    made.write(tmp_path / "zero", "zero", overlays=False)
    assert table(tmp_path / "zero") == [row for row in rows if row["sample"] == 0]
    made.write(tmp_path / "selected", "selected", overlays=False)
    assert table(tmp_path / "selected") == [row for row in rows if row["preferred"]]


def test_humandata_comes_back_as_labels_of_the_same_bodies(made: Predictions, tmp_path: Path) -> None:
    made.write(tmp_path / "out", "selected", overlays=False)
    rows = table(tmp_path / "out")
    with np.load(tmp_path / "out" / "humandata.npz", allow_pickle=True) as file:  # a file that the test has written
        misc = file["misc"].item()
    assert misc["score"].tolist() == [row["score"] for row in rows]
    assert misc["sample_index"].tolist() == [row["sample"] for row in rows]
    source = AnnotationSource(
        "humandata", str(tmp_path / "out" / "humandata.npz"), "again", "train", images=made.folder.url
    )
    loose = {"max_joint_error_mm": 1.0, "max_reprojection": 1e6}  # bodies of an untrained policy lie beside the boxes
    config = CONFIG.model_copy(update={"ingest": CONFIG.ingest.model_copy(update=loose)})
    again = IngestAnnotations(source, "tiny").run(replace(made.context, config=config))
    labels = read(made.context.store, "labels", stage_keys=[again.key]).sort_by("instance_id").to_pylist()
    joints = np.array([label["joints"] for label in labels])
    np.testing.assert_allclose(joints, [row["joints"] for row in rows], atol=1e-3)


def test_a_prediction_is_there_whole_or_not_at_all(
    made: Predictions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(output, "export_humandata", broken)
    with pytest.raises(DataError, match="could not be written: no space left"):
        made.write(tmp_path / "out", "zero")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    made.write(tmp_path / "out", "zero")
    with pytest.raises(DataError, match=r"There is something at .*out already"):
        made.write(tmp_path / "out", "zero")


def test_pictures_that_are_gone_or_changed_have_bodies_and_no_overlay(made: Predictions, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(made.folder.url, photos)
    (photos / "a.jpg").unlink()
    Image.new("RGB", (SIDE, SIDE), "white").save(photos / "sub" / "b.png")
    written = made._replace(folder=Folder(str(photos))).write(tmp_path / "out", "zero")
    assert [(one.id, one.stage, one.reason) for one in written.unused] == [
        ("predict/photos/a.jpg", None, "no overlay: picture missing"),
        ("predict/photos/sub/b.png", None, "no overlay: picture changed"),
    ]
    assert [file.name for file in (tmp_path / "out" / "overlays").rglob("*.jpg")] == ["b.jpg"]
    assert len(table(tmp_path / "out")) == 4
