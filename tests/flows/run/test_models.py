"""What a word means that names a model: a file, a folder, or a digest."""

from pathlib import Path

import pytest

from flows.run.models import file_of


def test_a_folder_is_meant_as_a_file_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert file_of("c0ffee") is None
    Path("hub").mkdir()
    assert file_of("hub") == Path("hub")
    assert file_of("absent.pth") == Path("absent.pth")
    assert file_of("a/b") == Path("a/b")
