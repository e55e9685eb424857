"""The scripts of others that pages load are those that vendor.json records, with their licences."""

import hashlib
import json
from pathlib import Path

from tests.maintenance.vendor import FOLDER, PINS

NOTICE = Path(__file__).parents[2] / "NOTICE"
NAMES = {"htmx.org": "htmx", "uplot": "uPlot", "three": "three.js"}


def test_every_file_is_the_one_that_is_recorded() -> None:
    pins = json.loads(PINS.read_text())
    recorded = {file["as"]: file["sha256"] for pin in pins.values() for file in pin["files"].values()}
    there = {path.name for path in FOLDER.iterdir()} - {PINS.name}
    assert there == set(recorded)
    for name, digest in recorded.items():
        assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == digest, name


def test_each_has_its_licence_and_stands_in_the_notice() -> None:
    notice = NOTICE.read_text()
    for package, pin in json.loads(PINS.read_text()).items():
        assert any(member.startswith("LICENSE") for member in pin["files"]), package
        assert NAMES[package] in notice
        assert pin["licence"] in ("MIT", "0BSD")
