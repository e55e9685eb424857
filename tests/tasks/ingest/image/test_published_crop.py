import numpy as np

from tasks.ingest.image.published_crop import cut_published_crop


def _picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)


def test_whole_pixels_are_copied_and_outside_is_black() -> None:
    picture = _picture()
    crop = cut_published_crop(picture, np.array([[1.0, 0, -25], [0, 1.0, -3]]), 8)
    np.testing.assert_array_equal(crop[:, :5], picture[3:11, 25:30])
    assert not crop[:, 5:].any()
    far = cut_published_crop(picture, np.array([[1.0, 0, 100], [0, 1.0, 100]]), 8)
    assert not far.any()


def test_between_pixels_is_their_mean_and_a_smaller_crop_skips_pixels() -> None:
    picture = _picture()
    between = cut_published_crop(picture, np.array([[1.0, 0, -2.5], [0, 1.0, -3]]), 4)
    expected = (picture[3:7, 2:6].astype(float) + picture[3:7, 3:7]) / 2
    assert np.abs(between - expected).max() <= 0.5
    skipped = cut_published_crop(picture, np.array([[0.5, 0, 0], [0, 0.5, 0]]), 8)
    np.testing.assert_array_equal(skipped, picture[:16:2, :16:2])
