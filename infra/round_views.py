"""What people ask of rounds, spelled so that it can't be misread.

`round_pairs` are the pairs that a round's policy was trained on. Beside them the table `pairs` has those of the round's
control, drawn at random from the same hypotheses, and pairs that nothing was trained on. The chain of stages tells them
apart: a comparison decided the round, it reads the evaluations of the policy before and of the one after, a training
made that, and read the pairs. In a round of several legs it began with the policy that the leg before has made.
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
WITH RECURSIVE leg(campaign, round, began, policy) AS (
    SELECT decided.campaign, decided.round, before.models[1], after.models[1]
    FROM rounds decided
    JOIN stages compared ON compared.stage_key = decided.stage_key AND compared.stage = 'compare'
    JOIN stages before ON before.stage_key = compared.reads[1]
    JOIN stages after ON after.stage_key = compared.reads[2]
    WHERE decided.event IN ('promoted', 'kept')
    UNION
    SELECT leg.campaign, leg.round, leg.began, training.models[1]
    FROM leg
    JOIN models policy ON policy.digest = leg.policy
    JOIN stages training ON training.stage_key = policy.stage_key AND training.stage = 'align'
    WHERE leg.policy <> leg.began
), trained AS (
    SELECT DISTINCT leg.campaign, leg.round, unnest(training.reads) AS pair_set
    FROM leg
    JOIN models policy ON policy.digest = leg.policy
    JOIN stages training ON training.stage_key = policy.stage_key
    WHERE leg.policy <> leg.began
)
SELECT trained.campaign, trained.round, pairs.* EXCLUDE (round)
FROM pairs JOIN trained ON trained.pair_set = pairs.pair_set"""
