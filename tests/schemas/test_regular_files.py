"""Only files are opened: nobody waits for a pipe."""

import os
import socket
from pathlib import Path

import pytest

from schemas.regular_files import NoFileError, open_regular, other_kind, read_regular


def test_a_file_is_read_also_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("a")
    assert read_regular(tmp_path / "link") == b"abc"
    with open_regular(str(tmp_path / "a")) as file:
        assert file.read(1) == b"a"
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "b")


@pytest.mark.timeout(20)
def test_what_is_no_file_is_refused_by_its_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    monkeypatch.chdir(tmp_path)  # the path of a socket may have no more than 107 bytes
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        for name, kind in (
            ("pipe", "a named pipe"),
            ("link", "a named pipe"),
            ("socket", "a socket"),
            (".", "a folder"),
            ("/dev/zero", "a device"),
        ):
            with pytest.raises(NoFileError) as caught:
                open_regular(name)
            assert str(caught.value) == f"it is {kind}, not a file"
            assert other_kind(os.stat(name).st_mode) == kind
