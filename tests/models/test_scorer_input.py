"""What the published scorer is shown: upright pictures, and joints in their frame."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.scorer_input import encoder_picture, upright_joints, upright_joints_of_camera, upright_picture


@pytest.mark.parametrize("side", [64, 256])
def test_a_crop_fills_the_width_between_black_bands(side: int) -> None:
    upright = upright_picture(torch.ones(1, 3, side, side))
    assert upright.shape == (1, 3, 512, 384)
    torch.testing.assert_close(upright[:, :, 64:448], torch.ones(1, 3, 384, 384))
    assert (upright[:, :, :64] == 0).all()
    assert (upright[:, :, 448:] == 0).all()
    assert encoder_picture(upright).shape == (1, 3, 256, 192)


def test_crops_come_in_from_minus_one_to_one() -> None:
    assert upright_picture(torch.full((1, 3, 64, 64), -1.0)).max() == 0


def test_crops_that_are_not_square_are_refused() -> None:
    with pytest.raises(ValueError, match="must be square, not 192x256"):
        upright_picture(torch.zeros(1, 3, 256, 192))


@given(st.floats(-1, 1), st.floats(-1, 1), st.floats(-1, 1))
def test_joints_keep_their_place_in_the_picture(u: float, v: float, d: float) -> None:
    found = upright_joints(torch.tensor([[u, v, d]]))[0]
    # The square's corners are at the picture's sides and 64 px from top and bottom; cut to whole pixels.
    assert found[0].item() == pytest.approx(u, abs=2.5 / 191.5)
    assert found[1].item() * 255.5 == pytest.approx(v * 191.5, abs=2.5)
    assert found[2].item() == pytest.approx(d)


def test_a_lit_pixel_and_its_joint_meet() -> None:
    crop = torch.full((1, 3, 256, 256), -1.0)
    crop[..., 200, 40] = 1.0
    joint = torch.tensor([[40 / 127.5 - 1, 200 / 127.5 - 1, 0.0]])
    bright = upright_picture(crop)[0, 0]
    row, column = divmod(int(bright.argmax()), 384)
    found = upright_joints(joint)[0]
    assert (found[0] + 1) * 191.5 == pytest.approx(column, abs=1.5)
    assert (found[1] + 1) * 255.5 == pytest.approx(row, abs=1.5)


def test_joints_of_a_camera() -> None:
    joints = torch.tensor([[[0.0, 0.0, 4.0], [0.4, -0.8, 5.0]]])
    found = upright_joints_of_camera(joints, torch.tensor([[1000.0, 1000.0, 192.0, 256.0]]))
    torch.testing.assert_close(found, torch.tensor([[[0.0, 0.0, 0.0], [80 / 192, -160 / 256, 1.0]]]))
