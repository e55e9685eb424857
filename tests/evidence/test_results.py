"""Results of seeds as files: read as they were written, refused where they are of something else, measured once."""

from pathlib import Path
from typing import Any

import pytest

from schemas.errors import ConfigError, DamagedError
from schemas.splits import WILD_TEST
from tasks.rows.metrics import Metric
from tests.evidence import __main__ as evidence
from tests.evidence.results import Sealing, SeedEvidence, Shown, Told, read_result, result_file, write_result

SEALING = Sealing("r" * 64, "d" * 64)
_ROUND = Told(
    promoted=True, why="all gates hold", policy_before="a", policy_after="b", scorer="c", pairs="p", comparison="q"
)


def result(seed: int, **changes: Any) -> SeedEvidence:
    plain: dict[str, Any] = {
        "profile": "micro",
        "seed": seed,
        "recipe": SEALING.recipe,
        "domains": SEALING.domains,
        "commit": "c0ffee",
        "measured": "2026-03-14",
        "machine": {"processor": "abacus"},
        "aligned": _ROUND,
        "cleaned": _ROUND,
        "controls": ("x", "y"),
        "round_rows": (Shown("zero_noise_mpvpe", "change", *WILD_TEST, "%", -5.25 - seed, 100, -6.0, -4.0),),
        "control_rows": (Shown("energy_score", "change", *WILD_TEST, "%", -3.0, 100, None, None),),
        "clean_rows": (),
        "filter_rows": (),
        "seconds": {"synthesize": 4.0},
    }
    return SeedEvidence(**{**plain, **changes})


def test_what_is_written_is_read(tmp_path: Path) -> None:
    one = result(7)
    file = write_result(one, tmp_path / "results")
    assert file == result_file(tmp_path / "results", "micro", 7)
    assert read_result(tmp_path / "results", "micro", 7, SEALING) == one
    assert read_result(tmp_path / "results", "micro", 8, SEALING) is None
    assert [path.name for path in file.parent.iterdir()] == [file.name], "nothing unfinished is left"
    assert sum("mpvpe" in line for line in file.read_text("utf-8").splitlines()) == 1, "a line for each metric"


def test_metrics_come_back_by_name_role_and_split() -> None:
    key = ("zero_noise_mpvpe", "change", WILD_TEST)
    assert result(1).all_metrics[key] == Metric(*key, "%", -6.25, 100, -6.0, -4.0)
    assert ("energy_score", "change", WILD_TEST) in result(1).all_metrics
    assert ("energy_score", "change", WILD_TEST) not in result(1).aligned_metrics


@pytest.mark.parametrize("sealing", [Sealing("x" * 64, "d" * 64), Sealing("r" * 64, "x" * 64)])
def test_results_of_another_recipe_or_domain_are_refused(tmp_path: Path, sealing: Sealing) -> None:
    write_result(result(7), tmp_path)
    with pytest.raises(ConfigError, match="another recipe or other domains"):
        read_result(tmp_path, "micro", 7, sealing)


@pytest.mark.parametrize("text", ["", "{}", '{"seed": 7}'])
def test_a_file_that_holds_no_results_is_named(tmp_path: Path, text: str) -> None:
    result_file(tmp_path, "micro", 7).write_text(text)
    with pytest.raises(DamagedError, match=r"micro-7\.json holds no results"):
        read_result(tmp_path, "micro", 7, SEALING)


def test_seeds_are_measured_once_and_some_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measured: list[int] = []

    def measure(folder: Path, profile: str, seed: int, sealing: Sealing) -> SeedEvidence:
        measured.append(seed)
        return result(seed, recipe=sealing.recipe, domains=sealing.domains)

    monkeypatch.setattr(evidence, "_measured", measure)
    monkeypatch.setattr(evidence, "quiet_start", lambda: None)
    monkeypatch.setattr(evidence, "evidence_page", lambda found, *_: f"{[one.seed for one in found]}")
    monkeypatch.setattr(evidence, "readme_table", lambda found, *_: "the table")
    page, readme = tmp_path / "evidence.md", tmp_path / "README.md"
    readme.write_text("<!-- evidence: written by `make evidence` -->\n\nold\n\n<!-- evidence: end -->\n")

    def run(at_most: int | None) -> str:
        evidence.main(tmp_path, "3,1,2", "micro", page, readme, at_most)
        return capsys.readouterr().out

    assert "1 of 3 seeds are measured" in run(1)
    assert not page.exists()
    assert "wrote" in run(None)
    assert measured == [1, 2, 3]
    assert page.read_text() == "[1, 2, 3]"
    assert "the table" in readme.read_text()
    run(None)
    assert measured == [1, 2, 3]


def test_the_pages_are_what_the_results_of_the_sealed_seeds_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody wrote into docs/evidence.md or README's table by hand, and results were not left out of them."""

    def measure(*_: object) -> SeedEvidence:
        raise AssertionError("a sealed seed has no results in the repository")

    for name, instead in (("_measured", measure), ("quiet_start", lambda: None), ("write_seals", lambda *_: None)):
        monkeypatch.setattr(evidence, name, instead)
    page, readme = tmp_path / "evidence.md", tmp_path / "README.md"
    readme.write_text(Path("README.md").read_text(encoding="utf-8"), encoding="utf-8")
    evidence.main(tmp_path, None, None, page, readme, None)
    for written in (page, readme):
        kept = next(path for path in (Path("docs") / written.name, Path(written.name)) if path.exists())
        assert written.read_text(encoding="utf-8") == kept.read_text(encoding="utf-8"), f"{kept}: make evidence"
