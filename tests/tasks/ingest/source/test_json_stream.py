"""Streams of JSON: what comes out is what json reads, and whatever is broken is told as a DataError."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import DataError
from tasks.ingest.source import json_stream


def _file(tmp_path: Path, data: bytes | str) -> Path:
    path = tmp_path / "file.json"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def test_items_of_lists_and_of_containers(tmp_path: Path) -> None:
    rows = [{"a": [1, 2.5, -1e-3], "b": {"c": 'x, "NaN", \\'}}, 7, None, True]
    assert list(json_stream.items(_file(tmp_path, json.dumps(rows)), "item")) == rows
    path = _file(tmp_path, json.dumps({"annotations": rows, "images": [{"id": 1}]}))
    assert list(json_stream.items(path, "annotations.item")) == rows
    assert list(json_stream.items(path, "images.item")) == [{"id": 1}]
    assert list(json_stream.items(path, "nothing.item")) == []
    assert dict(json_stream.pairs(path)) == {"annotations": rows, "images": [{"id": 1}]}


def test_what_is_no_json_but_written_by_programs_is_missing_and_costs_no_neighbour(tmp_path: Path) -> None:
    path = _file(tmp_path, '[{"x":NaN,"y":[-Infinity,Infinity,1]},{"name":"a, NaN, \\" NaN","x":NaN}, 2]')
    assert list(json_stream.items(path, "item")) == [
        {"x": None, "y": [None, None, 1]},
        {"name": 'a, NaN, " NaN', "x": None},
        2,
    ]


def test_numbers_of_any_size_come_as_what_they_are(tmp_path: Path) -> None:
    path = _file(tmp_path, '[{"a":1.5},{"a":[1e999,-1e999],"b":123456789012345678901234567890},{"a":2.5}]')
    rows = list(json_stream.items(path, "item"))
    assert rows == [{"a": 1.5}, {"a": [math.inf, -math.inf], "b": 123456789012345678901234567890}, {"a": 2.5}]
    assert type(rows[2]["a"]) is float
    path = _file(tmp_path, '{"a": {"b": [1.5, 1e999]}}')
    ((key, value),) = json_stream.pairs(path)
    assert (key, value) == ("a", {"b": [1.5, math.inf]})
    assert type(value["b"][0]) is float


def test_long_files_are_read_across_chunks(tmp_path: Path) -> None:
    rows = [{"name": f'{i}, "NaN" \\', "values": [i / 7] * 50} for i in range(2000)]
    text = json.dumps(rows).replace("[0.0,", "[NaN,")
    read = list(json_stream.items(_file(tmp_path, text), "item"))
    expected = json.loads(text, parse_constant=lambda _: None)
    assert read == expected
    assert read[0]["values"][0] is None


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    path = _file(tmp_path, b"\xef\xbb\xbf [1]")
    assert json_stream.begins_with(path) == "["
    assert list(json_stream.items(path, "item")) == [1]


@pytest.mark.parametrize(
    "data",
    [b"", b"[1, 2", b"[1] x", b"[1, -]", b'["\xff"]', b"[nul]", b'{"a": [1}', b"\x00"],
)
def test_broken_files_are_one_error_that_names_them(tmp_path: Path, data: bytes) -> None:
    path = _file(tmp_path, data)
    with pytest.raises(DataError, match=r"file\.json is no readable JSON"):
        list(json_stream.items(path, "item"))


def test_numbers_without_end_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a number of thousands of digits"):
        list(json_stream.items(_file(tmp_path, "[" + "1" * 5000 + "]"), "item"))


def test_what_is_not_annotations_at_all(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="neither a list nor an object"):
        json_stream.begins_with(_file(tmp_path, "PK\x03\x04"))
    with pytest.raises(DataError, match="is empty"):
        json_stream.begins_with(_file(tmp_path, " "))
    with pytest.raises(DataError, match="can't be read"):
        list(json_stream.items(tmp_path, "item"))


def test_endless_texts_are_refused_before_they_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "_CHUNK", 100)
    monkeypatch.setattr(json_stream, "_LONGEST", 1000)
    for text in (f'["{"a" * 2000}"]', f'["{"a, " * 2000}"]'):
        with pytest.raises(DataError, match="holds no annotations"):
            list(json_stream.items(_file(tmp_path, text), "item"))


def test_depth_without_end_is_refused(tmp_path: Path) -> None:
    for deep in ("[" * 50_000 + "]" * 50_000, '{"a":' * 50_000 + "1" + "}" * 50_000):
        with pytest.raises(DataError, match="more than 32 lists and objects in one another"):
            list(json_stream.items(_file(tmp_path, f"[1, {deep}]"), "item"))
    fine = [[["[" * 100, "]", '\\"[[']] * 3, "[" * 100]
    assert list(json_stream.items(_file(tmp_path, json.dumps(fine)), "item")) == fine


def test_values_without_end_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "_CHUNK", 100)
    monkeypatch.setattr(json_stream, "_LARGEST", 1000)
    with pytest.raises(DataError, match="one value of more than 1000 bytes"):
        list(json_stream.items(_file(tmp_path, json.dumps([{"a": [1] * 1000}])), "item"))
    many = [{"a": [1] * 100}] * 100
    assert list(json_stream.items(_file(tmp_path, json.dumps(many)), "item")) == many


@settings(max_examples=40)
@given(
    st.lists(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
            max_leaves=10,
        ),
        max_size=4,
    )
)
def test_any_list_is_read_as_json_reads_it(tmp_path_factory: pytest.TempPathFactory, rows: list[object]) -> None:
    text = json.dumps(rows, ensure_ascii=False).encode("utf-8", "replace")
    expected = json.loads(text, parse_constant=lambda _: None)
    assert list(json_stream.items(_file(tmp_path_factory.mktemp("any"), text), "item")) == expected
