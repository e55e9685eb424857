"""The vision preference data set: columns as `datasets` and TRL name them, numbers as our tables hold them."""

import io
import json
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from models.skeleton import JOINT_NAMES
from schemas.errors import DataError
from tasks.export.trl import export_trl, trl_schema
from tests.samples.truth import TruePerson, true_people
from tests.tasks.export import tables


@pytest.fixture(scope="module")
def people() -> list[TruePerson]:
    return true_people(3)


def read(folder: Path) -> list[dict[str, Any]]:
    files = sorted((folder / "data").glob("*.parquet"))
    rows: list[dict[str, Any]] = pa.concat_tables([pq.read_table(file) for file in files]).to_pylist()
    return rows


def test_rows_are_conversations_about_the_crop(people: list[TruePerson], tmp_path: Path) -> None:
    pairs = tables.pairs(people)
    assert export_trl(pairs, tables.instances(people), str(tmp_path / "out")) == 6
    rows = read(tmp_path / "out")
    for row, person, pair in zip(rows, np.repeat(np.array(people, object), 2), pairs.to_pylist(), strict=True):
        (question,) = row["prompt"]
        assert question["role"] == "user"
        assert [part["type"] for part in question["content"]] == ["image", "text"]
        (picture,) = row["images"]
        assert np.asarray(Image.open(io.BytesIO(picture["bytes"]))).max() == person.index
        for side, stored in (("chosen", "winner"), ("rejected", "loser")):
            for name in ("uvd", "twist", "betas"):
                assert row[f"{side}_{name}"] == pair[f"{stored}_{name}"]
            (answer,) = row[side]
            (part,) = answer["content"]
            assert (answer["role"], part["type"]) == ("assistant", "text")
            said = json.loads(part["text"])
            assert list(said["joints"]) == list(JOINT_NAMES)
            uvd = np.reshape(pair[f"{stored}_uvd"], (29, 3))
            np.testing.assert_allclose(list(said["joints"].values()), uvd, atol=6e-4)
            twist = np.reshape(pair[f"{stored}_twist"], (23, 2))
            np.testing.assert_allclose(np.cos(np.radians(said["twist_degrees"])), twist[:, 0], atol=0.01)
        assert (row["instance_id"], row["winner"], row["loser"]) == (pair["instance_id"], -1, pair["loser"])
        assert (row["winner_score"], row["loser_score"]) == (None, pair["loser_score"])


def test_files_carry_the_features_that_datasets_reads(people: list[TruePerson], tmp_path: Path) -> None:
    export_trl(tables.pairs(people), tables.instances(people), str(tmp_path / "out"), "validation", rows_per_file=4)
    files = sorted((tmp_path / "out" / "data").iterdir())
    assert [file.name for file in files] == ["validation-00000.parquet", "validation-00001.parquet"]
    schema = pq.read_schema(files[1])
    assert schema.equals(trl_schema())
    assert schema.metadata[b"huggingface"] == trl_schema().metadata[b"huggingface"]
    features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert list(features) == schema.names
    assert features["images"] == {"feature": {"_type": "Image"}, "_type": "Sequence"}
    assert schema.names[:4] == ["prompt", "images", "chosen", "rejected"]
    card = (tmp_path / "out" / "README.md").read_text()
    assert "  - split: validation\n    path: data/validation-*.parquet\n" in card


def test_datasets_reads_it(people: list[TruePerson], tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="no dependency of this project")
    export_trl(tables.pairs(people), tables.instances(people), str(tmp_path / "out"))
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))["train"]
    assert len(loaded) == 6
    assert loaded[0]["images"][0].size == (tables.SIZE, tables.SIZE)
    assert loaded[0]["prompt"][0]["role"] == "user"


def test_to_a_url_and_never_among_other_files(people: list[TruePerson], tmp_path: Path) -> None:
    pairs, instances = tables.pairs(people), tables.instances(people)
    export_trl(pairs, instances, "memory://trl/out")
    assert fsspec.filesystem("memory").isfile("/trl/out/data/train-00000.parquet")
    for target in ("memory://trl/out", str(tmp_path)):
        (tmp_path / "other").write_text("")
        with pytest.raises(DataError, match=r"something at .* already"):
            export_trl(pairs, instances, target)


def test_nothing_is_left_after_an_error(people: list[TruePerson], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="have no row"):
        export_trl(tables.pairs(people), tables.instances(people).slice(1), str(tmp_path / "out"))
    with pytest.raises(DataError, match="no pair to export"):
        export_trl(tables.pairs(people).slice(0, 0), tables.instances(people), str(tmp_path / "out"))
    assert not list(tmp_path.iterdir())
