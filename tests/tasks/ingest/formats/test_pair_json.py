"""The published pair file: written, read, and broken in every way."""

import copy
import dataclasses
import json
from collections import Counter
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from schemas.errors import DataError
from tasks.ingest.formats.dpo_json.reader import PAIRS, PairJsonReader
from tasks.ingest.people.annotations import AnnotationSource
from tests.parity.rules import FIXTURES
from tests.samples.preferences import noised, true_crop, true_joints, write_pair_json
from tests.samples.truth import TruePerson, true_people

LOSERS = 2


@pytest.fixture(scope="module")
def people() -> list[TruePerson]:
    return true_people(3)


@pytest.fixture
def source(people: list[TruePerson], tmp_path: Path) -> AnnotationSource:
    return write_pair_json(people, tmp_path / "sample", losers=LOSERS)


def rows_of(source: AnnotationSource, work: Path) -> list[dict[str, Any]]:
    batches = list(PairJsonReader(source, work).batches())
    assert all(batch.schema.equals(PAIRS) for batch in batches)
    return [row for batch in batches for row in batch.to_pylist()]


def test_rows_agree_with_the_truth(people: list[TruePerson], source: AnnotationSource, tmp_path: Path) -> None:
    rows = rows_of(source, tmp_path / "work")
    assert [row["row"] for row in rows] == list(range(len(people) * LOSERS))
    assert all(row["reason"] is None for row in rows)
    for row in rows:
        person, nth = people[row["row"] // LOSERS], row["row"] % LOSERS
        assert (row["img_path"], row["img_idx"], row["nth"]) == (f"{person.index:05d}.jpg", person.index, nth)
        assert (Path(source.images or "") / row["img_path"]).read_bytes() == person.jpeg
        np.testing.assert_allclose(np.reshape(row["trans"], (2, 3)), true_crop(person))
        joints, twists = noised(person, LOSERS)
        for side, wanted, angle in (
            ("winner", true_joints(person), person.label.twist),
            ("loser", joints[nth], twists[nth]),
        ):
            uvd = np.reshape(row[f"{side}_uvd"], (29, 3))
            assert np.abs((uvd[:, :2] / 2 + 0.5) * 256 - wanted[:, :2]).max() < 0.01
            assert np.abs(uvd[:, 2] * 1000 - wanted[:, 2]).max() < 0.1
            np.testing.assert_allclose(np.reshape(row[f"{side}_twist"], (23, 2)), angle, atol=1e-4)


def test_the_sample_has_the_published_fields(source: AnnotationSource) -> None:
    published = json.loads((FIXTURES / "09_dpo_pair_json_example_shape.json").read_text())["fields"]
    entries = json.loads(Path(source.url).read_text())
    assert isinstance(entries, list)
    for entry in entries:
        seen = {key: [type(value).__name__, list(np.shape(value))] for key, value in entry.items()}
        assert seen == published


def test_survey(source: AnnotationSource, tmp_path: Path) -> None:
    survey = PairJsonReader(source, tmp_path / "work").survey()
    assert (survey.format, survey.rows, survey.images) == ("dpo-json", 6, source.images)
    assert survey.facts["winners"].endswith("probably the label")
    assert survey.facts["usable"] == "6 of the first 6"
    assert not survey.remarks


def test_twists_of_any_length_become_unit(source: AnnotationSource, tmp_path: Path) -> None:
    entries = json.loads(Path(source.url).read_text())
    longer = copy.deepcopy(entries)
    longer[0]["w_twist"] = (np.array(entries[0]["w_twist"]) * 1.7).tolist()
    Path(source.url).write_text(json.dumps(longer))
    row = rows_of(source, tmp_path / "work")[0]
    np.testing.assert_allclose(np.reshape(row["winner_twist"], (23, 2)), entries[0]["w_twist"], atol=1e-6)


@pytest.mark.parametrize(
    ("key", "value", "reason", "detail"),
    [
        ("w_joints", [[1.0, 2.0, float("nan")]] * 29, "not finite", "w_joints"),
        ("l_joints", [[1.0, 2.0, float("inf")]] * 29, "not finite", "l_joints"),
        ("l_joints", [[1.0, 2.0, 1e30]] * 29, "value out of range", "1e\\+30"),
        ("l_joints", [[1.0, 2.0, 10**40]] * 29, "value out of range", "1e\\+40"),
        ("l_joints", [[1.0, 2.0, 3.0]] * 24, "key-point count", "24x3, expected 29x3"),
        ("l_joints", [[1.0, 2.0]] * 29, "row not readable", "29x2"),
        ("l_joints", "many", "row not readable", "other things than numbers"),
        ("l_joints", [["1", "2", "3"]] * 29, "row not readable", "other things than numbers"),
        ("l_joints", {"a": 1}, "row not readable", "other things"),
        ("l_joints", [[1, 2, 3], [4]], "row not readable", "differ in length"),
        ("w_twist", [[0.0, 0.0]] * 23, "twist of length zero", "twist 0"),
        ("w_twist", [[True, False]] * 23, "row not readable", "other things"),
        ("trans_inv", [[1, 0, 0], [0, 1, 0]], "crop maps disagree", "px off"),
        ("trans", [[0, 0, 0], [0, 0, 0]], "crop maps disagree", "can't be inverted"),
        ("img_idx", "seven", "row not readable", "img_idx is seven"),
        ("img_idx", -1, "row not readable", "whole number from 0"),
        ("img_idx", 1.5, "row not readable", "whole number from 0"),
        ("img_path", 5, "row not readable", "a text is expected"),
        ("img_path", None, "keys missing", "img_path"),
        (None, [1, 2], "row not readable", "a pair is expected"),
    ],
)
def test_a_bad_pair_costs_itself_alone(
    source: AnnotationSource, tmp_path: Path, key: str | None, value: Any, reason: str, detail: str
) -> None:
    entries = json.loads(Path(source.url).read_text())
    if key is None:
        entries[1] = value
    else:
        entries[1][key] = value
    Path(source.url).write_text(json.dumps(entries))
    rows = rows_of(source, tmp_path / "work")
    assert [row["reason"] for row in rows] == [None, reason, None, None, None, None]
    assert rows[1]["origin"] == "pairs.json: pair 1"
    with pytest.raises(AssertionError, match=detail):
        raise AssertionError(rows[1]["detail"])


def test_pairs_behind_a_url(source: AnnotationSource, tmp_path: Path) -> None:
    fsspec.filesystem("memory").pipe("/pairs/pairs.json", Path(source.url).read_bytes())
    remote = dataclasses.replace(source, url="memory://pairs/pairs.json")
    assert rows_of(remote, tmp_path / "remote") == rows_of(source, tmp_path / "work")


def test_identical_hypotheses_are_no_pair(source: AnnotationSource, tmp_path: Path) -> None:
    entries = json.loads(Path(source.url).read_text())
    entries[0]["l_joints"], entries[0]["l_twist"] = entries[0]["w_joints"], entries[0]["w_twist"]
    Path(source.url).write_text(json.dumps(entries))
    assert rows_of(source, tmp_path / "work")[0]["reason"] == "hypotheses identical"


@pytest.mark.parametrize(
    ("factor", "words"), [([1, 1, 1e-3], "depths are not in mm"), ([1 / 128, 1 / 128, 1], "pixels")]
)
def test_a_file_in_other_units_is_one_message(
    source: AnnotationSource, tmp_path: Path, factor: list[float], words: str
) -> None:
    entries = json.loads(Path(source.url).read_text())
    for entry in entries:
        for key in ("w_joints", "l_joints"):
            entry[key] = (np.array(entry[key]) * factor).tolist()
    Path(source.url).write_text(json.dumps(entries))
    for read in (lambda reader: reader.survey(), lambda reader: list(reader.batches())):
        with pytest.raises(DataError, match=words) as caught:
            read(PairJsonReader(source, tmp_path / "work"))
        assert source.url in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is empty"),
        ("{}", "a file of pairs is a list"),
        ("[]", "empty list"),
        ("[{", "no readable JSON"),
        ("hello", "neither a list nor an object"),
        ("[" * 100_000, "in one another"),
    ],
)
def test_files_that_hold_no_pairs(tmp_path: Path, content: str, words: str) -> None:
    file = tmp_path / "pairs.json"
    file.write_text(content)
    with pytest.raises(DataError, match=words):
        PairJsonReader(AnnotationSource("dpo-json", str(file), "a", "train"), tmp_path / "work").survey()


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not there"):
        PairJsonReader(AnnotationSource("dpo-json", str(tmp_path / "no.json"), "a", "train"), tmp_path / "work")


