"""A format is a folder: a new one is recognised, listed and ingested without another line; the page lists all."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.ingest.formats.registry import formats
from tests.tasks.ingest.pictures import folder, jpeg, noise

ROOT = Path(__file__).resolve().parents[4]


def test_the_page_lists_every_format() -> None:
    lines = [f"| `{known.name}` | {known.documentation or known.title} |" for known in formats().values()]
    page = (ROOT / "docs" / "data.md").read_text()
    assert "\n".join(["| `--format` | what it reads |", "| --- | --- |", *lines, ""]) in page


NEW = '''
"""Lists of pictures, a name a line, with the middle of a person who is 40 px high."""

from tasks.ingest.formats.format import Format
from tasks.ingest.formats.json_rows import in_batches
from tasks.ingest.formats.look import FileLook
from tasks.ingest.people.annotations import Survey


class Reader:
    def __init__(self, source, work):
        self.source, self.work = source, work

    def survey(self):
        return Survey("middles", [self.source.url], None, self.source.images, {})

    def batches(self):
        return in_batches(map(self._row, enumerate(open(self.source.url))))

    def _row(self, numbered):
        number, line = numbered
        path, x, y = line.split()
        row = {"row": number, "counts_as": number, "origin": f"line {number + 1}", "path": path, "crop_rule": "box"}
        high = float(self.source.options.get("high", 40))
        return {**row, "box": [float(x) - high / 4, float(y) - high / 2, high / 2, high]}


def recognise(look):
    if isinstance(look, FileLook) and look.name.endswith(".middles"):
        yield look.candidate("middles", "a list of middles")


FORMAT = Format("middles", "a list of middles", "people", Reader, recognise, {"high": "of people, px"}, rank=4)
'''
DRIVER = """
import shlex, sys
from tasks.ingest import formats
formats.__path__.append(sys.argv[1])
from typer.testing import CliRunner
import flows.run.session
from flows.cli.main import app
flows.run.session.IN_PROCESS = True
for words in sys.argv[2:]:
    print(CliRunner().invoke(app, shlex.split(words)).output)
from flows.ingest import ingest
print(ingest.parameters.properties["format"])
from tasks.ingest.formats.recognition import recognise
"""


@pytest.mark.slow
def test_a_new_folder_is_a_new_format(tmp_path: Path) -> None:
    (tmp_path / "more" / "middles").mkdir(parents=True)
    (tmp_path / "more" / "middles" / "__init__.py").write_text(NEW)
    images = folder(tmp_path, {f"{seed}.jpg": jpeg(noise(seed=seed)) for seed in range(3)})
    listed = tmp_path / "people.middles"
    listed.write_text("0.jpg 30 40\n1.jpg 20 30\n2.jpg 900 900\n")
    taken = f"--dataset mine --split train --profile micro --set gates.max_failed_share=0.5 --store {tmp_path}/store"
    words = [
        "ingest --help",
        f"doctor --data {listed} --images {images}",
        f"ingest --format middles --source {listed} --images {images} --option high=30 {taken}",
    ]
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(tmp_path / "more"), *words],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "500"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert "humandata, middles, multihypo-npz" in said
    assert "format: middles: a list of middles" in said
    assert f"adhmr ingest --format middles --source {listed}" in said
    assert "rows in 3 images 3 instances 2 failed 1 box outside picture" in said
    assert "coco, folder, middles, video" in said
