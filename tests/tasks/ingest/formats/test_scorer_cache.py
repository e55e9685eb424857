"""HMR-Scorer's test caches, whose keys nobody could look at: what is made of likely ones, and what is said of it."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from schemas.errors import DataError
from tasks.ingest.formats.scorer_eval.reader import SCORED, ScorerCacheReader
from tasks.ingest.people.annotations import AnnotationSource
from tests.samples.preferences import noised, scorer_errors, write_list_cache, write_scorer_cache
from tests.samples.truth import TruePerson, true_people

M = 4


@pytest.fixture(scope="module")
def people() -> list[TruePerson]:
    return true_people(2)


def rows_of(source: AnnotationSource, work: Path) -> list[dict[str, Any]]:
    batches = list(ScorerCacheReader(source, work).batches())
    assert all(batch.schema.equals(SCORED) for batch in batches)
    return [row for batch in batches for row in batch.to_pylist()]


def cache(folder: Path, entries: list[Any]) -> AnnotationSource:
    write_list_cache(folder / "eval.npz", entries)
    return AnnotationSource("scorer-eval", str(folder / "eval.npz"), "sample", "test")


def test_rows_agree_with_the_truth(people: list[TruePerson], tmp_path: Path) -> None:
    source = write_scorer_cache(people, tmp_path / "sample", hypotheses=M)
    rows = rows_of(source, tmp_path / "work")
    assert [row["reason"] for row in rows] == [None, None]
    for row, person in zip(rows, people, strict=True):
        joints, _ = noised(person, M)
        assert (row["count"], row["joints"], row["width_px"], row["height_px"]) == (M, 29, 384, 512)
        picture = np.asarray(Image.open(io.BytesIO(row["picture"])))
        assert picture.shape == (512, 384, 3)
        assert picture[:64].max() == 0
        assert picture.std() > 10
        uvd = np.reshape(row["uvd"], (M, 29, 3))
        np.testing.assert_allclose((uvd[..., 0] / 2 + 0.5) * 256, joints[..., 0], atol=0.01)
        np.testing.assert_allclose((uvd[..., 1] / 1.5 + 0.5) * 256, joints[..., 1], atol=0.01)
        np.testing.assert_allclose(uvd[..., 2] * 1000, joints[..., 2], atol=0.1)
        np.testing.assert_allclose(row["errors"], scorer_errors(person, joints), rtol=1e-5)


def test_survey_says_what_became_of_each_key(people: list[TruePerson], tmp_path: Path) -> None:
    source = write_scorer_cache(people, tmp_path / "sample", hypotheses=M)
    survey = ScorerCacheReader(source, tmp_path / "work").survey()
    assert survey.rows == 2
    assert {key: said for key, said in survey.facts.items() if key.startswith("key ")} == {
        "key img_path": "path (str)",
        "key img": "picture (3x512x384)",
        "key joints": "joints (4x29x3)",
        "key mpjpe": "errors (4)",
    }
    assert (survey.facts["joints"], survey.facts["depth"]) == ("normalised", "m")
    assert "could not be looked at" in survey.remarks[0]


def test_other_names_shapes_and_units(tmp_path: Path) -> None:
    random = np.random.Generator(np.random.PCG64(0))
    pixels = random.uniform([0, 0, -300], [192, 256, 300], (5, 29, 3))
    entry = {
        "input": (random.random((256, 192, 3)) * 255).astype(np.uint8),
        "hypo": pixels.reshape(1, 5, 29, 3).astype(np.float32),
        "gt_joints": pixels[:2],
        "pve_list": random.uniform(0.02, 0.2, 5),
        "score": random.random((5, 1)),
        "something": {"else": 1},
    }
    source = cache(tmp_path, [entry, entry])
    row = rows_of(source, tmp_path / "work")[1]
    assert row["reason"] is None
    uvd = np.reshape(row["uvd"], (5, 29, 3))
    np.testing.assert_allclose(uvd[..., :2], 2 * (pixels[..., :2] / [192, 256] - 0.5), atol=1e-5)
    np.testing.assert_allclose(uvd[..., 2], pixels[..., 2] / 1000, atol=1e-5)
    np.testing.assert_allclose(row["errors"], entry["pve_list"] * 1000, rtol=1e-5)
    np.testing.assert_allclose(row["scores"], entry["score"][:, 0], rtol=1e-5)
    facts = ScorerCacheReader(source, tmp_path / "work").survey().facts
    assert facts["key something"] == "not used (dict)"
    assert facts["key gt_joints"] == "not used (2x29x3)"
    assert facts["key input"] == "picture (256x192x3)"


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("joints", np.full((M, 29, 3), np.nan), "not finite"),
        ("joints", np.zeros(7), "row not readable"),
        ("joints", None, "keys missing"),
        ("mpjpe", np.zeros(3), "row not readable"),
        ("mpjpe", np.zeros(0), "row not readable"),
        ("mpjpe", "low", "row not readable"),
        ("img", np.full((3, 64, 64), -2.0), "picture damaged"),
        ("img", np.zeros((5, 5)), "picture damaged"),
        ("img_path", 5, "row not readable"),
    ],
)
def test_a_bad_entry_costs_itself_alone(tmp_path: Path, key: str, value: Any, reason: str) -> None:
    good = {
        "img_path": "a.jpg",
        "img": np.zeros((3, 64, 64)),
        "joints": np.random.default_rng(0).random((M, 29, 3)),
        "mpjpe": np.full(M, 50.0),
    }
    rows = rows_of(cache(tmp_path, [good, {**good, key: value}, good, [1, 2]]), tmp_path / "work")
    assert [row["reason"] for row in rows] == [None, reason, None, "keys missing"]


def test_a_cache_without_hypotheses_says_which_keys_it_has(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no key of the first entries holds hypotheses .* The keys are: colour, size"):
        ScorerCacheReader(cache(tmp_path, [{"colour": "red", "size": 5}]), tmp_path / "work")
