"""Makes the pictures of README.md: `python -m tests.maintenance.pictures --store URL --campaign NAME` (needs Chromium).

The store is one of `make evidence`, so that the figures on them stand in docs/evidence.md, too. The page is filled anew
with this code; the first people of its overlays and its upper part are what is kept.
"""

import tempfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image, ImageDraw, ImageFont

from flows.process.errors import clear_errors
from infra.stages import find
from infra.store import Store
from schemas.errors import ConfigError, DataError
from schemas.profiles import PROFILES
from tasks.report.content import Overlay
from tasks.report.fill import fill_round
from tasks.report.page import report_html
from tasks.report.stage import read_configuration, read_facts
from tests.flows.serve.browser import CHROMIUM, opened_page

FOLDER = Path(__file__).resolve().parents[2] / "docs/pictures"
PEOPLE, IN_A_ROW = 4, 2
SIDE, GAP, LINE = 152, 12, 20
"""Pixels: of a view, between two people, of a line of text."""
PAGE = (1120, 785)
"""Width and height, in pixels, of what is shown of the page."""
COLOURS = 64
QUALITY = 80


def strips(people: Sequence[Overlay]) -> Image.Image:
    """The first people, `IN_A_ROW` side by side; of each the crop, both policies' meshes and the label's."""
    chosen = people[:PEOPLE]
    width, height = 4 * SIDE + GAP, SIDE + LINE
    sheet = Image.new("RGB", (IN_A_ROW * width - GAP, height * -(-len(chosen) // IN_A_ROW)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for place, person in enumerate(chosen):
        left, top = place % IN_A_ROW * width, place // IN_A_ROW * height
        views = (
            ("picture", None, person.photo),
            ("before", person.before_error_mm, person.before),
            ("after", person.after_error_mm, person.after),
            ("label", None, person.label),
        )
        for column, (words, error, view) in enumerate(views):
            if view is not None:
                shown = Image.fromarray(np.asarray(view)).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
                sheet.paste(shown, (left + column * SIDE, top + LINE))
            text = words if error is None else f"{words}: {error:.0f} mm"
            pen.text((left + (column + 0.5) * SIDE, top + LINE / 2), text, fill="#26323d", font=font, anchor="mm")
    return sheet


def upper_part(page: Path, work: Path) -> Image.Image:
    """What a browser shows of a page without scrolling. ConfigError where there is no Chromium."""
    if CHROMIUM is None:
        raise ConfigError("There is no Chromium on this machine, which the report's picture is taken with: install it.")
    with opened_page(work / "profile", "about:blank") as browser:
        browser.go(page.as_uri())
        browser.until(lambda: bool(browser.value("document.readyState == 'complete' && !!document.images.length")))
        return Image.open(BytesIO(browser.picture(*PAGE))).convert("RGB")


def main(
    store: Annotated[str, typer.Option(help="URL of a store with a reported round.")],
    campaign: Annotated[str, typer.Option(help="Its campaign.")] = "default",
    number: Annotated[int, typer.Option("--round", help="Its round.")] = 1,
    profile: Annotated[str, typer.Option(help="What it ran with, where its report doesn't say.")] = "tiny",
    folder: Annotated[Path, typer.Option(help="Where the pictures go.")] = FOLDER,
) -> None:
    """Write overlays.jpg and report.png. The store is only read."""
    with clear_errors(), tempfile.TemporaryDirectory() as work:
        opened = Store.open(store, create=False)
        facts = read_facts(opened, campaign, number)
        config = read_configuration(opened, facts, PROFILES[profile](campaign=campaign))
        key = facts.key("compare")
        compared = find(opened, key) if key is not None else None
        if compared is None:
            raise DataError(f"Nothing was compared in {facts.title} of {campaign}: name another round.")
        report = fill_round(opened, config, facts, compared.finished_at)
        page = Path(work) / "report.html"
        page.write_text(report_html(report), "utf-8")
        folder.mkdir(parents=True, exist_ok=True)
        strips(report.overlays).save(folder / "overlays.jpg", quality=QUALITY, optimize=True)
        shot = upper_part(page, Path(work)).quantize(COLOURS, dither=Image.Dither.NONE)
        shot.save(folder / "report.png", optimize=True)
        typer.echo(f"wrote overlays.jpg and report.png into {folder}")


if __name__ == "__main__":
    typer.run(main)
