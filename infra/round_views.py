"""What people ask of rounds, spelled so that it can't be misread.

`round_pairs` are the pairs that a round's policy was trained on. Beside them the table `pairs` has those of the round's
control, drawn at random from the same hypotheses, and pairs that nothing was trained on. The chain of stages tells them
apart: a comparison decided the round, it reads the evaluation of a policy, a training made that, and read the pairs.
"""

from typing import Final

ROUND_PAIRS: Final = "round_pairs"
READABLE: Final = {"rounds": ', "at" AS happened_at'}
"""What is added to a table's view: `at` is a reserved word in DuckDB 2."""
UNDER_ROUND_PAIRS: Final = frozenset({"pairs", "rounds", "stages", "models"})
"""The views that `round_pairs` is made of."""


def round_pairs_view() -> str:
    """The SQL that makes the view `round_pairs`, over the views of the tables."""
    return f"""CREATE OR REPLACE VIEW {ROUND_PAIRS} AS
WITH trained AS (
    SELECT DISTINCT decided.campaign, decided.round, unnest(training.reads) AS pair_set
    FROM rounds decided
    JOIN stages compared ON compared.stage_key = decided.stage_key AND compared.stage = 'compare'
    JOIN stages evaluated ON evaluated.stage_key = compared.reads[2]
    JOIN models policy ON policy.digest = evaluated.models[1]
    JOIN stages training ON training.stage_key = policy.stage_key
    WHERE decided.event IN ('promoted', 'kept')
)
SELECT trained.campaign, trained.round, pairs.* EXCLUDE (round)
FROM pairs JOIN trained ON trained.pair_set = pairs.pair_set"""
