"""Digests: equal for equal things, different for different ones, the same in every process."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from schemas.config.base import Config, setting
from schemas.config.stages import IngestConfig
from schemas.digests import canonical_json, code_digest, digest, state_digest

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


class Some(BaseModel):
    width: int = 3
    rate: float = 0.1


@given(st.dictionaries(st.text(), plain, max_size=5))
def test_order_of_keys_does_not_count(value: dict[str, object]) -> None:
    assert canonical_json(dict(reversed(value.items()))) == canonical_json(value)


def test_values_count() -> None:
    assert len({digest(value) for value in (1, 1.0, "1", True, None, [1], {"a": 1})}) == 7


def test_config_counts_its_defaults() -> None:
    assert digest(Some()) == digest(Some(width=3)) == digest({"rate": 0.1, "width": 3})
    assert digest(Some()) != digest(Some(width=4))


class Grown(Config):
    """A configuration that a field was added to."""

    width: int = setting(3, "width", "1")
    limit: float = setting(0.5, "came later", "1", later=True)


class Renamed(Config):
    """A configuration whose field got another name."""

    breadth: int = setting(3, "width", "1", formerly="width")


class Around(Config):
    inner: Grown = setting(Grown(), "another configuration", "-")


def test_a_field_that_came_later_counts_where_it_is_not_the_default() -> None:
    assert digest(Grown()) == digest({"width": 3})
    assert digest(Around()) == digest({"inner": {"width": 3}})
    assert digest(Grown(limit=0.4)) == digest({"width": 3, "limit": 0.4})
    assert digest(Around(inner=Grown(limit=0.4))) != digest(Around())
    assert canonical_json({"ingest": Grown()}) == '{"ingest":{"width":3}}'


def test_a_field_that_was_renamed_counts_and_is_read_by_its_first_name() -> None:
    assert digest(Renamed()) == digest({"width": 3})
    assert Renamed.model_validate({"width": 5}) == Renamed(breadth=5)
    assert digest(Renamed(breadth=5)) == digest({"width": 5})
    with pytest.raises(ValidationError, match="breath"):
        Renamed.model_validate({"breath": 5})


def test_a_copy_takes_fields_alone() -> None:
    assert Renamed().model_copy(update={"breadth": 4}).breadth == 4
    with pytest.raises(TypeError, match="Renamed has no field width"):
        Renamed().model_copy(update={"width": 4})


def test_ingests_of_older_stores_keep_their_keys() -> None:
    assert digest(IngestConfig()) == "fa0895ddaa32f729b75a84330cf184cbb588dd37c2db3bfc5caf7c901b268bc2"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1: 2}, object(), {"a": {1, 2}}])
def test_what_json_cannot_hold(value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        digest(value)


def test_state_digest_ignores_order_and_layout_only() -> None:
    weights = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(2)}
    same = {"b": np.ones(2), "a": np.asfortranarray(weights["a"])}
    assert state_digest(weights) == state_digest(same)
    others = [
        {**weights, "a": weights["a"].reshape(3, 2)},
        {**weights, "b": np.ones(2, dtype=np.float32)},
        {**weights, "b": np.array([1.0, 1.0 + 1e-15])},
        {"a": weights["a"], "c": weights["b"]},
    ]
    assert len({state_digest(weights), state_digest(weights, about={"x": 1}), *map(state_digest, others)}) == 6


def test_digests_are_the_same_in_another_process() -> None:
    code = "from schemas.digests import *; print(digest({'b': [1, 'ü'], 'a': None}))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert out == digest({"a": None, "b": [1, "ü"]})


def test_code_digest_sees_sources_and_nothing_else(tmp_path: Path) -> None:
    seen = []
    changes = [
        ("infra/a.py", "1"),
        ("infra/b/c.py", "1"),
        ("infra/a.txt", "1"),
        ("docs/d.py", "1"),
        ("infra/a.py", "2"),
    ]
    for name, text in changes:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
        code_digest.cache_clear()
        seen.append(code_digest(tmp_path))
    assert seen[1] == seen[2] == seen[3]
    assert len(set(seen)) == 3
    assert len(code_digest()) == 64
