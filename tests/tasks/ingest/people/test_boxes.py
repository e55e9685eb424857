"""Tables of boxes: three formats, one meaning; bad rows cost themselves, bad tables are named."""

import csv
import gzip
import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.tables import read
from schemas.errors import DataError
from tasks.ingest.annotated import IngestAnnotations
from tasks.ingest.people.boxes import LARGEST, parse_row, read_boxes
from tasks.ingest.source.folder import RefusedError
from tests.tasks.ingest.pictures import context, folder, remarks_of, rows_of, source

ROWS: list[dict[str, Any]] = [
    {"path": "a.jpg", "x": 1.25, "y": -2.5, "w": 30.1, "h": 40.0, "person": 0, "focal_px": 55.5},
    {"path": "a.jpg", "x": 7.0, "y": 2.5, "w": 11.0, "h": 1 / 3, "person": 1, "focal_px": None},
    {"path": "sub/b.jpg", "x": 7.0, "y": math.nan, "w": 11.0, "h": 20.0, "person": 0, "focal_px": None},
    {"path": "c.jpg", "x": 0.0, "y": 0.0, "w": 11.0, "h": 20.0, "person": 5, "focal_px": 1e3},
]


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            table = csv.DictWriter(file, list(rows[0]))
            table.writeheader()
            table.writerows(rows)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)


def test_csv_parquet_and_json_mean_the_same(tmp_path: Path) -> None:
    folder(tmp_path, {"a.jpg": b""})
    plans = []
    for ending in ("csv", "parquet", "json"):
        write(tmp_path / f"boxes.{ending}", ROWS)
        plans.append([{**row, "detail": "", "origin": ""} for row in rows_of(source(tmp_path, f"boxes.{ending}"))])
    assert plans[0] == plans[1] == plans[2]
    first, thin, unknown, fifth = plans[0]
    assert (first["path"], first["person"], first["box"], first["fx"]) == ("a.jpg", 0, [1.25, -2.5, 30.1, 40.0], 55.5)
    assert (thin["path"], thin["person"], thin["reason"]) == ("a.jpg", 1, "box without area")
    assert (unknown["path"], unknown["reason"]) == ("sub/b.jpg", "box not finite")
    assert (fifth["path"], fifth["person"], fifth["cx"]) == ("c.jpg", 5, None)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("boxes.csv", "path,x,y,w\na.jpg,1,2,3\n", r"lacks the columns h; it has path, x, y, w\."),
        ("boxes.csv", "path,x,y,w,h\n", "has no row"),
        ("boxes.csv", "", "has no row"),
        ("boxes.csv", b"\xff\xfe\x00", "no readable CSV"),
        ("boxes.parquet", "hello", "no readable PARQUET"),
        ("boxes.json", "{", "no readable JSON"),
        ("boxes.json", '{"path": "a.jpg"}', "a list of rows is expected"),
        ("boxes.json", "[" * 100_000, "no readable JSON"),
        ("boxes.xlsx", "", "ends in none of .csv, .parquet, .json"),
    ],
)
def test_a_bad_table_is_one_clear_line(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(DataError, match=message) as caught:
        read_boxes(str(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value).strip()


SAID = "path,x,y,w,h\nZürich.jpg,10.5,10,80,100\n"
WRITTEN = {
    "utf-16.csv": SAID.encode("utf-16"),
    "marked.csv": SAID.encode("utf-8-sig"),
    "packed.csv.gz": gzip.compress(SAID.encode()),
    "packed.csv": gzip.compress(SAID.encode("utf-16")),
    "semicolons.csv": SAID.replace(",", ";").replace("10.5", "10,5").encode(),
    "tabs.csv": SAID.replace(",", "\t").replace("10.5", "10,5").encode(),
    "capitals.csv": SAID.replace("path,x,y,w,h", " Path ,X, Y,W , H").encode(),
    "quoted.csv": SAID.replace("path,x,y,w,h", '"Path";"X";"Y";"W";"H"')
    .replace("Zürich.jpg,10.5,10,80,100", '"Zürich.jpg";"10,5";"10";"80,0";"1e2"')
    .encode(),
    "utf-16.json": json.dumps([{"path": "Zürich.jpg", "x": 10.5, "y": 10, "w": 80, "h": 100}]).encode("utf-16"),
    "capitals.json.gz": gzip.compress(b'[{"PATH": "Z\\u00fcrich.jpg", "X": "10.5", "Y ": 10, "W": 80, "h": 100}]'),
}


@pytest.mark.parametrize("name", sorted(WRITTEN))
def test_tables_are_read_as_programs_of_any_country_write_them(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(WRITTEN[name])
    table = read_boxes(str(tmp_path / name))
    assert len(table.rows) == 1
    assert table.rows[0]["path"] == "Zürich.jpg"
    assert parse_row(table.rows[0]).box == (10.5, 10, 80, 100)
    assert table.ignored == ()


def test_names_of_columns_count_whatever_their_case(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"Path": ["a.jpg"], "X": [1], "x ": ["?"], "y": [1], "Y": ["?"], "w": [1], "H": [1]}),
        tmp_path / "b.parquet",
    )
    with pytest.raises(DataError, match=r"b\.parquet is no readable PARQUET: it has several columns x \('X', 'x '\)"):
        read_boxes(str(tmp_path / "b.parquet"))
    (tmp_path / "b.csv").write_text("Path,x,X,y,W,h,Person\na.jpg,1,?,2,3,4,7\n")
    table = read_boxes(str(tmp_path / "b.csv"))
    assert table.rows == ({"path": "a.jpg", "x": "1", "y": "2", "w": "3", "h": "4", "person": "7"},)
    assert (set(table.columns), table.ignored) == ({"path", "x", "y", "w", "h", "person"}, ("X",))
    for twice in ("path,x,x,y,w,h\na.jpg,1,1,2,3,4\n", "path,X, X,y,w,h\na.jpg,1,1,2,3,4\n"):
        (tmp_path / "b.csv").write_text(twice)
        with pytest.raises(DataError, match="it has several columns x"):
            read_boxes(str(tmp_path / "b.csv"))


def test_boxes_that_are_said_in_another_way_are_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "corners.csv").write_text("path,x1,y1,x2,y2\na.jpg,10,10,90,110\n")
    with pytest.raises(DataError, match=r"lacks the columns x, y, w, h; .* From two corners: x, y are the upper left"):
        read_boxes(str(tmp_path / "corners.csv"))
    with pytest.raises(RefusedError, match="they look like parts of the picture's width and height"):
        parse_row({"x": "0.1", "y": "0.1", "w": "0.6", "h": "0.8"})


