"""The published cache of many hypotheses: written, read, and broken in every way."""

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from PIL import Image

from schemas.errors import DataError
from tasks.ingest.formats.multihypo_npz.reader import HYPOTHESES, HypothesisCacheReader
from tasks.ingest.people.annotations import AnnotationSource
from tests.models.hostile import Hostile
from tests.samples.preferences import (
    noised,
    true_crop,
    true_joints,
    write_hypothesis_cache,
    write_list_cache,
)
from tests.samples.truth import TruePerson, true_people

M = 4


@pytest.fixture(scope="module")
def people() -> list[TruePerson]:
    return true_people(3)


@pytest.fixture(scope="module")
def written(people: list[TruePerson], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache") / "sample"
    write_hypothesis_cache(people, folder, hypotheses=M)
    return folder


@pytest.fixture
def source(written: Path, tmp_path: Path) -> AnnotationSource:
    shutil.copytree(written, tmp_path / "sample")
    return AnnotationSource("multihypo-npz", str(tmp_path / "sample" / "multihypo.npz"), "sample", "train")


def rows_of(source: AnnotationSource, work: Path) -> list[dict[str, Any]]:
    batches = list(HypothesisCacheReader(source, work).batches())
    assert all(batch.schema.equals(HYPOTHESES) for batch in batches)
    return [row for batch in batches for row in batch.to_pylist()]


def entries_of(source: AnnotationSource) -> list[Any]:
    with np.load(source.url, allow_pickle=True) as file:  # a file that the test itself has written
        return [file[str(number)].item() for number in range(int(file["data_len"]))]


def rewrite(source: AnnotationSource, entries: list[Any], strategy: str | None = "sample") -> None:
    write_list_cache(Path(source.url), entries, strategy)


def test_rows_agree_with_the_truth(people: list[TruePerson], source: AnnotationSource, tmp_path: Path) -> None:
    rows = rows_of(source, tmp_path / "work")
    assert [row["reason"] for row in rows] == [None] * len(people)
    folder = Path(source.url).parent
    for row, person in zip(rows, people, strict=True):
        assert (row["img_path"], row["img_idx"], row["count"]) == (f"{person.index:05d}.jpg", person.index, M)
        assert Image.open(folder / row["crop"]).size == (256, 256)
        assert (folder / "images" / row["img_path"]).read_bytes() == person.jpeg
        np.testing.assert_allclose(np.reshape(row["trans"], (2, 3)), true_crop(person), rtol=1e-5)
        joints, twists = noised(person, M)
        for name, wanted in (("uvd", joints), ("gt_uvd", true_joints(person)[None])):
            uvd = np.reshape(row[name], wanted.shape)
            assert np.abs((uvd[..., :2] / 2 + 0.5) * 256 - wanted[..., :2]).max() < 0.01
            assert np.abs(uvd[..., 2] * 1000 - wanted[..., 2]).max() < 0.1
        np.testing.assert_allclose(np.reshape(row["twist"], (M, 23, 2)), twists, atol=1e-4)
        np.testing.assert_allclose(np.reshape(row["gt_twist"], (23, 2)), person.label.twist, atol=1e-4)


def test_survey(source: AnnotationSource, tmp_path: Path) -> None:
    survey = HypothesisCacheReader(source, tmp_path / "work").survey()
    folder = str(Path(source.url).parent)
    assert (survey.format, survey.rows, survey.images) == ("multihypo-npz", 3, folder)
    assert survey.files == [source.url, f"{folder}/multihypo_id.npz"]
    assert (survey.facts["hypotheses"], survey.facts["strategy"], survey.facts["entries"]) == ("4", "sample", "3")
    assert survey.facts["labels"] == "in 3 of the first 3 entries"
    assert not survey.remarks


def test_caches_without_strategy_or_length_are_read_too(source: AnnotationSource, tmp_path: Path) -> None:
    entries = entries_of(source)
    rewrite(source, entries, strategy=None)
    assert len(rows_of(source, tmp_path / "work")) == 3
    boxed = {str(number): np.array(entry, object) for number, entry in enumerate(entries)}
    np.savez_compressed(source.url, **boxed, extra=np.zeros(2))
    reader = HypothesisCacheReader(source, tmp_path / "work")
    assert len(rows_of(source, tmp_path / "work")) == 3
    remarks = " ".join(reader.survey().remarks)
    assert "data_len is missing" in remarks
    assert "extra" in remarks


def test_a_missing_entry_is_a_row_and_many_are_a_message(source: AnnotationSource, tmp_path: Path) -> None:
    boxed = {str(number): np.array(entry, object) for number, entry in enumerate(entries_of(source)) if number != 1}
    np.savez_compressed(source.url, **boxed, data_len=3)
    assert [row["reason"] for row in rows_of(source, tmp_path / "work")] == [None, "entry missing", None]
    np.savez_compressed(source.url, **boxed, data_len=10**8)
    with pytest.raises(DataError, match="100000000 entries"):
        rows_of(source, tmp_path / "work")


def test_score_joints_that_differ_are_remarked(source: AnnotationSource, tmp_path: Path) -> None:
    entries = entries_of(source)
    entries[0]["score_joints"] = entries[0]["score_joints"] + 0.5
    rewrite(source, entries)
    remarks = HypothesisCacheReader(source, tmp_path / "work").survey().remarks
    assert [remark for remark in remarks if "score_joints differ" in remark]


def test_labels_may_be_left_out_and_invalid_twists_are_nan(source: AnnotationSource, tmp_path: Path) -> None:
    entries = entries_of(source)
    del entries[0]["gt_joints"], entries[0]["gt_twists"], entries[0]["trans_inv"], entries[0]["img_path"]
    entries[1]["gt_twists"][5] = 0
    rewrite(source, entries)
    rows = rows_of(source, tmp_path / "work")
    assert [row["reason"] for row in rows] == [None] * 3
    assert (rows[0]["gt_uvd"], rows[0]["gt_twist"], rows[0]["img_path"]) == (None, None, None)
    survey = HypothesisCacheReader(source, tmp_path / "work").survey()
    assert survey.facts["labels"] == "in 2 of the first 3 entries"
    assert np.isnan(np.reshape(rows[1]["gt_twist"], (23, 2))).any(1).nonzero()[0].tolist() == [5]


def _change(key: str, value: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda entry: {**entry, key: value}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_change("output_joints", np.full((M, 29, 3), np.nan)), "not finite"),
        (_change("output_joints", np.zeros((M, 24, 3))), "key-point count"),
        (_change("output_joints", np.zeros((0, 29, 3))), "key-point count"),
        (_change("output_joints", np.zeros((M + 1, 29, 3))), "row not readable"),
        (_change("output_joints", "joints"), "row not readable"),
        (_change("output_twists", np.zeros((M, 23, 2))), "twist of length zero"),
        (_change("output_twists", None), "keys missing"),
        (_change("trans", np.zeros((2, 3))), "crop maps disagree"),
        (_change("trans_inv", np.ones((2, 3))), "crop maps disagree"),
        (_change("gt_joints", np.zeros(4)), "row not readable"),
        (_change("img_idx", 99), "ids disagree"),
        (_change("img_idx", np.nan), "row not readable"),
        (lambda entry: [1, 2, 3], "row not readable"),
        (lambda entry: None, "row not readable"),
    ],
)
def test_a_bad_entry_costs_itself_alone(
    source: AnnotationSource, tmp_path: Path, change: Callable[[dict[str, Any]], Any], reason: str
) -> None:
    entries = entries_of(source)
    entries[1] = change(entries[1])
    rewrite(source, entries)
    rows = rows_of(source, tmp_path / "work")
    assert [row["reason"] for row in rows] == [None, reason, None]
    assert rows[1]["origin"] == "multihypo.npz: key 1"


