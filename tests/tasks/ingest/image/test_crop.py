"""Crops: a dot lands where the crop's affine map says, whatever the size of the picture and of the box."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from models.cameras import apply_affine, crop_affine, square_box
from tasks.ingest.image.crop import cut_crop, encode_crop


def dot(width: int, height: int, x: float, y: float, radius: float) -> Image.Image:
    """A white disc around (x, y); positions are continuous: pixel i covers [i, i + 1)."""
    rows, columns = np.mgrid[:height, :width] + 0.5
    inside = np.hypot(columns - x, rows - y) <= radius
    return Image.fromarray(np.repeat(inside[..., None] * np.uint8(255), 3, axis=2))


@pytest.mark.parametrize(
    ("size", "box", "at"),
    [
        ((120, 100), (20.0, 10.0, 60.0, 80.0), (50, 60)),
        ((120, 100), (-30.0, 10.0, 60.0, 80.0), (11, 37)),  # partly outside
        ((120, 100), (90.5, 70.25, 60.0, 20.0), (105, 90)),
        ((2400, 1800), (300.0, 200.0, 1500.0, 900.0), (1111, 900)),  # averaged down first
        ((2400, 1800), (-900.0, 200.0, 2500.0, 900.0), (1503, 300)),
        ((1201, 903), (-700.0, -500.0, 3000.0, 3000.0), (503, 611)),
    ],
)
def test_a_dot_lands_where_the_affine_map_says(
    size: tuple[int, int], box: tuple[float, ...], at: tuple[float, float]
) -> None:
    square = square_box(torch.tensor(box, dtype=torch.float64), 1.25)
    crop = cut_crop(dot(*size, *at, radius=max(size) / 60), (float(square[0]), float(square[1]), float(square[2])), 64)
    assert crop.shape == (64, 64, 3)
    weight = crop[..., 0].astype(float)
    seen = np.array([(weight.sum(0) * (np.arange(64) + 0.5)).sum(), (weight.sum(1) * (np.arange(64) + 0.5)).sum()])
    told = apply_affine(crop_affine(square, 64), torch.tensor([at], dtype=torch.float64))[0].numpy()
    assert seen / weight.sum() == pytest.approx(told, abs=0.12)


def test_a_square_beside_the_picture_is_black_and_a_vast_one_costs_nothing() -> None:
    white = Image.new("RGB", (50, 50), "white")
    assert cut_crop(white, (200.0, 0.0, 60.0), 64).max() == 0
    assert cut_crop(white, (1e5, 0.0, 1e4), 64).max() == 0
    vast = cut_crop(white, (-5e6, -5e6, 1e7), 64)
    assert vast.shape == (64, 64, 3)


def test_small_crops_are_stored_without_loss_large_ones_as_jpeg() -> None:
    random = np.random.default_rng(0)
    small, large = (random.integers(0, 255, (side, side, 3), dtype=np.uint8) for side in (64, 256))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(encode_crop(small, 95)))), small)
    with Image.open(io.BytesIO(encode_crop(large, 95))) as image:
        assert image.format == "JPEG"
    assert len(encode_crop(large, 30)) < len(encode_crop(large, 95))
