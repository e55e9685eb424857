"""In a copy with the recipe of a format: it is listed, recognised and ingested, bad rows with their reasons."""

import json
from pathlib import Path

from PIL import Image
from typer.testing import CliRunner

from flows.cli.main import app
from infra.store import Store
from infra.tables import read
from tasks.engine.context import Context
from tasks.ingest.annotated import IngestAnnotations
from tasks.ingest.formats.recognition import recognise
from tasks.ingest.people.annotations import AnnotationSource
from tests.profiles import load_profile


def main() -> None:
    """Print whether the help lists it, what the file is taken for, the people that came in, and what did not."""
    folder = Path("pictures")
    folder.mkdir()
    lines = ["2.png", "2.png 10 5 nan 50"]
    for place in range(3):
        picture = Image.effect_noise((80, 60 + place), 40 + 20 * place).convert("RGB")
        picture.save(folder / f"{place}.png")
        lines.insert(place, f"{place}.png 10 5 40 50")
    file = folder / "my.people.txt"
    file.write_text("\n".join(lines), "utf-8")
    listed = "people-txt" in CliRunner().invoke(app, ["ingest", "--help"]).output
    taken_for = [each.format for each in recognise(str(file)).candidates]
    context = Context(
        Store.open("store"), load_profile("micro", changes={"gates.max_failed_share": 0.5}), in_process=True
    )
    result = IngestAnnotations(AnnotationSource("people-txt", str(file), "mine", "train")).run(context)
    boxes = read(context.store, "instances", stage_keys=[result.key]).column("box_xywh").to_pylist()
    reasons = sorted(read(context.store, "failures", stage_keys=[result.key]).column("reason").to_pylist())
    print(json.dumps([listed, taken_for, boxes, reasons]))


if __name__ == "__main__":
    main()