def test_a_csv_that_is_no_utf_8_says_so(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_bytes(SAID.encode("cp1252"))
    with pytest.raises(DataError, match=r"b\.csv is no readable CSV: .* Save it as UTF-8"):
        read_boxes(str(tmp_path / "b.csv"))


def test_a_table_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"The table of boxes .*boxes\.csv is not there"):
        read_boxes(str(tmp_path / "boxes.csv"))


def test_every_row_has_a_name_of_its_own_and_bad_ones_a_reason(tmp_path: Path) -> None:
    folder(tmp_path, {"a.jpg": b""})
    (tmp_path / "boxes.csv").write_text(
        "path,x,y,w,h,person,focal_px\n"
        "a.jpg,0,0,nan,10,0,\n"  # 1: bad, and another row has its name by right
        "a.jpg,0,0,10,10,0,\n"  # 2
        "a.jpg,5,0,10,10,0,\n"  # 3
        "./a.jpg,5,0,10,10,0,\n"  # 4
        "../a.jpg,5,0,10,10,0,\n"  # 5
        "/etc/hostname,5,0,10,10,0,\n"  # 6
        "https://host/a.jpg,5,0,10,10,0,\n"  # 7
        "sub/../../a.jpg,5,0,10,10,0,\n"  # 8
        ",5,0,10,10,0,\n"  # 9
        "a#b.jpg,5,0,10,10,0,\n"  # 10
        "a.jpg,5,0,10,10,1.5,\n"  # 11
        "a.jpg,5,0,10,10,2,-3\n"  # 12
        "a.jpg,5,0,10,10,3,many\n"  # 13
        "a.jpg,5,0,inf,10,4,\n"  # 14
        "a.jpg,5,0,0,10,5,\n"  # 15
        "a.jpg,5,0,10,10,6,,surplus\n"  # 16
        "a.jpg,5\n"  # 17
        "a.jpg,5,0,1e8,10,8,\n"  # 18
    )
    ctx = context(tmp_path / "store")
    result = IngestAnnotations(source(tmp_path)).run(ctx)
    assert (result.record.units_in, result.record.tally.failed) == (18, 18)
    failures = {row["id"]: (row["reason"], row["detail"]) for row in read(ctx.store, "failures").to_pylist()}
    assert {name: reason for name, (reason, _) in failures.items()} == {
        "mine/train/a.jpg (row 1)": "box not finite",
        "mine/train/a.jpg#0": "picture empty",  # of the only row that says nothing wrong
        "mine/train/a.jpg (row 3)": "duplicate id",
        "mine/train/a.jpg (row 4)": "duplicate id",
        "mine/train/../a.jpg (row 5)": "path leaves the folder",
        "mine/train//etc/hostname (row 6)": "path leaves the folder",
        "mine/train/https://host/a.jpg (row 7)": "path leaves the folder",
        "mine/train/sub/../../a.jpg (row 8)": "path leaves the folder",
        "mine/train/ (row 9)": "path missing",
        "mine/train/a#b.jpg (row 10)": "path not usable",
        "mine/train/a.jpg (row 11)": "person not usable",
        "mine/train/a.jpg (row 12)": "camera not usable",
        "mine/train/a.jpg (row 13)": "camera not usable",
        "mine/train/a.jpg (row 14)": "box not finite",
        "mine/train/a.jpg (row 15)": "box without area",
        "mine/train/a.jpg (row 16)": "row not readable",
        "mine/train/a.jpg (row 17)": "person not usable",
        "mine/train/a.jpg (row 18)": "box far too large",
    }
    assert failures["mine/train/a.jpg (row 3)"][1].startswith(
        "boxes.csv: row 3: row 3 has the path and person 0 of row 2"
    )


