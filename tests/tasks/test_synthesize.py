"""Synthetic pictures: the same whenever they are made, with labels that fit, in folders like a user's own."""

import csv
import io
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import roma
import torch
from PIL import Image
from pydantic import ValidationError

from models.bodies import load_body
from models.kinematics import twist_from_rotations
from schemas.config.stages import PitchConfig, SynthesizeConfig
from schemas.digests import digest
from schemas.errors import ConfigError, DataError
from tasks.synthesize.domains import configured_domain, domain_named
from tasks.synthesize.people import BLOCK, _block, person
from tasks.synthesize.picture import make_picture
from tasks.synthesize.placement import extent
from tasks.synthesize.poses import BASE_POSES
from tasks.synthesize.write import BOX_COLUMNS, LABEL_SCHEMA, Write, write_pictures, write_tables

NAMES = ("source", "scorer", "wild")
SOURCE, WILD = domain_named("source"), domain_named("wild")


def into(folder: Path) -> Write:
    def write(name: str, data: bytes) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)

    return write


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_made_alone_has_the_bits_that_it_has_in_its_shard(name: str, tmp_path: Path) -> None:
    domain = domain_named(name)
    records = write_pictures(domain, "train", range(12, 20), 3, into(tmp_path / "shard")).to_pylist()
    _block.cache_clear()
    (alone,) = write_pictures(domain, "train", [17], 3, into(tmp_path / "alone")).to_pylist()
    assert alone == records[5]
    shard_bytes = (tmp_path / "shard" / "images" / alone["path"]).read_bytes()
    assert (tmp_path / "alone" / "images" / alone["path"]).read_bytes() == shard_bytes
    _block.cache_clear()
    first, second = make_picture(domain, "train", 17, 3), make_picture(domain, "train", 17, 3)
    assert first.image.tobytes() == second.image.tobytes()
    for field in ("global_orient", "body_pose", "betas", "transl", "joints", "twist"):
        assert getattr(first.label, field).tobytes() == getattr(second.label, field).tobytes()


def test_seed_split_domain_and_index_each_make_another_picture() -> None:
    bases = [
        make_picture(SOURCE, "train", 0, 0),
        make_picture(SOURCE, "train", 0, 1),
        make_picture(SOURCE, "test", 0, 0),
        make_picture(WILD, "train", 0, 0),
        make_picture(SOURCE, "train", BLOCK, 0),
    ]
    poses = {picture.label.body_pose.tobytes() for picture in bases}
    assert len(poses) == len(bases)
    assert len({picture.image.tobytes() for picture in bases}) == len(bases)


