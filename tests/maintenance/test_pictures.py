"""The pictures of README.md, on rounds that never happened."""

from pathlib import Path

import numpy as np
import pytest

from tasks.report.page import report_html
from tests.flows.serve.browser import CHROMIUM
from tests.maintenance.pictures import GAP, LINE, PAGE, SIDE, strips, upper_part
from tests.tasks.report import invented


def test_the_first_people_stand_in_rows() -> None:
    people = invented.dpo_round().overlays
    sheet = np.asarray(strips(people))
    assert sheet.shape == (2 * (SIDE + LINE), 2 * (4 * SIDE + GAP) - GAP, 3)
    assert (sheet[:LINE] < 128).any(), "nothing is written above the views"
    assert (sheet[:, 4 * SIDE : 4 * SIDE + GAP] == 255).all(), "people run into each other"
    assert strips(people[:1]).height == SIDE + LINE


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_page_is_taken_from_its_top(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text(report_html(invented.dpo_round()), "utf-8")
    shot = np.asarray(upper_part(page, tmp_path))
    assert shot.shape == (PAGE[1], PAGE[0], 3)
    assert (shot[:120] < 100).any(), "the title is not there"