def test_persons_without_a_number_are_counted_and_the_same_box_twice_is_one(tmp_path: Path) -> None:
    folder(tmp_path, {"a.jpg": b"", "b.jpg": b""})
    (tmp_path / "boxes.csv").write_text(
        "path,x,y,w,h\na.jpg,0,0,9,9\nb.jpg,0,0,9,9\na.jpg,1,0,9,9\na.jpg,0,0,9,9\na.jpg,2,0,9,9\n"
    )
    assert {(row["path"], row["person"]): row["reason"] for row in rows_of(source(tmp_path))} == {
        ("a.jpg", 0): None,
        ("b.jpg", 0): None,
        ("a.jpg", 1): None,
        ("a.jpg", 2): "duplicate id",
        ("a.jpg", 3): None,
    }


def test_what_is_left_out_or_ignored_is_said(tmp_path: Path) -> None:
    folder(tmp_path, {"a.jpg": b"", "b.jpg": b"", "c.PNG": b"", "notes.txt": b"", ".hidden.jpg": b""})
    (tmp_path / "boxes.csv").write_text("path,x,y,w,h,score\na.jpg,0,0,9,9,0.5\n")
    remarks = remarks_of(source(tmp_path))
    assert any("2 of 3 pictures have no row" in line for line in remarks)
    assert any("mean nothing here: score" in line for line in remarks)
    with pytest.raises(DataError, match="no folder of pictures"):
        rows_of(source(tmp_path / "elsewhere"))


numbers = st.one_of(
    st.floats(), st.integers(), st.text(max_size=5), st.none(), st.booleans(), st.lists(st.integers(), max_size=2)
)


@given(st.fixed_dictionaries(dict.fromkeys(("x", "y", "w", "h", "focal_px", "cx", "cy"), numbers)))
def test_whatever_a_row_holds_it_is_good_or_refused(row: dict[str, Any]) -> None:
    try:
        parsed = parse_row(row)
    except RefusedError:
        return
    assert all(math.isfinite(value) and abs(value) <= LARGEST for value in parsed.box)
    assert min(parsed.box[2:]) >= 1
    assert parsed.focal_px is None or 0 < parsed.focal_px <= LARGEST
