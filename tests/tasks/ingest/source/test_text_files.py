"""Texts come as UTF-8, whatever they were written in."""

import gzip
import io
import json
from pathlib import Path

import pytest

from schemas.errors import DataError
from tasks.ingest.source.json_stream import begins_with, items
from tasks.ingest.source.text_files import as_utf8, without_gz

TEXT = '{"images": [{"file_name": "Zürich 你好 😀.jpg"}]}' + " " * 100_000
WRITTEN = {
    "utf-8": TEXT.encode(),
    "with a mark": TEXT.encode("utf-8-sig"),
    "utf-16": TEXT.encode("utf-16"),
    "utf-16-le without a mark": TEXT.encode("utf-16-le"),
    "utf-16-be without a mark": TEXT.encode("utf-16-be"),
    "utf-16-be": b"\xfe\xff" + TEXT.encode("utf-16-be"),
    "utf-32": TEXT.encode("utf-32"),
    "utf-32-be without a mark": TEXT.encode("utf-32-be"),
    "gzip": gzip.compress(TEXT.encode()),
    "gzip of utf-16": gzip.compress(TEXT.encode("utf-16")),
    "two gzips": gzip.compress(TEXT[:30].encode()) + gzip.compress(TEXT[30:].encode()),
}


@pytest.mark.parametrize("how", sorted(WRITTEN))
def test_every_encoding_is_read(how: str, tmp_path: Path) -> None:
    with as_utf8(io.BytesIO(WRITTEN[how]), "a.json") as file:
        assert file.read().decode() == TEXT
    (tmp_path / "a.json").write_bytes(WRITTEN[how])
    assert begins_with(tmp_path / "a.json") == "{"
    assert list(items(tmp_path / "a.json", "images.item")) == json.loads(TEXT)["images"]


@pytest.mark.parametrize("how", ["gzip", "utf-16", "utf-32"])
def test_what_is_cut_off_is_one_line(how: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(WRITTEN[how][: len(WRITTEN[how]) // 2 + 1])
    with pytest.raises(DataError, match=r"a\.json is (no readable JSON|packed with gzip, and truncated)") as caught:
        list(items(tmp_path / "a.json", "images.item"))
    assert "\n" not in str(caught.value)


def test_a_damaged_beginning_is_one_line(tmp_path: Path) -> None:
    for content in (b"\x1f\x8b\x08\x00", b"\x1f\x8bnonsense", b"\xff\xfe[", b"\xff\xfe\x00\xd8\x00\xd8"):
        (tmp_path / "a.json").write_bytes(content)
        with pytest.raises(DataError, match=r"a\.json"):
            begins_with(tmp_path / "a.json")
    assert as_utf8(io.BytesIO(b""), "a").read() == b""


def test_names_of_packed_files() -> None:
    assert [without_gz(name) for name in ("a.json.gz", "A.JSON.GZ", "a.json", "gz")] == [
        "a.json",
        "A.JSON",
        "a.json",
        "gz",
    ]
