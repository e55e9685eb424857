"""An npz as columns: plain and pickled members agree with numpy.load, and files that lie are refused."""

import contextlib
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import DataError
from tasks.ingest.source.column import column_of
from tasks.ingest.source.npz_columns import Npz
from tests.models.hostile import Hostile
from tests.models.pickles import calling
from tests.tasks.ingest.npz_files import archive, npy, pickled, saved

RNG = np.random.default_rng(0)


def opened(path: Path) -> Npz:
    return Npz(path, path.parent / "work", path.name)


def written(path: Path, **arrays: Any) -> Npz:
    path.write_bytes(saved(**arrays))
    return opened(path)


def test_plain_members_are_columns_of_any_type_and_order(tmp_path: Path) -> None:
    arrays = {
        "f": RNG.normal(size=(50, 3, 2)).astype(np.float32),
        "fortran": np.asfortranarray(RNG.normal(size=(50, 4))),
        "big_endian": np.arange(50, dtype=">i2"),
        "text": np.array([f"a/{number}.jpg" for number in range(50)]),
        "none": np.zeros((0, 3)),
    }
    file = written(tmp_path / "a.npz", **arrays)
    assert file.names == tuple(arrays)
    for name, values in arrays.items():
        column = file.column(name)
        assert len(column) == len(values)
        assert column.is_text == (name == "text")
        np.testing.assert_array_equal(column.rows(7, 20), values[7:20])
        np.testing.assert_array_equal(file.value(name), values)
    assert not file.is_pickle("f")


@pytest.mark.parametrize("size", [3, 20_000])
def test_pickled_dictionaries_come_out_as_they_were(tmp_path: Path, size: int) -> None:
    body = {"betas": RNG.normal(size=(size, 10)).astype(np.float32), "fortran": np.asfortranarray(np.ones((size, 70)))}
    body["fortran"][1, 2] = 7
    file = written(tmp_path / "a.npz", smpl={**body, "gender": ["male"] * size}, rows=np.array(["a", None], object))
    assert file.is_pickle("smpl")
    found = file.value("smpl")
    assert found["gender"] == ["male"] * size
    for name, values in body.items():
        column = column_of(found[name], size, name, file.work)
        assert (column.path is not None) == (values.nbytes >= 2**20)
        np.testing.assert_array_equal(column.rows(1, size), values[1:])
    assert file.value("rows").tolist() == ["a", None]


def test_a_cache_of_one_pickle_per_row_is_read_one_at_a_time(tmp_path: Path) -> None:
    rows = {str(number): {"joints": np.full((2, 3), number)} for number in range(5)}
    file = written(tmp_path / "cache.npz", data_len=5, **rows)
    assert file.value("data_len") == 5
    assert [int(file.value(str(number))["joints"][1, 2]) for number in range(5)] == [0, 1, 2, 3, 4]
    assert list(file.work.iterdir()) == []


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol_of_pickle_is_read(tmp_path: Path, protocol: int) -> None:
    # 300,000 float64 go to a file where the protocol has bytes; older ones write them as texts
    value = {"small": np.arange(3), "large": np.arange(300_000.0)}
    raw = pickle.dumps(np.array(value, object), protocol)
    found = opened(archive(tmp_path / "a.npz", {"smpl.npy": pickled(raw)})).value("smpl")
    np.testing.assert_array_equal(found["large"], value["large"])
    assert found["small"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("said", [100_000, 2**31 - 1, -1, 0])
def test_a_large_pickled_array_with_another_shape_than_bytes_is_refused(tmp_path: Path, said: int) -> None:
    raw = pickle.dumps(np.array({"large": np.arange(200_000.0)}, object), 4)
    assert raw.count(b"J" + (200_000).to_bytes(4, "little")) == 1
    raw = raw.replace(b"J" + (200_000).to_bytes(4, "little"), b"J" + said.to_bytes(4, "little", signed=True))
    with pytest.raises(DataError, match="bytes do not fit its shape"):
        opened(archive(tmp_path / "a.npz", {"smpl.npy": pickled(raw)})).value("smpl")


@pytest.mark.slow
def test_a_pickle_of_more_values_than_bytes_is_refused(tmp_path: Path) -> None:
    nested: Any = ["a"] * 10
    for _ in range(9):  # each list is written once and named nine times more
        nested = [nested] * 10
    raw = pickle.dumps(np.array({"many": nested}, object))
    assert len(raw) < 1000
    with pytest.raises(DataError, match="more of them"):
        opened(archive(tmp_path / "a.npz", {"smpl.npy": pickled(raw)})).value("smpl")


def test_a_hostile_pickle_is_refused_by_name_and_not_run(tmp_path: Path) -> None:
    target = tmp_path / "was here"
    file = written(tmp_path / "a.npz", smplx={"betas": Hostile(target)})
    with pytest.raises(DataError, match=r"a\.npz, member smplx asks for \w+\.system"):
        file.value("smplx")
    assert not target.exists()
    for module, name in (("numpy.testing._private.utils", "runstring"), ("builtins", "eval")):
        file = opened(archive(tmp_path / "b.npz", {"smplx.npy": pickled(calling(module, name, "1"))}))
        with pytest.raises(DataError, match=f"{module}.{name}"):
            file.value("smplx")


@pytest.mark.parametrize("name", ["../a.npy", "/a.npy", "x/../../a.npy", "..\\a.npy", "c:a.npy"])
def test_names_that_leave_the_archive_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"names a place outside"):
        opened(archive(tmp_path / "a.npz", {name: npy("(1,)", values=b"0000")}))


