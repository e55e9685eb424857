"""Secrets are their owner's alone at every moment, and one that others could have read is replaced."""

import os
from pathlib import Path

import pytest

from infra import private
from infra.private import private_folder, read_secret, secret_of, write_secret


@pytest.fixture(autouse=True)
def _generous_umask() -> object:
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return path.lstat().st_mode & 0o777


def test_a_secret_is_made_once_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    assert read_secret(path) is None
    assert secret_of(path, lambda: "first") == "first"
    assert mode(path) == 0o600
    assert secret_of(path, lambda: "second") == "first"
    assert [one.name for one in tmp_path.iterdir()] == ["secret"]


def test_no_file_has_ever_been_open_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    replace = os.replace

    def look(source: str, target: Path) -> None:
        seen.extend(mode(one) for one in tmp_path.iterdir())
        replace(source, target)

    monkeypatch.setattr(private.os, "replace", look)
    monkeypatch.setattr(private.os, "chmod", None)
    write_secret(tmp_path / "secret", "first")
    assert seen == [0o600]


@pytest.mark.parametrize("exposed", [0o644, 0o640, 0o602, 0o610])
def test_an_exposed_secret_is_replaced(exposed: int, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("known to others")
    path.chmod(exposed)
    with open(path) as held:
        assert secret_of(path, lambda: "new") == "new"
        assert held.read() == "known to others"  # a new file: what somebody holds open tells nothing of it
    assert mode(path) == 0o600


def test_what_is_no_file_of_ours_is_no_secret(tmp_path: Path) -> None:
    real = tmp_path / "real"
    write_secret(real, "of another place")
    (tmp_path / "link").symlink_to(real)
    assert read_secret(tmp_path / "link") is None
    os.mkfifo(tmp_path / "fifo", 0o600)
    assert read_secret(tmp_path / "fifo") is None
    (tmp_path / "empty").touch(0o600)
    assert read_secret(tmp_path / "empty") is None
    assert secret_of(tmp_path / "link", lambda: "new") == "new"
    assert read_secret(real) == "of another place"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")
def test_a_secret_that_another_user_owns_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    write_secret(path, "theirs")
    os.chown(path, 65534, 65534)
    assert secret_of(path, lambda: "ours") == "ours"
    assert path.stat().st_uid == 0


def test_a_private_folder_is_gone_afterwards(tmp_path: Path) -> None:
    with private_folder("some", tmp_path) as folder:
        assert mode(folder) == 0o700
        assert folder.parent == tmp_path
        (folder / "r").mkdir(0o777)
    assert list(tmp_path.iterdir()) == []
