"""The page on bodies of any model: its scripts read what those models write, and the table is ingested."""

import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from scipy.spatial.transform import Rotation

from infra.store import Store
from infra.tables import read
from models.cameras import apply_affine
from schemas.tables import matrix
from tasks.engine.context import Context
from tasks.ingest.hypotheses.bodies import IngestBodies
from tasks.ingest.people.annotations import AnnotationSource
from tests.models.smplx_file import smplx_arrays
from tests.samples.bodies import body_rows
from tests.samples.truth import TruePerson, true_people, write_pictures
from tests.tasks import micro

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "any-model.md").read_text("utf-8")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def people() -> list[TruePerson]:
    return true_people(4)


def script(heading: str) -> str:
    """The last block of Python below a heading of the page."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    code: str = re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)[-1]
    assert 12 <= len([line for line in code.splitlines() if line]) <= 18, "some fifteen lines"
    return code


def run(heading: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The rows of the table that a script writes in a folder."""
    monkeypatch.chdir(folder)
    exec(compile(script(heading), heading, "exec"), {"__name__": "__main__"})
    rows: list[dict[str, Any]] = pq.read_table("bodies.parquet").to_pylist()
    return rows


def ingested(folder: Path, people: Sequence[TruePerson], body: str = "tiny") -> Store:
    """A store with the bodies of the table, whose pictures are in `photographs`."""
    write_pictures(people, folder / "photographs", [f"{person.index:06d}.jpg" for person in people])
    source = AnnotationSource(
        "bodies", str(folder / "bodies.parquet"), "mine", "train", images=str(folder / "photographs")
    )
    store = Store.open(folder / "store")
    made = IngestBodies(source, body).run(Context(store, micro.CONFIG, in_process=True))
    assert made.record.tally.ok == len(people)
    return store


def off_px(store: Store, people: Sequence[TruePerson]) -> float:
    """The largest mean distance of a person's first hypothesis from the true joints in the picture, over the box."""
    made = read(store, "hypotheses").to_pylist()
    first = {row["instance_id"]: np.reshape(row["uvd"], (29, 3)) for row in made if row["sample_index"] == 0}
    rows = read(store, "instances").sort_by("instance_id")
    off = []
    for name, affine, person in zip(
        rows.column("instance_id").to_pylist(), matrix(rows, "crop_affine").astype(float), people, strict=True
    ):
        size = micro.CONFIG.ingest.crop_size_px
        wanted = apply_affine(torch.from_numpy(affine.reshape(2, 3)), torch.from_numpy(person.pixels)).numpy()
        seen = (first[name][:, :2] / 2 + 0.5) * size
        off.append(np.linalg.norm(seen - wanted, axis=1).mean() / (affine[0] * max(person.box[2:])))
    return float(max(off))


def parameters(person: TruePerson) -> dict[str, torch.Tensor]:
    """SMPL's as those networks put them out: a batch of one, with rotation matrices."""
    (row,) = body_rows(person, 1)
    turns = {name: Rotation.from_rotvec(np.reshape(row[name], (-1, 3))) for name in ("global_orient", "body_pose")}
    matrices = {name: torch.from_numpy(turn.as_matrix()).float()[None] for name, turn in turns.items()}
    return {**matrices, "betas": torch.tensor(row["betas"], dtype=torch.float32)[None]}


def corners(person: TruePerson) -> torch.Tensor:
    x, y, w, h = person.box
    return torch.tensor([[x, y, x + w, y + h]], dtype=torch.float32)


def crop_of(person: TruePerson) -> tuple[torch.Tensor, float]:
    """Middle and side of the crop that a network sees."""
    x, y, w, h = person.box
    return torch.tensor([[x + w / 2, y + h / 2]]), 1.3 * max(w, h)


def save_hmr2(person: TruePerson, folder: Path) -> None:
    """What HMR2's demo has of a picture: the camera sees the true root where it is, as large as it is."""
    centre, size = crop_of(person)
    fx, _, cx, cy = person.intrinsics
    root, focal = person.label.joints[0].astype(float), 5000 / 256 * size
    at_origin = root - person.label.transl
    scale = 2 * fx / (size * root[2])
    depth = 2 * focal / (size * scale) + at_origin[2]
    middle = fx * root[:2] / root[2] + (cx, cy)
    shift = (middle - centre[0].numpy()) * depth / focal - at_origin[:2]
    batch = {
        "img": torch.zeros(1, 3, 256, 256),
        "personid": torch.tensor([0], dtype=torch.int32),
        "box_center": centre,
        "box_size": torch.tensor([size]),
        "img_size": torch.tensor([[person.width, person.height]], dtype=torch.float64),
    }
    out = {
        "pred_cam": torch.tensor([[scale, *shift]], dtype=torch.float32),
        "pred_smpl_params": parameters(person),
        "pred_cam_t": torch.zeros(1, 3),
        "focal_length": torch.full((1, 2), 5000.0),
        "pred_keypoints_3d": torch.zeros(1, 44, 3),
        "pred_vertices": torch.zeros(1, 6890, 3),
        "pred_keypoints_2d": torch.zeros(1, 44, 2),
    }
    saved = (f"example_data/images/{person.index:06d}.jpg", corners(person), batch, out)
    torch.save(saved, folder / f"{person.index:06d}_0.pt")