def test_an_attack_is_refused_and_not_run(source: AnnotationSource, tmp_path: Path) -> None:
    target = tmp_path / "was here"
    entries = entries_of(source)
    rewrite(source, [entries[0], Hostile(target), entries[2]])
    rows = rows_of(source, tmp_path / "work")
    assert [row["reason"] for row in rows] == [None, "row not readable", None]
    assert "system" in rows[1]["detail"]
    rewrite(source, [Hostile(target)] * 3)
    with pytest.raises(DataError, match="None of the first 3 entries"):
        rows_of(source, tmp_path / "work")
    assert not target.exists()


def test_depths_in_metres_are_one_message(source: AnnotationSource, tmp_path: Path) -> None:
    entries = entries_of(source)
    for entry in entries:
        entry["output_joints"] = entry["output_joints"] * [1, 1, 1e-3]
    rewrite(source, entries)
    with pytest.raises(DataError, match="depths are not in mm"):
        rows_of(source, tmp_path / "work")


def test_a_cache_behind_a_url_is_read_with_its_ids(source: AnnotationSource, tmp_path: Path) -> None:
    fs = fsspec.filesystem("memory")
    fs.put(str(Path(source.url).parent) + "/", "/caches/", recursive=True)
    remote = AnnotationSource("multihypo-npz", "memory://caches/multihypo.npz", "sample", "train")
    survey = HypothesisCacheReader(remote, tmp_path / "remote").survey()
    assert (len(survey.files), survey.images) == (2, "memory://caches")
    assert rows_of(remote, tmp_path / "remote") == rows_of(source, tmp_path / "work")


def test_the_list_of_ids_is_not_the_cache(source: AnnotationSource, tmp_path: Path) -> None:
    url = source.url.replace(".npz", "_id.npz")
    with pytest.raises(DataError, match="Give the cache that it belongs to"):
        HypothesisCacheReader(AnnotationSource("multihypo-npz", url, "a", "train"), tmp_path / "work")


def test_an_annotation_file_is_not_a_cache(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", image_path=np.array(["a.jpg"]))
    with pytest.raises(DataError, match=r"it holds image_path, but no entries"):
        HypothesisCacheReader(AnnotationSource("multihypo-npz", str(tmp_path / "a.npz"), "a", "train"), tmp_path / "w")


def test_mutated_files_raise_nothing_but_data_errors(source: AnnotationSource, tmp_path: Path) -> None:
    good = Path(source.url).read_bytes()
    random = np.random.Generator(np.random.PCG64(0))
    ends: Counter[str] = Counter()
    for number in range(50):
        data = bytearray(good)
        if number % 5 == 0:
            del data[random.integers(len(data)) :]
        else:
            # most bytes are those of the arrays; the structure stands at the end
            ends_at = len(data) if number % 2 else 600
            for place in random.integers(ends_at, size=3):
                data[-1 - place] = random.integers(256)
        Path(source.url).write_bytes(bytes(data))
        try:
            rows = rows_of(source, tmp_path / f"work{number}")
        except DataError:
            ends["refused"] += 1
        else:
            assert [row["row"] for row in rows] == sorted({row["row"] for row in rows})
            assert len(rows) >= 1
            ends["read"] += 1
    assert min(ends["read"], ends["refused"]) > 3
