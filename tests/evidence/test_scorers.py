"""The ablations of HMR-Scorer: each is a training that there is, and the table says what each came to."""

from pathlib import Path

import typer
from typer.testing import CliRunner

from schemas.splits import WILD_TRAIN, WILD_VALIDATION
from tasks.rows.metrics import Metric
from tests.benchmarks.page import write_section
from tests.evidence import scorers
from tests.evidence.scorers import COMMAND, DEFAULT, SECTION, VARIANTS, Ranked, table
from tests.profiles import load_profile


def ranked(spearman: float, area: float) -> Ranked:
    return Ranked(
        Metric("spearman_within_mpvpe", "before", WILD_VALIDATION, "1", spearman, 10, spearman - 0.02, spearman + 0.02),
        Metric("auc", "filter", WILD_TRAIN, "1", area, 10),
    )


def test_each_variant_is_another_training() -> None:
    configs = {title: load_profile("tiny", changes=dict(changes)) for title, changes in VARIANTS.items()}
    trained = [(config.train_scorer, config.scorer) for config in configs.values()]
    assert trained[0] == (load_profile("tiny").train_scorer, load_profile("tiny").scorer)
    assert all(one != other for place, one in enumerate(trained) for other in trained[:place])
    assert all(config.train_base == configs[DEFAULT].train_base for config in configs.values()), "one base policy"


def test_the_table_has_a_row_for_each_and_a_mean_of_several_seeds() -> None:
    of_seed = {DEFAULT: ranked(0.4, 0.99), "no strangers": ranked(0.34, 0.57)}
    alone = table({3: of_seed}).splitlines()
    assert alone[0] == "| trained with one thing changed | Spearman, seed 3 | AUC, seed 3 |"
    assert alone[3] == "| no strangers | 0.340 [0.320, 0.360] | 0.570 |"
    both = table({3: of_seed, 4: {DEFAULT: ranked(0.44, 0.97), "no strangers": ranked(0.36, 0.59)}}).splitlines()
    assert both[2].startswith(f"| {DEFAULT} | 0.400 [0.380, 0.420] | 0.440 [0.420, 0.460] | 0.420 [")
    assert both[3].split(" | ")[3].startswith("0.350 [")


def test_the_page_has_the_place_of_the_table(tmp_path: Path) -> None:
    page = tmp_path / "scorer.md"
    page.write_bytes((Path(__file__).parents[2] / "docs/scorer.md").read_bytes())
    write_section(SECTION, table({3: {DEFAULT: ranked(0.4, 0.99)}}), page, COMMAND)
    assert "\n| the default | 0.400 [0.380, 0.420] | 0.990 |\n" in page.read_text("utf-8")


def test_a_variant_that_there_is_not_is_refused_before_anything_runs() -> None:
    app = typer.Typer()
    app.command()(scorers.main)
    found = CliRunner().invoke(app, ["--variants", "the default,with a hat"])
    assert found.exit_code != 0
    assert "--variants with a hat: there are the default, no strangers," in found.output
