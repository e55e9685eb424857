"""Work lists by each sampling, and back from a file that was filled in: what is wrong in it costs its line alone."""

from pathlib import Path

import pytest

from infra.reviews import PairName, Review, add, history, latest, withdraw
from infra.store import Store
from schemas.errors import ConfigError, DataError
from schemas.ids import StageKey
from tasks.review.worklist import COLUMNS, find_pairs, import_csv, sample, say, to_csv
from tests.infra.reviewing import PEOPLE, store_with_pairs

Made = tuple[Store, list[PairName]]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return store_with_pairs(tmp_path / "store")


def listed(made: Made, how: str, count: int = 3, reviewer: str | None = None) -> list[str]:
    rows = sample(made[0], StageKey(made[1][0].stage_key), how, count, reviewer)
    assert rows.column_names == list(COLUMNS)
    return [str(name) for name in rows.column("pair").to_pylist()]


def test_each_sampling_has_its_own_order(made: Made) -> None:
    _, pairs = made
    digests = [pair.digest for pair in pairs]
    assert listed(made, "uncertain") == digests[:3]
    assert listed(made, "worst") == digests[::-1][:3]
    assert listed(made, "random", PEOPLE) == sorted(digests)
    assert len(listed(made, "random", 1000)) == PEOPLE
    with pytest.raises(ConfigError, match="There is no sampling 'best'; there are uncertain, random, worst"):
        listed(made, "best")
    with pytest.raises(ConfigError, match="at least 1"):
        listed(made, "worst", 0)


def test_what_was_judged_is_not_listed_again_but_to_another_reviewer(made: Made) -> None:
    store, pairs = made
    add(store, [Review(pairs[0], "anna", "accept")])
    assert listed(made, "uncertain")[0] == pairs[1].digest
    assert listed(made, "uncertain", reviewer="anna")[0] == pairs[1].digest
    assert listed(made, "uncertain", reviewer="ben")[0] == pairs[0].digest


def test_pairs_are_found_by_the_beginnings_of_their_digests(made: Made) -> None:
    store, pairs = made
    short, whole = pairs[0].digest[:8], pairs[1].digest
    found = find_pairs(store, [short, whole, whole.upper(), "abc", "0" * 64])
    assert (found[short], found[whole], found[whole.upper()]) == (pairs[0], pairs[1], pairs[1])
    assert "give 6 digits at least" in str(found["abc"])
    assert "there is no pair" in str(found["0" * 64])


def test_a_list_that_was_filled_in_is_taken_once(made: Made) -> None:
    store, pairs = made
    rows = sample(store, StageKey(pairs[0].stage_key), "uncertain", 4)
    lines = to_csv(rows).splitlines()
    filled = [lines[0], f"{lines[1][:-2]}accept,anna,", f'{lines[2][:-2]}SWAP,,"arm, left"', lines[3], lines[4]]
    data = "\n".join(filled).encode()
    first = import_csv(store, data, "list.csv", "ben")
    assert (first.written, first.known, first.empty, first.refused) == (2, 0, 2, ())
    assert latest(store)[pairs[0].digest]["anna"].verdict == "accept"
    assert latest(store)[pairs[1].digest]["ben"].note == "arm, left"
    again = import_csv(store, data, "list.csv", "ben")
    assert (again.written, again.known) == (0, 2)


def test_a_reviewer_may_change_their_mind_and_back(made: Made) -> None:
    store, pairs = made
    done = [say(store, pairs[0], "anna", verdict, "") for verdict in ("accept", "accept", "swap", "accept")]
    assert done == [True, False, True, True]
    assert latest(store)[pairs[0].digest]["anna"].verdict == "accept"


def test_what_was_taken_back_may_be_said_again(made: Made) -> None:
    store, pairs = made
    for _ in range(2):
        assert say(store, pairs[0], "anna", "accept", "")
        assert withdraw(store, "anna") is not None
    assert say(store, pairs[0], "anna", "accept", "")
    assert latest(store)[pairs[0].digest]["anna"].verdict == "accept"
    assert len(history(store)) == 5
    assert withdraw(store, "anna") is not None
    data = f"pair,verdict\n{pairs[0].digest},accept\n".encode()
    assert [import_csv(store, data, "list.csv", "anna").written for _ in range(2)] == [1, 0]


def test_an_id_makes_a_verdict_count_once_whatever_is_said_after_it(made: Made) -> None:
    store, pairs = made
    assert say(store, pairs[0], "anna", "accept", "", blind=True, review_id="form")
    assert say(store, pairs[0], "anna", "swap", "")
    assert not say(store, pairs[0], "anna", "accept", "", blind=True, review_id="form")
    assert latest(store)[pairs[0].digest]["anna"].verdict == "swap"
    assert history(store)[0].review.blind


def test_a_bad_line_costs_itself_alone(made: Made) -> None:
    store, pairs = made
    data = (
        "\ufeffPair;Verdict;Reviewer;Seconds\n"
        f"{pairs[0].digest};accept;anna;2.5\n"
        f"{pairs[1].digest};better;anna;\n"
        f"{pairs[2].digest};accept;;\n"
        "123456789;accept;anna;\n"
        f"{pairs[3].digest};accept;anna;long\n"
    ).encode()
    done = import_csv(store, data, "list.csv")
    assert done.written == 1
    assert latest(store)[pairs[0].digest]["anna"].seconds == 2.5
    said = "\n".join(done.refused)
    for words in (
        "line 3: 'better' is no verdict",
        "line 4: it names no reviewer",
        "line 5: there is no pair '123456789'",
        "line 6: 'long'",
    ):
        assert words in said


@pytest.mark.parametrize(
    ("data", "said"),
    [(b"", r"has the columns \(none\)"), (b"name,verdict\n", "has the columns name, verdict"), (b"\xff\xfe", "UTF-8")],
)
def test_a_file_that_is_no_list_is_refused(made: Made, data: bytes, said: str) -> None:
    with pytest.raises(DataError, match=said):
        import_csv(made[0], data, "list.csv")