def test_mutated_files_raise_nothing_but_data_errors(source: AnnotationSource, tmp_path: Path) -> None:
    good = Path(source.url).read_bytes()
    random = np.random.Generator(np.random.PCG64(0))
    ends: Counter[str] = Counter()
    for _ in range(60):
        data = bytearray(good)
        kind = random.integers(4)
        if kind == 0:
            del data[random.integers(len(data)) :]
        elif kind == 3:  # another number, so that most of these files can be read
            digits = [place for place, byte in enumerate(data) if chr(byte).isdigit()]
            data[random.choice(digits)] = random.choice(list(b"123456789"))
        elif kind == 1:
            for place in random.integers(len(data), size=3):
                data[place] = random.integers(256)
        else:
            place = int(random.integers(len(data)))
            data[place : place + 40] = random.choice([b"null", b"NaN", b"1e999", b'"x"', b"[[[[", b"{}", b"-0"])
        Path(source.url).write_bytes(bytes(data))
        try:
            rows = rows_of(source, tmp_path / "work")
        except DataError:
            ends["refused"] += 1
        else:
            assert [row["row"] for row in rows] == list(range(len(rows)))
            assert all((row["reason"] is None) == (row["detail"] is None) for row in rows)
            ends["read"] += 1
    assert min(ends["read"], ends["refused"]) > 3
