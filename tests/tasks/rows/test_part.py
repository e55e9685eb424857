"""Parts of people: by picture, about as many as asked for, whoever else is there."""

import pytest

from schemas.errors import DataError
from schemas.splits import SCORER_TRAIN, WILD_TRAIN
from tasks.rows.instances import instance_ids, labelled_crops
from tasks.rows.mix import Mix
from tasks.rows.part import JUDGES_HALF, SCORERS_HALF, Part, counting
from tests.tasks import micro
from tests.tasks.conftest import MicroStore

PEOPLE = [f"mine/train/{picture:05d}.jpg#{person}" for picture in range(1000) for person in range(2)]


def test_nobody_is_in_two_parts_and_nobody_in_none() -> None:
    halves = [set(part.of(PEOPLE)) for part in (SCORERS_HALF, JUDGES_HALF)]
    assert halves[0] | halves[1] == set(PEOPLE)
    assert not halves[0] & halves[1]
    pictures = [{name.partition("#")[0] for name in half} for half in halves]
    assert not pictures[0] & pictures[1], "people of one picture are together"
    assert abs(len(halves[0]) - 1000) < 100
    fifth = Part(0.0, 0.2).of(PEOPLE)
    assert abs(len(fifth) - 400) < 80
    assert set(fifth) < halves[0], "a judge sees nobody whom it was trained on"


def test_parts_that_touch_share_nobody() -> None:
    assert not SCORERS_HALF.overlaps(JUDGES_HALF)
    assert not JUDGES_HALF.overlaps(SCORERS_HALF)
    assert Part(0.0, 0.2).overlaps(SCORERS_HALF)
    assert Part(0.4, 0.6).overlaps(JUDGES_HALF)
    assert JUDGES_HALF.overlaps(Part(0.4, 0.6))


def test_where_a_person_is_depends_on_nobody_else_and_stays_so() -> None:
    assert Part(0.0, 0.2).of(reversed(PEOPLE)) == list(reversed(Part(0.0, 0.2).of(PEOPLE)))
    assert Part(0.0, 0.2).of(PEOPLE[:100]) == [name for name in Part(0.0, 0.2).of(PEOPLE) if name in PEOPLE[:100]]
    # a store that has begun knows these: they may not change
    first = [f"mine/train/{picture:05d}.jpg#{person}" for picture in (4, 5, 6, 9, 11, 16) for person in (0, 1)]
    assert Part(0.0, 0.1).of(PEOPLE[:40]) == first


def test_the_store_gives_the_people_of_a_part(shared_micro_store: MicroStore) -> None:
    store, keys = shared_micro_store.store, [shared_micro_store.ingest_key]
    whole = instance_ids(store, keys, [SCORER_TRAIN, WILD_TRAIN])
    parts = [instance_ids(store, keys, [SCORER_TRAIN, WILD_TRAIN], part) for part in (SCORERS_HALF, JUDGES_HALF)]
    assert sorted(parts[0] + parts[1]) == whole
    mix = micro.of(shared_micro_store.ingest_key, SCORER_TRAIN)
    counts = [len(labelled_crops(store, mix._replace(part=part)).crops) for part in (SCORERS_HALF, JUDGES_HALF)]
    assert sum(counts) == micro.COUNTS[SCORER_TRAIN]
    assert min(counts) > 0
    with pytest.raises(DataError, match=r"Of the 24 people of wild/train nobody is in the part from 0 to 0.001 of its"):
        instance_ids(store, keys, [WILD_TRAIN], Part(0.0, 0.001))


def test_what_a_part_counts_for() -> None:
    assert counting(None) == {}
    assert counting(JUDGES_HALF) == {"part": JUDGES_HALF}
    one, two = (Mix((), targets, (1.0,) * len(targets)) for targets in ((WILD_TRAIN,), (WILD_TRAIN, SCORER_TRAIN)))
    assert one.key() == "wild/train", "as ever"
    assert one._replace(part=JUDGES_HALF).key() == {"of": "wild/train", "part": (0.5, 1.0)}
    assert two._replace(part=JUDGES_HALF).key() == {"of": two.key(), "part": (0.5, 1.0)}
    # whose inputs decide who is there, need no word of it
    assert two._replace(part=JUDGES_HALF).named_if_several("people") == two.named_if_several("people")