def save_camerahmr(person: TruePerson, folder: Path) -> None:
    centre, size = crop_of(person)
    fx, fy, cx, cy = person.intrinsics
    batch = {
        "img": torch.zeros(1, 3, 256, 256),
        "personid": torch.tensor([0]),
        "imgname": [f"demo_images/{person.index:06d}.jpg"],
        "box_center": centre.double(),
        "box_size": torch.tensor([size], dtype=torch.float64),
        "img_size": torch.tensor([[person.height, person.width]], dtype=torch.float64),
        "cam_int": torch.tensor([[[fx, 0, cx], [0, fy, cy], [0, 0, 1]]], dtype=torch.float32),
    }
    transl = torch.tensor(np.asarray(person.label.transl)[None], dtype=torch.float32)
    saved = (batch["imgname"][0], corners(person), batch, parameters(person), transl)
    torch.save(saved, folder / f"{person.index}.pt")


def save_smplerx(person: TruePerson, folder: Path) -> None:
    (row,) = body_rows(person, 1, body_model="smplx")
    for name in ("smplx", "meta"):
        (folder / name).mkdir(exist_ok=True)
    shapes = {"global_orient": (1, 3), "body_pose": (21, 3), "betas": (1, 10), "transl": (1, 3)}
    held = {name: np.reshape(row[name], shape).astype(np.float32) for name, shape in shapes.items()}
    held |= {name: np.zeros((15, 3), np.float32) for name in ("left_hand_pose", "right_hand_pose")}
    held |= {name: np.zeros((1, 3), np.float32) for name in ("jaw_pose", "leye_pose", "reye_pose")}
    np.savez(folder / "smplx" / f"{person.index:05}_0.npz", expression=np.zeros((1, 10), np.float32), **held)
    meta = {
        "focal": [row["fx"], row["fy"]],
        "princpt": [row["cx"], row["cy"]],
        "bbox": row["box"],
        "bbox_mmdet": row["box"],
        "bbox_id": 0,
        "img_path": f"frames/{person.index:06d}.jpg",
    }
    (folder / "meta" / f"{person.index:05}_0.json").write_text(json.dumps(meta, indent=4))


@pytest.mark.parametrize(
    ("heading", "save", "into", "least_off"),
    [("HMR2 (4D-Humans)", save_hmr2, "demo_out", 1e-3), ("CameraHMR", save_camerahmr, "output_images", -1.0)],
)
def test_scripts_of_models_of_smpl(
    heading: str,
    save: Any,
    into: str,
    least_off: float,
    people: list[TruePerson],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / into).mkdir()
    for person in people:
        save(person, tmp_path / into)
    rows = run(heading, tmp_path, monkeypatch)
    assert [row["person"] for row in rows] == [0] * len(people)
    # another camera sees the same body a little otherwise; the true one sees it as it is
    assert least_off < off_px(ingested(tmp_path, people), people) < (0.04 if least_off > 0 else 1e-4)


def test_the_script_of_smpler_x(people: list[TruePerson], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "output").mkdir()
    for person in people:
        save_smplerx(person, tmp_path / "output")
    rows = run("SMPLer-X", tmp_path, monkeypatch)
    assert {row["body_model"] for row in rows} == {"smplx"}
    (tmp_path / "bodies" / "smplx").mkdir(parents=True)
    np.savez(tmp_path / "bodies" / "smplx" / "SMPLX_NEUTRAL.npz", **smplx_arrays())
    ingested(tmp_path, people, str(tmp_path / "bodies"))


def consoles() -> list[list[list[str]]]:
    """The commands of the page's consoles, without `adhmr`; the free body stands for published ones."""
    blocks = re.findall(r"^```console\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    free = [block.replace("--body human_model_files", "--body tiny") for block in blocks]
    lines = [[line for line in block.splitlines() if line.startswith("$ adhmr ")] for block in free]
    return [[shlex.split(line.removeprefix("$ adhmr "), comments=True) for line in block] for block in lines]


def test_the_page_is_about_each_model() -> None:
    """Its commands are typed in `tests.flows.cli.test_steps`."""
    assert [[words[0] for words in block] for block in consoles()] == [
        ["doctor", "ingest", "score", "pair", "export"],
        ["ingest", "keep", "export"],
    ]
    for heading in ("HMR2 (4D-Humans)", "CameraHMR", "SMPLer-X", "SAM 3D Body"):
        assert f"\n## {heading}\n" in PAGE
