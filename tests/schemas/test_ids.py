"""Ids survive the way there and back, and what can't be one is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import DataError
from schemas.ids import image_id, instance_id, parse_image_id, parse_instance_id

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,20}", fullmatch=True)
keys = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="#"), min_size=1, max_size=40).filter(
    lambda text: not text.startswith("/") and text == text.strip()
)


@given(names, names, keys, st.integers(0, 9_999_999))
def test_round_trip(dataset: str, split: str, key: str, person: int) -> None:
    image = image_id(dataset, split, key)
    parsed = parse_instance_id(instance_id(image, person))
    assert (parsed.image.dataset, parsed.image.split, parsed.image.key, parsed.person) == (dataset, split, key, person)
    assert parse_image_id(image) == parsed.image


def test_a_key_may_hold_slashes() -> None:
    assert parse_image_id("d/s/a/b c.jpg").key == "a/b c.jpg"


@pytest.mark.parametrize(
    ("dataset", "split", "key"),
    [
        ("", "s", "k"),
        ("d/e", "s", "k"),
        ("d", "s=1", "k"),
        ("d", "s", ""),
        ("d", "s", "a#b"),
        ("d", "s", "/k"),
        ("d", "s", "a\nb"),
    ],
)
def test_bad_parts_are_refused(dataset: str, split: str, key: str) -> None:
    with pytest.raises(DataError):
        image_id(dataset, split, key)


@pytest.mark.parametrize("text", ["", "d/s", "d/s/k", "d/s/k#", "d/s/k#-1", "d/s/k#01", "d/s/k#x", "d/s/#0"])
def test_what_is_no_instance_id(text: str) -> None:
    with pytest.raises(DataError):
        parse_instance_id(text)


def test_negative_person() -> None:
    with pytest.raises(DataError, match="count from 0"):
        instance_id("d/s/k", -1)