@pytest.mark.parametrize("name", NAMES)
def test_labels_are_the_body_that_was_drawn(name: str) -> None:
    body = load_body("tiny")
    for index in range(6):
        picture = make_picture(domain_named(name), "validation", index, 0)
        label = picture.label
        axis_angle = torch.from_numpy(np.concatenate([label.global_orient, label.body_pose]).reshape(1, 24, 3))
        rotations, betas = roma.rotvec_to_rotmat(axis_angle), torch.from_numpy(label.betas)[None]
        output = body(rotations, betas, torch.from_numpy(label.transl)[None])
        assert np.abs(output.joints[0].numpy() - label.joints).max() < 1e-5
        assert np.abs(output.vertices[0].numpy() - picture.vertices).max() < 1e-5
        twist = twist_from_rotations(rotations, body.rest_joints(betas))[0].numpy()
        assert np.abs(twist - label.twist).max() < 1e-4
        assert np.allclose(np.linalg.norm(label.twist, axis=-1), 1, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_boxes_hold_the_projected_joints_and_people_fill_the_picture(name: str) -> None:
    fills, outside = [], 0
    for index in range(32):
        picture = make_picture(domain_named(name), "train", index, 0)
        height, width = picture.image.shape[:2]
        left, top, right, bottom = extent(picture.label.joints, picture.intrinsics)
        x, y, w, h = picture.box
        # Nothing sticks out but what lies beyond the slack around the picture, where boxes end.
        assert left >= x - 0.01 or x <= -0.2 * width
        assert top >= y - 0.01 or y <= -0.2 * height
        assert right <= x + w + 0.01 or x + w >= 1.2 * width
        assert bottom <= y + h + 0.01 or y + h >= 1.2 * height
        # The box is tight: the joints end little before the skin does.
        assert min(left - x, top - y, x + w - right, y + h - bottom) < 0.1 * max(w, h)
        fills.append(max(w / width, h / height))
        outside += bool(x < -1 or y < -1 or x + w > width + 1 or y + h > height + 1)
        assert (picture.label.joints[:, 2] > 0.5).all()
        assert max(w, h) > 0.4 * max(width, height)
    assert min(fills) > 0.55
    assert max(fills) < 1.0
    assert outside <= 2 if name == "source" else outside >= 3  # one in twenty is cut, or one in five


def test_the_person_is_drawn_where_the_label_says() -> None:
    """The same person before two backgrounds: the pictures differ at the joints' pixels far less than elsewhere."""
    plain = SOURCE.model_copy(
        update={"noise": (0.0, 0.0), "blur": (0.0, 0.0), "texture": (0.0, 0.0), "clutter": (0, 0), "name": "plain"}
    )
    inside, around = [], []
    for index in range(24):
        picture = make_picture(plain, "train", index, 0)
        pixels = picture.image.astype(float)
        corner = np.median(pixels[:3].reshape(-1, 3), axis=0)
        joints = picture.label.joints[[0, 6, 9, 4, 5]]
        camera = picture.intrinsics
        columns = (camera.fx * joints[:, 0] / joints[:, 2] + camera.cx).astype(int)
        rows = (camera.fy * joints[:, 1] / joints[:, 2] + camera.cy).astype(int)
        inside.append(np.abs(pixels[rows, columns] - corner).mean())
        around.append(np.abs(pixels[:3] - corner).mean())
    assert np.mean(inside) > 4 * np.mean(around)


def test_people_stand_upright_and_face_the_camera() -> None:
    for index in range(40):
        joints = person(SOURCE, "train", index, 0).label.joints
        # y is down: head, pelvis, the foot that is stood on (the other may be kicking)
        assert joints[24, 1] < joints[0, 1] < max(joints[7, 1], joints[8, 1])
        # Facing the camera means: the left hip is on the right of the picture, the toes before the heels.
        assert joints[1, 0] > joints[2, 0]
        assert (joints[[27, 28], 2] < joints[[7, 8], 2]).any()


def test_the_wild_does_what_the_source_does_not() -> None:
    """Hips closer to the ankles, and knees bent: the gap to be closed. The scorer's domain spans both."""
    bend, height = {}, {}
    for name in NAMES:
        people = [person(domain_named(name), "train", index, 0) for index in range(160)]
        poses = [who.label.body_pose.reshape(23, 3) for who in people]
        bend[name] = np.array([np.degrees(np.linalg.norm(pose[[3, 4]], axis=-1)).max() for pose in poses])
        joints = [who.label.joints for who in people]
        height[name] = np.array([places[[7, 8], 1].max() - places[0, 1] for places in joints])
    assert np.median(bend["wild"]) > np.median(bend["source"]) + 20
    assert np.median(height["wild"]) < np.median(height["source"]) - 0.05
    assert np.quantile(height["wild"], 0.1) < np.quantile(height["source"], 0.1) - 0.05
    assert np.quantile(bend["scorer"], 0.9) > np.quantile(bend["wild"], 0.75)
    assert np.quantile(height["scorer"], 0.1) < np.quantile(height["source"], 0.1) - 0.05
    assert set(WILD.poses) <= set(domain_named("scorer").poses) <= set(BASE_POSES)


def test_the_source_knows_one_kit_and_the_others_many() -> None:
    assert SOURCE.kit_hues < 0.05
    assert WILD.kit_hues <= domain_named("scorer").kit_hues
    assert WILD.kit_hues > 4 * SOURCE.kit_hues


@pytest.mark.slow
def test_cameras_and_bodies_are_alike_in_all_domains() -> None:
    focal, betas = {}, {}
    for name in NAMES:
        pictures = [make_picture(domain_named(name), "test", index, 0) for index in range(64)]
        focal[name] = np.mean([p.intrinsics.fx / np.hypot(*p.image.shape[:2]) for p in pictures])
        betas[name] = np.concatenate([p.label.betas for p in pictures])
        assert np.abs(betas[name]).max() <= 2.5
        assert 0.8 < betas[name].std() < 1.1
    assert max(focal.values()) - min(focal.values()) < 0.1


def test_the_configuration_pitches_the_cameras_of_a_domain() -> None:
    config = SynthesizeConfig(wild_pitch=PitchConfig(mean=5, sigma=20, limit=45))
    assert configured_domain(config, "source") == SOURCE
    pitched = configured_domain(config, "wild")
    level, high = ([person(domain, "test", index, 0) for index in range(160)] for domain in (WILD, pitched))
    pitches = np.array([who.pitch for who in high])
    assert np.abs([who.pitch for who in level]).max() <= 20
    assert 40 < np.abs(pitches).max() <= 45
    assert 0 < pitches.mean() < 10
    assert 16 < pitches.std() < 23
    # all else of a person is as it was, and one whom the camera looks down on has the head nearer than the feet
    assert all((one.label.betas == other.label.betas).all() for one, other in zip(level, high, strict=True))
    assert all((one.label.body_pose == other.label.body_pose).all() for one, other in zip(level, high, strict=True))
    leaning = np.array([who.label.joints[[10, 11], 2].mean() - who.label.joints[15, 2] for who in high])
    assert np.corrcoef(pitches, leaning)[0, 1] > 0.8


def test_cameras_may_be_above_and_below() -> None:
    config = SynthesizeConfig(wild_pitch=PitchConfig(mean=25, sigma=4, two_sided=True, limit=45))
    domain = configured_domain(config, "wild")
    pitches = np.array([person(domain, "test", index, 0).pitch for index in range(160)])
    assert np.abs(np.abs(pitches) - 25).max() < 16
    assert 0.35 < (pitches > 0).mean() < 0.65


def test_a_pitch_that_is_not_said_counts_in_no_key() -> None:
    assert digest(SynthesizeConfig(wild_pitch=PitchConfig())) == digest(SynthesizeConfig())
    assert digest(SynthesizeConfig(wild_pitch=PitchConfig(sigma=20))) != digest(SynthesizeConfig())
    with pytest.raises(ValidationError, match="less than or equal to 45"):
        PitchConfig(limit=46)


def test_tables_can_be_read_as_a_users_own(tmp_path: Path) -> None:
    records = [write_pictures(SOURCE, "train", indices, 0, into(tmp_path)) for indices in ([3, 1], [2])]
    write_tables(pa.concat_tables(records), into(tmp_path))
    with (tmp_path / "boxes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == BOX_COLUMNS
    assert [row["path"] for row in rows] == ["00000001.jpg", "00000002.jpg", "00000003.jpg"]
    table = pq.read_table(tmp_path / "labels.parquet")
    assert table.schema.equals(LABEL_SCHEMA)
    assert table.column("path").to_pylist() == [row["path"] for row in rows]
    for row in rows:
        picture = make_picture(SOURCE, "train", int(row["path"][:8]), 0)
        with Image.open(tmp_path / "images" / row["path"]) as file_image:
            assert file_image.size == (picture.image.shape[1], picture.image.shape[0])
            assert np.abs(np.asarray(file_image, float) - picture.image).mean() < 6
        assert [float(row[key]) for key in "xywh"] == pytest.approx(picture.box.tolist(), abs=0.01)
        assert float(row["focal_px"]) == pytest.approx(picture.intrinsics.fx, abs=0.001)
        assert (float(row["cx"]), float(row["cy"])) == (picture.intrinsics.cx, picture.intrinsics.cy)


def test_tables_do_not_depend_on_the_order_of_shards(tmp_path: Path) -> None:
    records = write_pictures(SOURCE, "train", range(4), 0, into(tmp_path))
    written = []
    for order in (records, records.take([3, 2, 1, 0])):
        write_tables(order, into(tmp_path))
        written.append([(tmp_path / name).read_bytes() for name in ("boxes.csv", "labels.parquet")])
    assert written[0] == written[1]


def test_wild_pictures_for_training_have_no_labels(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write = into(tmp_path / split)
        write_tables(write_pictures(WILD, split, [0], 0, write), write)
    assert not (tmp_path / "train" / "labels.parquet").exists()
    assert (tmp_path / "test" / "labels.parquet").exists()


def test_overlapping_shards_are_refused(tmp_path: Path) -> None:
    records = write_pictures(SOURCE, "train", [0], 0, into(tmp_path))
    with pytest.raises(DataError, match="made twice"):
        write_tables(pa.concat_tables([records, records]), into(tmp_path))


def test_domains_travel_between_processes() -> None:
    assert pickle.loads(pickle.dumps(WILD)) == WILD  # noqa: S301 - our own bytes
    assert hash(pickle.loads(pickle.dumps(WILD))) == hash(WILD)  # noqa: S301 - our own bytes


def test_unknown_domain_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"'lab'.*source, scorer, wild"):
        domain_named("lab")


def test_files_are_ordinary_jpegs(tmp_path: Path) -> None:
    (path,) = write_pictures(WILD, "train", [5], 0, into(tmp_path)).column("path").to_pylist()
    content = (tmp_path / "images" / path).read_bytes()
    with Image.open(io.BytesIO(content)) as image:
        assert image.format == "JPEG"
        assert min(image.size) >= 96
        assert max(image.size) <= 128
