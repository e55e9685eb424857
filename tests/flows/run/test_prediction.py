"""What is asked of `predict` is looked over before anything slow begins."""

from pathlib import Path

import pytest

from flows.run.prediction import prediction
from schemas.errors import ConfigError, DataError
from tests.tasks.ingest.pictures import folder, jpeg, noise


@pytest.fixture
def images(tmp_path: Path) -> str:
    return str(folder(tmp_path, {"a.jpg": jpeg(noise())}))


def test_a_scorer_selects_and_without_one_it_is_zero_noise(images: str, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    assert prediction(images, out).take == "zero"
    assert prediction(images, out, scorer="abc").take == "selected"
    assert prediction(images, out, scorer="abc", take="all").take == "all"
    with pytest.raises(ConfigError, match="who selects"):
        prediction(images, out, take="selected")
    with pytest.raises(ConfigError, match="no choice of bodies 'best'; there are zero, selected, all"):
        prediction(images, out, take="best")


def test_the_split_is_called_like_the_folder_wherever_that_is(tmp_path: Path) -> None:
    splits = []
    for place, name in (("one", "My photos!"), ("two", "My photos!"), ("three", "...")):
        images = tmp_path / place / name if name != "..." else tmp_path / place / "...x"
        images.mkdir(parents=True)
        (images / "a.jpg").write_bytes(jpeg(noise()))
        splits.append(str(prediction(str(images), str(tmp_path / "out")).source))
    assert splits == ["predict/My-photos-", "predict/My-photos-", "predict/x"]


def test_what_is_not_there_or_in_the_way_is_one_line(images: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    assert prediction(images, str(out)).out == str(out)
    (out / "file").write_text("")
    with pytest.raises(DataError, match="There is something at"):
        prediction(images, str(out))
    with pytest.raises(ConfigError, match="is among the pictures"):
        prediction(images, f"{images}/out")
    with pytest.raises(DataError, match="no table of boxes at"):
        prediction(images, str(tmp_path / "new"), boxes=str(tmp_path / "none.json"))
    with pytest.raises(ConfigError, match="has no option 'score'"):
        prediction(images, str(tmp_path / "new"), options={"score": "1"})
    (tmp_path / "boxes.json").write_text('[{"image_id": 1, "category_id": 4, "bbox": [1, 1, 9, 9]}]')
    with pytest.raises(DataError, match=r"no box of class 1, but of 4"):
        prediction(images, str(tmp_path / "new"), boxes=str(tmp_path / "boxes.json"))
