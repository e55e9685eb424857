"""What lies in a folder of pictures: read, or named with its number; a table of boxes among them is taken."""

import os
import socket
from pathlib import Path

import pytest

from infra.tables import read
from schemas.errors import DataError
from tasks.ingest.annotated import IngestAnnotations
from tasks.ingest.source.contents import contents_of, table_within
from tasks.ingest.source.folder import UNREAD_TYPE, Folder, RefusedError
from tests.tasks.ingest.image.test_depths import saved
from tests.tasks.ingest.pictures import Heard, context, folder, jpeg, noise, remarks_of, rows_of, source

HEIC = b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(100)


def mixed(root: Path) -> Path:
    """A folder as a phone and a browser leave it."""
    picture = noise()
    files = {f"IMG_{number}.HEIC": HEIC for number in range(4)} | {"x.jp2": b"\x00\x00\x00\x0cjP  \r\n\x87\n"}
    files |= {"x.gif": saved(picture, "GIF"), "x.avif": saved(picture, "AVIF"), "x.jfif": jpeg(picture)}
    return folder(root, files | {"a.jpg": jpeg(picture), "notes.txt": b"", ".thumbnails/b.heic": HEIC})


def test_pictures_that_are_not_read_are_counted_by_type_and_end_as_filtered(tmp_path: Path) -> None:
    mixed(tmp_path)
    heard = Heard()
    ctx = context(tmp_path / "store", heard, gates__max_failed_share=0.0)
    result = IngestAnnotations(source(tmp_path, boxes=None), allow_leakage=True).run(ctx)
    assert (result.record.units_in, result.record.tally.ok, result.record.tally.filtered) == (9, 4, 5)
    told = "5 pictures are of types not read here: 4 .heic (IMG_0.HEIC), 1 .jp2 (x.jp2). Convert them to JPEG or PNG."
    assert heard.lines[1] == f"ingest: {told}"
    assert "each of the 4 pictures" in heard.lines[2]
    rows = {row["id"]: (row["outcome"], row["reason"]) for row in read(ctx.store, "failures").to_pylist()}
    assert rows == {
        f"mine/train/{name}": ("filtered", UNREAD_TYPE) for name in ("x.jp2", *(f"IMG_{n}.HEIC" for n in range(4)))
    }
    keys = read(ctx.store, "images").column("key").to_pylist()
    assert sorted(keys) == ["a.jpg", "x.avif", "x.gif", "x.jfif"]


def test_a_folder_of_nothing_else_says_what_is_there(tmp_path: Path) -> None:
    folder(tmp_path, {"IMG_0.HEIC": HEIC, "sub/IMG_1.heic": HEIC})
    with pytest.raises(
        DataError, match=r"There is no picture in .* 2 pictures are of types not .*: 2 \.heic \(IMG_0\.HEIC\)"
    ):
        rows_of(source(tmp_path, boxes=None))
    (tmp_path / "boxes.csv").write_text("path,x,y,w,h\nIMG_0.HEIC,0,0,10,10\n")
    assert len(rows_of(source(tmp_path))) == 1
    assert "2 pictures are of types not read here" in remarks_of(source(tmp_path))[0]


@pytest.mark.timeout(20)
def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = folder(tmp_path, {"a.jpg": jpeg(noise())})
    os.mkfifo(images / "pipe.jpg")
    (images / "link.jpg").symlink_to("pipe.jpg")
    monkeypatch.chdir(images)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.jpg")
        ctx = context(tmp_path / "store")
        assert IngestAnnotations(source(tmp_path, boxes=None)).run(ctx).record.tally.ok == 1
    rows = {row["id"]: (row["reason"], row["detail"]) for row in read(ctx.store, "failures").to_pylist()}
    assert rows == {
        f"mine/train/{name}.jpg#0": ("picture unreadable", f"{name}.jpg: it is {kind}, not a file")
        for name, kind in (("pipe", "a named pipe"), ("link", "a named pipe"), ("socket", "a socket"))
    }


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    images = folder(tmp_path, {"a.jpg": b"\xff\xd8\xff"})
    os.truncate(images / "a.jpg", 2 << 30)
    with pytest.raises(RefusedError, match="picture too large"):
        Folder(str(images)).read("a.jpg")


@pytest.mark.parametrize("name", ["boxes.csv", "Boxes.CSV", "boxes.json"])
def test_a_table_of_boxes_among_the_pictures_is_taken_and_that_is_said(name: str, tmp_path: Path) -> None:
    images = folder(tmp_path, {"a.jpg": jpeg(noise()), "b.jpg": jpeg(noise(seed=1))})
    ctx = context(tmp_path / "store", heard := Heard())
    whole = IngestAnnotations(source(tmp_path, boxes=None)).spec(ctx).key
    row = (
        '[{"path": "a.jpg", "x": 5, "y": 6, "w": 30, "h": 40}]'
        if name.endswith("json")
        else "Path;X;Y;W;H\na.jpg;5,0;6;30;40\n"
    )
    (images / name).write_text(row)
    result = IngestAnnotations(source(tmp_path, boxes=None)).run(ctx)
    assert result.key != whole
    assert read(ctx.store, "instances").column("box_xywh").to_pylist() == [[5, 6, 30, 40]]
    assert f"ingest: THE BOXES of {images}/{name} are taken, because that lies among the pictures." in heard.lines
    assert not any("NO BOXES" in line for line in heard.lines)
    # named by an option it is the same table
    assert IngestAnnotations(source(tmp_path, boxes=f"images/{name}")).spec(ctx).key == result.key


def test_several_tables_among_the_pictures_are_a_question(tmp_path: Path) -> None:
    images = folder(tmp_path, {"a.jpg": b"", "boxes.csv": b"", "sub/boxes.csv": b"", "my_boxes.csv": b""})
    assert table_within(Folder(str(images))) == f"{images}/boxes.csv"
    (images / "boxes.parquet").write_bytes(b"")
    with pytest.raises(
        DataError, match=r"several tables of boxes \(boxes\.csv, boxes\.parquet\): say which with --boxes"
    ):
        rows_of(source(tmp_path, boxes=None))
    assert contents_of(Folder(str(images))).pictures == ("a.jpg",)
