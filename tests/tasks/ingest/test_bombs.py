"""Small files that claim to be large are refused in bounded memory; what is no file isn't opened."""

import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from models.body_files import read_array, read_arrays_file
from models.checkpoints.torch_file import read_torch
from models.restricted_pickle import load_restricted
from schemas.errors import DataError
from tasks.ingest.people.boxes import read_boxes
from tasks.ingest.source import parquet_files, text_files
from tasks.ingest.source.files import content_digest, local_file, read_url
from tasks.ingest.source.json_stream import items
from tasks.ingest.source.npz_columns import Npz
from tests.bombs import endless_json, equal_rows, said_in_bounds, zeros_npz

READ = """
from pathlib import Path
from models.body_files import read_arrays_file
from schemas.errors import DataError
from tasks.ingest.people.boxes import read_boxes
from tasks.ingest.source.npz_columns import Npz
"""
CODE = """
folder = Path(sys.argv[1])
for read in (
    lambda: read_arrays_file(folder / "body.npz"),
    lambda: Npz(folder / "body.npz", folder / "work", "body.npz"),
    lambda: read_boxes(str(folder / "boxes.parquet")),
    lambda: read_boxes(str(folder / "texts.parquet")),
):
    try:
        print("read", read())
    except DataError as error:
        print(error)
"""


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_files_that_claim_to_be_large_are_refused_before_they_are_unpacked(tmp_path: Path) -> None:
    zeros_npz(tmp_path / "body.npz", "v_template", (3 * 2**27,))
    equal_rows(tmp_path / "boxes.parquet", 20_000_000)
    equal_rows(tmp_path / "texts.parquet", 100_000, "a" * 100_000)
    assert max(path.stat().st_size for path in tmp_path.iterdir()) < 4e6
    said = said_in_bounds(READ, CODE, str(tmp_path)).splitlines()
    assert len(said) == 4
    assert "body.npz would unpack to 3221225600 bytes, more than the 1073741824 of any body" in said[0]
    assert "would unpack to 3221225600, far more than annotations do" in said[1]
    assert "boxes.parquet has 20000000 rows, more than the 2000000 that are read" in said[2]
    assert "texts.parquet would unpack to" in said[3]


def test_a_pickle_of_empty_lists_without_end_is_left_where_it_passes_the_limit() -> None:
    stream = io.BytesIO(b"\x80\x04](" + b"]" * 1_000_000 + b"e.")
    with pytest.raises(DataError, match="more values than arrays need"):
        load_restricted(stream, "lists.pkl", most=1000)
    assert stream.tell() < 10_000


def test_a_packed_text_is_read_as_far_as_is_in_proportion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    endless_json(tmp_path / "boxes.json.gz", 4)
    monkeypatch.setattr(text_files, "most_unpacked", lambda size: 2 * 2**20)
    read: list[str] = []
    with pytest.raises(DataError, match=r"boxes\.json\.gz unpacks to far more than annotations do"):
        read.extend(row["path"] for row in items(tmp_path / "boxes.json.gz", "item"))
    assert 20_000 < len(read) < 2 * 2**20 / 50


@pytest.mark.parametrize("claims", [(2**40,), (2**62, 4)])
def test_a_header_that_speaks_of_more_than_there_is_is_refused(tmp_path: Path, claims: tuple[int, ...]) -> None:
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {claims}, }}".ljust(117) + "\n"
    member = b"\x93NUMPY\x01\x00\x76\x00" + header.encode() + bytes(80)
    with zipfile.ZipFile(tmp_path / "body.npz", "w") as archive:
        archive.writestr("v_template.npy", member)
    (tmp_path / "one.npy").write_bytes(member)
    with pytest.raises(DataError, match=r"body\.npz is no readable \.npz file \(its header speaks of"):
        read_arrays_file(tmp_path / "body.npz")
    with pytest.raises(DataError, match=r"one\.npy is no readable \.npy file \(its header speaks of"):
        read_array(tmp_path / "one.npy")


def test_limits_hold_for_tables_of_any_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.ingest.people.box_tables.MOST_ROWS", 2)
    row = '{"path": "a.jpg", "x": 1, "y": 1, "w": 1, "h": 1}'
    (tmp_path / "boxes.json").write_text(f"[{row}, {row}, {row}]")
    (tmp_path / "boxes.csv").write_text("path,x,y,w,h\n" + "a.jpg,1,1,1,1\n" * 3)
    for ending in ("json", "csv"):
        with pytest.raises(DataError, match=rf"boxes\.{ending} has more than the 2 rows that are read"):
            read_boxes(str(tmp_path / f"boxes.{ending}"))
    (tmp_path / "boxes.csv").write_text("path,x,y,w,h\n" + "a.jpg,1,1,1,1\n" * 2)
    assert len(read_boxes(str(tmp_path / "boxes.csv")).rows) == 2
    equal_rows(tmp_path / "boxes.parquet", 10)
    monkeypatch.setattr(parquet_files, "MOST_BYTES", 100)
    with pytest.raises(DataError, match=r"boxes\.parquet would unpack to \d+ bytes, more than the 100"):
        read_boxes(str(tmp_path / "boxes.parquet"))
    with pytest.raises(DataError, match=r"has more than 5 bytes"):
        read_url(str(tmp_path / "boxes.csv"), "table of boxes", 5)


@pytest.mark.timeout(20)
def test_pipes_are_refused_and_not_waited_for(tmp_path: Path) -> None:
    for name in ("boxes.csv", "boxes.parquet", "body.npz", "body.pkl", "one.npy"):
        os.mkfifo(tmp_path / name)
    for name in ("boxes.csv", "boxes.parquet"):
        with pytest.raises(DataError, match=r"a named pipe"):
            read_boxes(str(tmp_path / name))
    for read in (read_arrays_file, read_array):
        for name in ("body.npz", "body.pkl", "one.npy"):
            with pytest.raises(DataError, match=r"it is a named pipe, not a file"):
                read(tmp_path / name)
    with pytest.raises(DataError, match=r"The file .*boxes\.csv is a named pipe; a file is expected"):
        local_file(str(tmp_path / "boxes.csv"), tmp_path, "file")
    with pytest.raises(DataError, match=r"The checkpoint .*boxes\.csv is a named pipe, not a file"):
        read_torch(tmp_path / "boxes.csv")
    for opens in (lambda url: content_digest([url]), lambda url: read_url(url, "file")):
        with pytest.raises(DataError, match=r"it is a named pipe, not a file"):
            opens(str(tmp_path / "boxes.csv"))


def test_what_is_no_bomb_is_read(tmp_path: Path) -> None:
    """Lists of rows in a pickle, as HumanData's meta has them, and columns of equal values."""
    meta = {"height": [[1080, 1920.0]] * 20_000}
    np.savez_compressed(tmp_path / "a.npz", meta=np.array(meta, object))
    assert Npz(tmp_path / "a.npz", tmp_path / "work", "a.npz").value("meta") == meta
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"a": np.zeros(3)}))
    assert set(read_arrays_file(tmp_path / "a.pkl")) == {"a"}
    equal_rows(tmp_path / "boxes.parquet", 1000)
    table = read_boxes(str(tmp_path / "boxes.parquet"))
    assert table.rows[999] == {"path": "a.jpg", "x": 1.0, "y": 1.0, "w": 1.0, "h": 1.0}
