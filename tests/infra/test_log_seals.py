"""Seals of a log's entries: what was sealed fits, nothing else does, and telling it takes no more than the entry."""

import json
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.log_seals import actions_of, breaks_seal, keeps_seal, sealed_lines
from schemas.digests import canonical_json, digest

INFO = {"commitInfo": {"operation": "WRITE", "token": "é"}}
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
ACTIONS = st.lists(st.dictionaries(TEXT, st.one_of(TEXT, st.integers(), st.none()), max_size=3), max_size=4)


def _files(count: int) -> Iterator[dict[str, Any]]:
    for number in range(count):
        path = f"round=1/part-{'a' * 64}-{number}.parquet"
        yield {"add": {"path": path, "stats": canonical_json({"numRecords": 1}), "size": number}}


def _long() -> bytes:
    return sealed_lines(chain([INFO], _files(4000)))


@given(before=ACTIONS, after=ACTIONS)
def test_an_entry_says_what_was_sealed_wherever_its_commit_info_is(before: list[Any], after: list[Any]) -> None:
    actions = [*before, INFO, *after]
    entry = sealed_lines(actions)
    seal = digest(actions)  # as all versions have sealed
    sealed = {"commitInfo": {**INFO["commitInfo"], "sha256": seal}}
    assert entry == "".join(f"{canonical_json(one)}\n" for one in [*before, sealed, *after]).encode()
    assert keeps_seal(entry)
    assert not breaks_seal(entry)
    assert actions_of(entry) == actions


@given(place=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_a_flipped_bit_never_keeps_the_seal(place: int, bit: int) -> None:
    entry = sealed_lines([*_files(2), INFO, *_files(1)])
    flipped = bytearray(entry)
    flipped[place % len(entry)] ^= 1 << bit
    if _said(bytes(flipped)) != _said(entry):  # a blank between two lines, say, changes nothing
        assert not keeps_seal(bytes(flipped))


def _said(entry: bytes) -> object:
    try:
        return [json.loads(line) for line in entry.splitlines()]
    except ValueError:
        return None


@pytest.mark.parametrize("write", [json.dumps, lambda action: json.dumps(action, indent=None, ensure_ascii=False)])
def test_an_entry_that_is_written_otherwise_and_says_the_same_keeps_it(write: Callable[[Any], str]) -> None:
    entry = sealed_lines([INFO, *_files(2)])
    again = "\r\n".join(write(json.loads(line)) for line in entry.splitlines()).encode()
    assert again != entry
    assert keeps_seal(again)
    assert breaks_seal(again.replace(b"numRecords", b"numrecords"))


def test_an_entry_without_a_seal_breaks_none_unless_it_cant_be_read() -> None:
    bare = "".join(f"{canonical_json(one)}\n" for one in [INFO, *_files(2)]).encode()
    assert not breaks_seal(bare)
    assert not keeps_seal(bare)
    assert breaks_seal(bare[:-5])


@pytest.mark.parametrize(("look", "most"), [(keeps_seal, 0.1), (lambda entry: _long(), 1.5)])
def test_what_it_takes_is_no_multiple_of_the_entry(look: Callable[[bytes], object], most: float) -> None:
    entry = _long()
    tracemalloc.start()
    look(entry)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < most * len(entry)
