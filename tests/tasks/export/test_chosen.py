"""Which pairs, labels and people an export takes."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from infra.stages import StageSpec, commit_rows
from infra.store import Store
from schemas.errors import DataError
from tasks.export.chosen import Selection, choose_labels, choose_pairs, ingests_of, pair_rows, people_rows
from tests.samples.truth import true_people
from tests.tasks.export import tables

PEOPLE = true_people(2)
COLUMNS = ["instance_id", "pair_set"]


def stage(
    store: Store,
    name: str,
    reads: tuple[str, ...] = (),
    rows: dict[str, pa.Table] | None = None,
    campaign: str = "mine",
    number: int | None = None,
    **config: Any,
) -> str:
    spec = StageSpec(name, 1, config, reads=reads, campaign=campaign, in_round=number)
    commit_rows(store, spec, {table: made.drop_columns(["stage_key"]) for table, made in (rows or {}).items()})
    return spec.key


def pairs(store: Store, reads: tuple[str, ...], strategy: str, **settings: Any) -> str:
    return stage(store, "pair", reads, {"pairs": tables.pairs(PEOPLE)}, pair={"strategy": strategy}, **settings)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


@pytest.fixture
def generated(store: Store) -> tuple[str, str]:
    """An ingest, and a stage that read it."""
    people = stage(store, "ingest", rows={"instances": tables.instances(PEOPLE), "images": tables.images(PEOPLE)})
    return people, stage(store, "generate", (people,))


def test_the_newest_pairs_but_not_the_control(store: Store, generated: tuple[str, str]) -> None:
    people, hypotheses = generated
    first = pairs(store, (hypotheses,), "top_bottom", number=1)
    pairs(store, (hypotheses,), "random", number=1)
    second = pairs(store, (hypotheses,), "top_bottom", number=2, seed=2)
    control = pairs(store, (hypotheses,), "random", number=2, seed=2)
    pairs(store, (hypotheses,), "top_bottom", campaign="other", seed=3)
    assert choose_pairs(store, Selection("mine")).key == second
    assert choose_pairs(store, Selection("mine", round=1)).key == first
    named = choose_pairs(store, Selection("any", control[:16]))
    assert named.key == control
    assert named.ingests == (people,)
    assert choose_pairs(store, Selection("mine", dataset="mine", split="train", round=1)).key == first
    for selection in (
        Selection("none"),
        Selection("mine", round=3),
        Selection("mine", "abcdef"),
        Selection("mine", dataset="mine", split="test"),
    ):
        with pytest.raises(DataError, match=r"The newest are: .*campaign other"):
            choose_pairs(store, selection)
    with pytest.raises(DataError, match="5 sets of pairs have keys that begin with : give more"):
        choose_pairs(store, Selection("mine", ""))


def test_random_pairs_alone_are_meant(store: Store, generated: tuple[str, str]) -> None:
    alone = pairs(store, (generated[1],), "random")
    assert choose_pairs(store, Selection("mine")).key == alone


def test_rows_of_the_wanted_split(store: Store, generated: tuple[str, str]) -> None:
    pairs(store, (generated[1],), "top_bottom")
    selection = Selection("mine", dataset="mine", split="train")
    chosen = choose_pairs(store, selection)
    assert sum(map(len, pair_rows(store, chosen, selection, COLUMNS))) == 4
    assert len(people_rows(store, chosen, selection, ["crop"])) == 2
    # a data set whose name begins like this one's is another
    assert not len(people_rows(store, chosen, Selection("mine", dataset="min"), ["crop"]))


def test_labels_of_the_newest_cleaning_round_or_of_an_ingest(store: Store, generated: tuple[str, str]) -> None:
    people, _ = generated
    with pytest.raises(DataError, match="No cleaning round has kept labels in campaign mine"):
        choose_labels(store, Selection("mine"))
    guessed = stage(store, "pseudo_label", (people,))
    kept = [stage(store, "keep", (guessed,), {"labels": tables.labels(PEOPLE)}, number=n, n=n) for n in (1, 2)]
    assert choose_labels(store, Selection("mine")).key == kept[1]
    stage(store, "keep", (guessed,), number=3, n=3)  # of a round whose filter kept nothing
    assert choose_labels(store, Selection("mine")).key == kept[1]
    chosen = choose_labels(store, Selection("mine", round=1))
    assert (chosen.key, chosen.ingests) == (kept[0], (people,))
    assert choose_labels(store, Selection("mine", dataset="mine", split="train")).key == people
    with pytest.raises(DataError, match="ingested are: mine/train"):
        choose_labels(store, Selection("mine", dataset="mine", split="test"))


def test_a_cleaning_round_gives_what_it_learned_from_and_not_its_controls(
    store: Store, generated: tuple[str, str]
) -> None:
    people, _ = generated
    brought, own = (stage(store, "given_labels" if n else "pseudo_label", (people,), n=n) for n in (1, 0))
    labels = {"labels": tables.labels(PEOPLE)}
    stage(store, "keep", (brought, "s"), labels, number=1, keep_share=0.5)
    main = stage(store, "keep", (brought, "s"), labels, number=1, keep_share=0.7)  # said anew when the round went on
    stage(store, "keep", (brought, "s", main), labels, number=1, filter="random")
    stage(store, "keep", (own, "t"), labels, number=1, keep_share=0.7)
    assert choose_labels(store, Selection("mine")).key == main
    assert choose_labels(store, Selection("mine", round=1)).key == main
    at_random = stage(store, "keep", (brought, "s"), labels, number=2, filter="random", seed=1)
    assert choose_labels(store, Selection("mine")).key == at_random, "there is no other of this round"


def test_ingests_are_found_through_all_that_was_read(store: Store, generated: tuple[str, str]) -> None:
    people, hypotheses = generated
    other = stage(store, "ingest_hypotheses", rows={"instances": tables.instances(true_people(1, split="test"))})
    scores = stage(store, "score", (hypotheses, people))
    assert ingests_of(store, stage(store, "pair", (hypotheses, scores, other))) == [other, people]
    assert ingests_of(store, "f" * 64) == []
