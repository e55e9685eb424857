"""Pairs out and in again: the same numbers."""

import json
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pytest

from models.published_crops import CROP_PX
from schemas.errors import DataError
from tasks.export.dpo_json import PAIR_COLUMNS, export_dpo_json
from tasks.ingest.formats.dpo_json.reader import KEYS, PairJsonReader
from tasks.ingest.people.annotations import AnnotationSource
from tests.samples.truth import TruePerson, true_people
from tests.tasks.export import tables


@pytest.fixture(scope="module")
def people() -> list[TruePerson]:
    return true_people(3)


def test_export_and_read_again(people: list[TruePerson], tmp_path: Path) -> None:
    pairs, instances = tables.pairs(people), tables.instances(people)
    file = tmp_path / "new" / "pairs.json"
    # an iterator of batches, as a large table comes
    assert export_dpo_json(iter(pairs.to_batches(max_chunksize=4)), instances, str(file)) == len(pairs) == 6
    assert [entry.name for entry in file.parent.iterdir()] == ["pairs.json"]
    reader = PairJsonReader(AnnotationSource("dpo-json", str(file), "mine", "train"), tmp_path / "work")
    read = pa.Table.from_batches(list(reader.batches()))
    assert read.column("reason").null_count == 6
    assert read.column("img_path").to_pylist() == [f"sub/{person.index:03d}.jpg" for person in people for _ in range(2)]
    assert read.column("img_idx").to_pylist() == [0, 0, 1, 1, 2, 2]
    assert read.column("nth").to_pylist() == [0, 1] * 3
    for side in ("winner", "loser"):
        assert read.column(f"{side}_uvd").to_pylist() == pairs.column(f"{side}_uvd").to_pylist()
        np.testing.assert_allclose(
            read.column(f"{side}_twist").to_pylist(), pairs.column(f"{side}_twist").to_pylist(), atol=1e-6
        )
    scaled = np.array(instances.column("crop_affine").to_pylist()) * CROP_PX / tables.SIZE
    np.testing.assert_allclose(read.column("trans").to_pylist(), np.repeat(scaled, 2, 0), rtol=1e-6)


def test_joints_lie_where_they_are_in_the_picture(people: list[TruePerson], tmp_path: Path) -> None:
    export_dpo_json(tables.pairs(people), tables.instances(people), str(tmp_path / "p.json"))
    entry = json.loads((tmp_path / "p.json").read_text())[0]
    assert tuple(sorted(entry)) == tuple(sorted(KEYS))
    back = np.array(entry["trans_inv"])
    pixels = np.array(entry["w_joints"])[:, :2] @ back[:, :2].T + back[:, 2]
    np.testing.assert_allclose(pixels, people[0].pixels, atol=0.01)
    depth = people[0].label.joints[:, 2] - people[0].label.joints[0, 2]
    np.testing.assert_allclose(np.array(entry["w_joints"])[:, 2], depth * 1000, atol=0.1)


def test_paths_and_rows_of_the_published_annotations(people: list[TruePerson], tmp_path: Path) -> None:
    index = {tables.name_of(person): 100 + person.index for person in people}
    export_dpo_json(
        tables.pairs(people), tables.instances(people), str(tmp_path / "p.json"), lambda image: f"imgs/{image}", index
    )
    entry = json.loads((tmp_path / "p.json").read_text())[-1]
    assert (entry["img_path"], entry["img_idx"]) == ("imgs/mine/train/sub/002.jpg", 102)


def test_to_a_url(people: list[TruePerson]) -> None:
    export_dpo_json(tables.pairs(people), tables.instances(people), "memory://exported/pairs.json")
    with fsspec.open("memory://exported/pairs.json") as file:
        assert len(json.load(file)) == 6


def test_what_is_missing_is_said_and_nothing_is_left(people: list[TruePerson], tmp_path: Path) -> None:
    target = str(tmp_path / "p.json")
    pairs, instances = tables.pairs(people), tables.instances(people)
    with pytest.raises(DataError, match=r"have no row for mine/train/sub/002\.jpg#0"):
        export_dpo_json(pairs, instances.slice(0, 2), target)
    with pytest.raises(DataError, match="no pair to export"):
        export_dpo_json(pairs.slice(0, 0), instances, target)
    with pytest.raises(DataError, match="lack the columns loser_twist"):
        export_dpo_json(pairs.select(PAIR_COLUMNS[:-1]), instances, target)
    with pytest.raises(DataError, match="two rows for one instance_id"):
        export_dpo_json(pairs, pa.concat_tables([instances, instances]), target)
    with pytest.raises(DataError, match="has no img_idx"):
        export_dpo_json(pairs, instances, target, index_of={})
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="could not be written"):
        export_dpo_json(pairs, instances, str(tmp_path / "file" / "p.json"))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_old_file_stays_until_the_new_one_is_whole(people: list[TruePerson], tmp_path: Path) -> None:
    target = tmp_path / "p.json"
    target.write_text("old")
    with pytest.raises(DataError):
        export_dpo_json(tables.pairs(people), tables.instances(people).slice(0, 2), str(target))
    assert target.read_text() == "old"
    export_dpo_json(tables.pairs(people), tables.instances(people), str(target))
    assert len(json.loads(target.read_text())) == 6
