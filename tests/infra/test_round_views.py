"""The view round_pairs: what a round's policy was trained on, and nothing else that lies in `pairs`."""

from datetime import UTC, datetime
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from infra import rounds
from infra.stages import StageSpec, commit_rows
from infra.store import Store
from infra.views import query, write_views_sql
from schemas.tables import build

SQL = "SELECT campaign, round, count(*) AS pairs, avg(margin) AS margin FROM round_pairs GROUP BY ALL ORDER BY ALL"


def make_pairs(store: Store, name: str, margins: list[float], strategy: str = "top_bottom") -> str:
    spec = StageSpec("pair", 1, {"name": name})
    many = len(margins)
    joints, twists, betas = (np.zeros((many, length)) for length in (87, 46, 10))
    rows = build(
        "pairs",
        {
            "pair_set": spec.key,
            "instance_id": [f"wild/train/{number}#0" for number in range(many)],
            "generation_id": "g",
            "winner": [0] * many,
            "loser": [1] * many,
            "margin": margins,
            "strategy": strategy,
            **{f"{who}_uvd": joints for who in ("winner", "loser")},
            **{f"{who}_twist": twists for who in ("winner", "loser")},
            **{f"{who}_betas": betas for who in ("winner", "loser")},
            "dataset": "wild",
            "round": [7] * many,
            "stage_key": spec.key,
        },
    )
    commit_rows(store, spec, {"pairs": rows})
    return spec.key


def train(store: Store, pair_set: str, policy: str, began: str = "base") -> None:
    spec = StageSpec("align", 1, {}, reads=("people", pair_set), models=(began, "reference"))
    row = {"digest": policy, "kind": "policy", "uri": "x", "config_digest": "0", "config_json": "{}"}
    models = build(
        "models",
        {name: [value] for name, value in row.items()}
        | {"parents": [["base"]], "stage_key": [spec.key], "created_at": [datetime.now(UTC)]},
    )
    commit_rows(store, spec, {"models": models})


def compared(store: Store, policy: str, before: str = "base") -> str:
    keys = []
    for which in (before, policy):
        spec = StageSpec("evaluate", 1, {}, models=(which, "scorer"))
        commit_rows(store, spec, {})
        keys.append(spec.key)
    spec = StageSpec("compare", 1, {"control": 1}, reads=(*keys, "control"))
    commit_rows(store, spec, {})
    return spec.key


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Round 1 kept the old policy, round 2 promoted; a second campaign found round 2 done; round 3 trained nothing."""
    made = Store.open(tmp_path / "store")
    for campaign in ("a", "b"):
        rounds.begin(made, campaign, "base")
    for number, policy in ((1, "p1"), (2, "p2")):
        train(made, make_pairs(made, policy, [0.1 * number, 0.3 * number]), policy)
        train(made, make_pairs(made, f"control {policy}", [-9.0, 9.0, 9.0], "random"), f"control of {policy}")
        rounds.open_round(made, "a", number, "dpo round")
        decide = rounds.keep if number == 1 else lambda *words: rounds.promote(*words[:3], "p2", *words[3:])
        decide(made, "a", number, "why", compared(made, policy))
        rounds.close_round(made, "a", number)
    rounds.open_round(made, "b", 1, "dpo round")
    rounds.promote(made, "b", 1, "p2", "all gates hold", compared(made, "p2"))
    make_pairs(made, "too few", [5.0])
    rounds.open_round(made, "a", 3, "dpo round")
    rounds.keep(made, "a", 3, "too few pairs", None)
    return made


def test_a_round_of_several_legs_has_the_pairs_of_each(store: Store) -> None:
    """Its first leg begins with what another round has promoted, whose pairs are that round's."""
    train(store, make_pairs(store, "first leg", [0.5]), "half", "p2")
    train(store, make_pairs(store, "second leg", [0.1, 0.3]), "whole", "half")
    rounds.begin(store, "c", "p2")
    rounds.open_round(store, "c", 1, "dpo round")
    rounds.promote(store, "c", 1, "whole", "why", compared(store, "whole", "p2"))
    rows = told([tuple(row.values()) for row in query(store, SQL).to_pylist()])
    assert rows[1:] == [("a", 2, 2, 0.4), ("b", 1, 2, 0.4), ("c", 1, 3, 0.3)]


def told(rows: list[tuple[str, int, int, float]]) -> list[tuple[str, int, int, float]]:
    return [(campaign, number, pairs, round(margin, 6)) for campaign, number, pairs, margin in rows]


def test_only_what_was_trained_on(store: Store) -> None:
    expected = [("a", 1, 2, 0.2), ("a", 2, 2, 0.4), ("b", 1, 2, 0.4)]
    assert told([tuple(row.values()) for row in query(store, SQL).to_pylist()]) == expected
    with duckdb.connect() as plain:
        plain.execute(Path(write_views_sql(store)).read_text())
        assert told(plain.execute(SQL).fetchall()) == expected


def test_its_columns_are_those_of_pairs_under_the_campaigns_round(store: Store) -> None:
    rows = query(store, "SELECT * FROM round_pairs WHERE campaign = 'a' AND round = 2")
    assert isinstance(rows, pa.Table)
    known = query(store, "SELECT * FROM pairs").column_names
    assert sorted(rows.column_names) == sorted([*known, "campaign"])
    assert rows.column_names[:3] == ["campaign", "round", "pair_set"]


def test_a_store_without_rounds_has_none(tmp_path: Path) -> None:
    assert query(Store.open(tmp_path / "new"), "SELECT count(*) AS n FROM round_pairs").to_pylist() == [{"n": 0}]