@pytest.mark.parametrize(
    "member",
    [
        npy("(1000000000000,)", values=b"0000"),
        npy("(-1,)"),
        npy("(2, -2)"),
        npy("(1000000000000000000, 0)"),
        npy("(1000000000000000000,)", "<U0"),
        npy("(3,)", values=b"0000"),
        npy("(1,)", values=b"00000000"),
        npy("(" * 5000),
        npy("1"),
        npy("(1,)", "<c8", b"0" * 8),
        npy("(1,)", "<M8[s]", b"0" * 8),
        b"",
        b"\x93NUMPY\x09\x00",
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff{",
    ],
)
def test_headers_that_lie_are_refused(tmp_path: Path, member: bytes) -> None:
    file = opened(archive(tmp_path / "a.npz", {"a.npy": member}))
    with pytest.raises(DataError, match=r"a\.npz.*(member a|Copy it again)"):
        file.column("a")


@pytest.mark.slow
def test_a_zip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as file:
        for number in range(9):
            file.writestr(f"{number}.npy", bytes(2**27))
    with pytest.raises(DataError, match="far more than annotations do"):
        opened(tmp_path / "a.npz")


def test_a_pickle_with_a_length_that_is_not_there_is_truncated(tmp_path: Path) -> None:
    raw = b"\x80\x04\x8e" + (2**50).to_bytes(8, "little") + b"abc"
    file = opened(archive(tmp_path / "a.npz", {"smpl.npy": pickled(raw)}))
    with pytest.raises(DataError, match="truncated"):
        file.value("smpl")
    assert sum(path.stat().st_size for path in file.work.iterdir()) < 10


@pytest.mark.parametrize("data", [b"", b"PK\x05\x06", b"no zip at all", npy("(1,)", values=b"0000")])
def test_what_is_no_npz_is_said(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(DataError, match=r"a\.npz is no readable npz"):
        opened(tmp_path / "a.npz")


@given(st.data())
def test_no_change_of_bytes_raises_anything_but_data_errors(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    raw = bytearray(saved(a=np.arange(12.0).reshape(4, 3), b={"x": np.arange(5), "y": ["a", 1]}, c=np.array(["p"])))
    folder = tmp_path_factory.getbasetemp() / "fuzz"
    folder.mkdir(exist_ok=True)
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    (folder / "a.npz").write_bytes(raw[: data.draw(st.integers(0, len(raw)))] if data.draw(st.booleans()) else raw)
    try:
        file = opened(folder / "a.npz")
    except DataError:
        return
    for name in file.names:
        for read in (file.value, file.column):
            with contextlib.suppress(DataError):
                read(name)


def test_lists_become_columns_and_odd_rows_are_noted(tmp_path: Path) -> None:
    numbers = column_of([[1, 2], [3, 4], [5], None, "x", [6, "y"], np.array([7, 8])], 7, "focal", tmp_path)
    assert numbers.shape == (7, 2)
    assert set(numbers.unreadable) == {2, 3, 4, 5}
    assert numbers.unreadable[2] == "2 numbers expected, not 1 numbers"
    np.testing.assert_array_equal(numbers.rows(0, 7)[[0, 1, 6]], [[1, 2], [3, 4], [7, 8]])
    texts = column_of(np.array(["a", None, b"c", 3, "d" * 9999, "e", "f"], object), 7, "paths", tmp_path)
    assert texts.rows(0, 7).tolist() == ["a", "", "c", "", "", "e", "f"]
    assert set(texts.unreadable) == {1, 3, 4}


def test_long_lists_go_to_a_file(tmp_path: Path) -> None:
    values = [[number, number / 2] for number in range(70_000)]
    column = column_of(values, 70_000, "focal", tmp_path)
    assert column.path is not None
    np.testing.assert_array_equal(column.rows(69_990, 70_000), values[69_990:])
    texts = column_of([f"name {number}" for number in range(70_000)], 70_000, "paths", tmp_path)
    assert texts.path is not None
    assert texts.rows(69_999, 70_001).tolist() == ["name 69999"]


@pytest.mark.parametrize("value", [7, 7.0, np.float32(7), np.array(7), [7], np.array([7])])
def test_one_value_holds_for_all_rows(tmp_path: Path, value: Any) -> None:
    assert column_of(value, 3, "height", tmp_path).rows(1, 3).tolist() == [7, 7]


@pytest.mark.parametrize("value", [None, {}, b"abc", [1, 2], np.zeros((2, 2)), [None] * 3, np.zeros(3, "c8")])
def test_what_is_no_column_is_said(tmp_path: Path, value: Any) -> None:
    with pytest.raises(DataError, match="height"):
        column_of(value, 3, "height", tmp_path)
