"""What commands print at the end of a round, and of one that is looked at later."""

from pathlib import Path

import pytest

from flows.cli.show.summary import print_summary
from infra.store import Store
from schemas.profiles import tiny
from tasks.report.facts import RoundFacts

KEPT = RoundFacts("dpo", "c", 1, "a" * 64, "b" * 64, "a" * 64, "s" * 64, ())


def test_what_comes_next_is_the_campaigns_next_round(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store.open(tmp_path / "store")
    for coming, number in ((None, 2), (4, 4)):
        print_summary(store, tiny(), KEPT, ["--store", "s"], coming)
        next_line = capsys.readouterr().out.splitlines()[-1]
        assert f"`adhmr run --store s` or `adhmr clean --store s` for round {number};" in next_line


def test_a_campaign_that_nothing_typed_leads_to_is_not_continued_by_the_default(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    print_summary(Store.open(tmp_path / "store"), tiny(), KEPT, None, 2)
    next_line = capsys.readouterr().out.splitlines()[-1]
    assert "`adhmr run` with the --config or the options of campaign c, for round 2" in next_line
    assert "adhmr clean" not in next_line
