"""Crops, targets and their ways back against the published transforms; millimetres and pixels as stored there."""

import numpy as np
import pytest
import roma
import torch
from torch import Tensor

from models import cameras, published_crops
from models.hrnet_condition import MEAN, SPREAD
from models.kinematics import twist_from_rotations
from tasks.ingest.image.published_crop import cut_published_crop
from tests.parity import published
from tests.parity.body import body
from tests.parity.people import COUNT, INTRINSICS, TARGETS, label, people, target
from tests.parity.rules import QUATERNIONS, assert_golden, golden, normal, rng

PIXELS = 2e-4
MM = 2e-3
SCALES = {"m125": 1.25, "m1": 1.0}


def _camera() -> Tensor:
    """The people's joints (6, 29, 3) in mm before the camera, float64."""
    return people().joints.double() * 1000 + torch.from_numpy(golden(TARGETS)["label.trans_mm"])[:, None]


def _pixels() -> Tensor:
    """Their places (6, 29, 2) in the picture, float64."""
    return cameras.project(_camera(), INTRINSICS.double())


def _affine(scale: float = 1.25) -> Tensor:
    square = published_crops.published_square(published_crops.joint_box(_pixels()), scale)
    return cameras.crop_affine(square, published_crops.CROP_PX)


def _stored(crop: str) -> list[int]:
    """Whose targets are stored."""
    return [person for person in range(COUNT) if f"{crop}.{person}.trans" in golden(TARGETS)]


def test_labels_are_the_projected_joints() -> None:
    torch.testing.assert_close(label("joint_cam_29"), _camera(), atol=MM, rtol=0)
    depth = _camera()[..., 2:] - _camera()[:, :1, 2:]
    torch.testing.assert_close(label("joint_img_29"), torch.cat([_pixels(), depth], -1), atol=MM, rtol=0)
    np.testing.assert_array_equal(golden(TARGETS)["label.f"], INTRINSICS[:2])
    np.testing.assert_array_equal(golden(TARGETS)["label.c"], INTRINSICS[2:])


@pytest.mark.parametrize("crop", SCALES)
def test_crops_are_cut_around_the_joints(crop: str) -> None:
    square = published_crops.published_square(published_crops.joint_box(_pixels()), SCALES[crop])
    affine = cameras.crop_affine(square, published_crops.CROP_PX)
    assert _stored(crop)
    for person in _stored(crop):
        corners = torch.cat([square[person, :2], square[person, :2] + square[person, 2:]])
        assert_golden(corners, TARGETS, f"{crop}.{person}.bbox", atol=PIXELS)
        assert_golden(square[person, 2:], TARGETS, f"{crop}.{person}.scale", atol=PIXELS)
        assert_golden(affine[person], TARGETS, f"{crop}.{person}.trans", atol=PIXELS)
        assert_golden(
            published_crops.invert_turned_affine(affine)[person], TARGETS, f"{crop}.{person}.trans_inv", atol=PIXELS
        )


@pytest.mark.parametrize("crop", SCALES)
def test_joints_become_the_published_targets(crop: str) -> None:
    camera, affine, who = _camera() / 1000, _affine(SCALES[crop]), people()
    crop_camera = cameras.affine_intrinsics(INTRINSICS.double().expand(COUNT, 4), affine)
    uvd, root_depth = cameras.uvd_from_camera(camera, crop_camera, published_crops.CROP_PX)
    joints = published_crops.crop_joints(uvd)
    theta = published.quaternions_from_rotations(who.rotations)
    twist = twist_from_rotations(who.rotations, body().rest_joints(who.betas))
    for person in _stored(crop):
        name = f"{crop}.{person}."
        assert_golden(joints[person], TARGETS, name + "joints_uvd_29", atol=MM)
        assert_golden(joints[person, :, :2], TARGETS, name + "joints_2d", atol=PIXELS)
        assert_golden((camera[person, :24] - camera[person, :1]) * 1000, TARGETS, name + "joints_xyz_24", atol=MM)
        assert_golden(camera[person, 0] * 1000, TARGETS, name + "joint_root", atol=MM)
        assert root_depth[person] == camera[person, 0, 2]
        assert_golden(twist[person], TARGETS, name + "target_twist", atol=2e-4)
        assert_golden(who.betas[person], TARGETS, name + "target_beta", atol=0)
        expected = torch.from_numpy(golden(TARGETS)[name + "target_theta"]).view(24, 4)
        signs = (theta[person] * expected).sum(-1, keepdim=True).sign()
        torch.testing.assert_close(theta[person] * signs, expected, atol=QUATERNIONS, rtol=0)
        for seen in ("joints_vis_29", "joints_vis_24", "joints_vis_17", "target_theta_weight", "target_twist_weight"):
            assert (golden(TARGETS)[name + seen] == 1).all()


