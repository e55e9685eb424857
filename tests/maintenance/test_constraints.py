"""What `make` installs runs on every Python that the project says it does, the first release of the oldest one too."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[2]


def test_pinned_versions_take_the_oldest_python() -> None:
    """pip calls it a conflict of versions, and the reader of its message doesn't learn that it is about Python."""
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["requires-python"]
    oldest = re.fullmatch(r">=(\d+\.\d+)", wanted)
    assert oldest is not None
    pins = re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "constraints.txt").read_text("utf-8"), re.M)
    assert len(pins) > 100
    looked_at, refusing = 0, []
    for name, version in pins:
        try:
            about = metadata(name)
        except PackageNotFoundError:  # of another system, or of an environment that was made otherwise
            continue
        if about["Version"].partition("+")[0] != version:
            continue
        looked_at += 1
        if f"{oldest[1]}.0" not in SpecifierSet(about.get("Requires-Python") or ""):
            refusing.append(f"{name} {version} needs Python {about['Requires-Python']}")
    assert looked_at > 0.9 * len(pins)
    assert refusing == []
