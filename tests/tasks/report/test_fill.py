"""What the page says of a round's pairs: how they were chosen, in the words of their strategy."""

from pathlib import Path

import pytest

from infra.stages import StageSpec, commit_rows
from infra.store import Store
from schemas.config.stages import PairConfig
from tasks.pairing.strategies import STRATEGIES
from tasks.report.facts import RoundFacts, StageRun
from tasks.report.fill import _counts, _margins
from tests.samples.truth import true_people
from tests.tasks.export import tables


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_pairs_are_told_in_the_words_of_their_strategy(strategy: str, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    spec = StageSpec("pair", 1, {"pair": PairConfig(strategy=strategy), "shard_size": 2})
    commit_rows(store, spec, {"pairs": tables.pairs(true_people(2)).drop_columns(["stage_key"])})
    run = StageRun("pair", "", spec.key, "done")
    facts = RoundFacts("dpo", "c", 1, "a" * 64, "b" * 64, "a" * 64, "s" * 64, (run,))
    said = STRATEGIES[strategy].sentence
    assert [row.note.partition(";")[0] for row in _counts(store, facts) if row.name == "pairs"] == [said]
    margins = _margins(store, facts)
    assert margins is not None
    assert margins.note == said
