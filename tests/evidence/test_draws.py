"""What draws came to: a row for each that was measured as a whole, the good ones and the bad ones."""

from pathlib import Path
from typing import Any

from schemas.splits import WILD_TEST
from tests.evidence.draws import draw_lines
from tests.evidence.results import Shown, write_result
from tests.evidence.seal import Seal
from tests.evidence.test_results import result


def seal(recipe: str, *seeds: int) -> Seal:
    named: dict[str, Any] = {"domains": "d" * 64, "people": "p", "drawn": "2026-03-14", "commit": "c0ffee"}
    return Seal(profile="micro", seeds=seeds, recipe=recipe * 64, **named)


def test_each_measured_draw_has_a_row(tmp_path: Path) -> None:
    bad, unmeasured, good = seal("a", 101, 102), seal("b", 103, 104), seal("c", 105, 106)
    for draw, gain in ((bad, 3.0), (good, -9.0)):
        for seed in draw.seeds:
            rows = (Shown("zero_noise_mpvpe", "change", *WILD_TEST, "%", gain, 100, None, None),)
            refused = result(seed).aligned.model_copy(update={"promoted": gain < 0})
            write_result(result(seed, recipe=draw.recipe, round_rows=rows, aligned=refused), tmp_path)
    write_result(result(103, recipe=unmeasured.recipe), tmp_path)
    lines = draw_lines([bad, unmeasured, good], tmp_path)
    assert len(lines) == 2 + 2, "half a draw is none"
    assert lines[2].startswith("| 2026-03-14, recipe aaaaaaaaaaaa | 2 | +3.0 % [+3.0 %, +3.0 %] |")
    assert lines[2].endswith("| 0 of 2 | 2 of 2 |")
    assert "| −9.0 % [−9.0 %, −9.0 %] |" in lines[3]
    assert lines[3].endswith("| 2 of 2 | 2 of 2 |")
    assert {line.count("|") for line in lines} == {lines[0].count("|")}