@pytest.mark.parametrize("crop", SCALES)
def test_photographs_are_cut_and_normalised_as_published(crop: str) -> None:
    photo = (rng("in:photo").random((480, 640, 3)) * 255).astype(np.uint8)
    mean, spread = np.array(MEAN)[:, None, None], np.array(SPREAD)[:, None, None]
    for person in _stored(crop):
        levels = cut_published_crop(photo, _affine(SCALES[crop])[person].numpy()).transpose(2, 0, 1)
        name = f"{crop}.{person}.image"
        sample = golden(TARGETS)[f"{name}.sample"]
        place = (np.arange(len(sample)) * levels.size) // len(sample)
        channel = place // (256 * 256)
        published = (sample * spread.ravel()[channel] + mean.ravel()[channel]) * 255
        off = np.abs(levels.reshape(-1)[place] - published)
        # Where the interpolation ends half-way between two levels, the last bit of the sum decides.
        assert off.max() < 1.01
        assert (off > 0.01).mean() < 0.01
        image = (levels / 255 - mean) / spread
        statistics = golden(TARGETS)[f"{name}.stats"]
        assert abs(image.mean() - statistics[0]) < 1e-4
        assert abs(image.std() - statistics[1]) < 1e-4


def test_stored_pairs_move_into_the_training_crop() -> None:
    stored = golden(TARGETS)
    winner, loser = (torch.from_numpy(stored[f"dpo_in.{who}_joints"]) for who in "wl")
    torch.testing.assert_close(loser, winner + normal("dpo.lnoise", (29, 3), 8))
    for name, joints in (("w", winner), ("l", loser)):
        moved = published_crops.joints_between_crops(joints.double(), _affine(1.25)[0], _affine(1.0)[0])
        assert_golden(moved, TARGETS, f"dpo_m1.0.{name}_joints_uvd_29", atol=MM)
    assert_golden(_affine(1.0)[0], TARGETS, "dpo_m1.0.trans", atol=PIXELS)


def test_normalised_joints_and_the_ways_back() -> None:
    stored, scale = target("joints_uvd_29"), published.INPUT_SCALE
    uvd = published_crops.normalised_joints(stored)
    assert_golden((scale * uvd).flatten(1), TARGETS, "norm.x", atol=1e-4)
    assert_golden(uvd.flatten(1), TARGETS, "norm.score_input", atol=1e-6)
    assert_golden(uvd[..., :2].flatten(1), TARGETS, "norm.joint_2d", atol=1e-6)
    assert_golden(published_crops.crop_joints(uvd), TARGETS, "norm.denorm", atol=2e-4)
    assert_golden((scale * people().twists).flatten(1), TARGETS, "norm.twist_in", atol=1e-5)
    assert golden(TARGETS)["norm.roundtrip_maxabs"] < 2e-4
    back = published_crops.invert_turned_affine(_affine())
    in_picture = published_crops.joints_through(stored.double(), back)
    assert_golden(in_picture, TARGETS, "norm.trans_back", atol=PIXELS * 2)
    assert_golden(in_picture[..., :2], TARGETS, "uvd_to_cam.uv", atol=PIXELS * 2)
    crop_camera = cameras.affine_intrinsics(INTRINSICS.double().expand(COUNT, 4), _affine())
    root_depth = _camera()[:, 0, 2] / 1000
    camera = cameras.camera_from_uvd(uvd.double(), crop_camera, published_crops.CROP_PX, root_depth)
    assert_golden((camera - camera[:, :1]) * 1000, TARGETS, "uvd_to_cam.xyz_mm_rel", atol=MM)


def test_flips_are_the_published_ones() -> None:
    first = label("joint_img_29")[0]
    assert_golden(published.flip_pixels(first, 640), TARGETS, "flip.joints_29", atol=PIXELS)
    relative = target("joints_xyz_17")[0]
    assert_golden(published.flip_human36m(relative), TARGETS, "flip.xyz17", atol=MM)
    assert_golden(cameras.mirror_twist(people().twists)[0], TARGETS, "flip.twist", atol=1e-6)
    # Mirrored axis-angles say the same as mirrored rotations.
    stored = roma.rotvec_to_rotmat(torch.from_numpy(golden(TARGETS)["flip.theta"]))
    torch.testing.assert_close(published.mirror_rotations(people().rotations)[0], stored, atol=1e-5, rtol=0)


def test_single_examples_of_boxes_and_maps() -> None:
    centre, side, degrees = torch.tensor([100.0, 120.0]), torch.tensor(200.0), torch.tensor(30.0)
    turned = published.turned_crop_affine(centre, side, degrees)
    back = published_crops.invert_turned_affine(turned)
    assert_golden(turned, TARGETS, "affine.rot30", atol=PIXELS)
    assert_golden(back, TARGETS, "affine.rot30_inv", atol=PIXELS)
    point = cameras.apply_affine(back, torch.tensor([[33.0, 44.0]]))[0]
    assert_golden(point, TARGETS, "affine.inverse_point", atol=PIXELS)
    box = published_crops.joint_box(_pixels())[0]
    assert_golden(box, TARGETS, "bbox.get_bbox", atol=PIXELS)
    assert_golden(published_crops.published_square(box, 1.0), TARGETS, "bbox.process", atol=PIXELS)
    corners = published.corners_of_box(torch.tensor([10.0, 20.0, 100.0, 50.0]))
    assert_golden(corners, TARGETS, "bbox.xywh_to_xyxy", atol=0)
    outside = torch.tensor([-5.0, 3.0, 700.0, 500.0])
    assert_golden(published.clip_corners(outside, 640, 480), TARGETS, "bbox.clip", atol=0)
    fx, fy, cx, cy = INTRINSICS.tolist()
    matrix = torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    assert_golden(matrix.inverse(), TARGETS, "metrix.inv", atol=1e-6)
    assert_golden(matrix.inverse(), TARGETS, "m125.0.intrinsic_param", atol=1e-6)
