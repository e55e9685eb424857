"""Who is shown: a dozen by name, and those at the ends; each once, with the lists that they are on."""

import numpy as np

from tasks.compare import EvaluationTable
from tasks.report.pictures.chosen import changes_mm, lists_of, ranked, shown_in_3d

IDS = tuple(f"wild/test/{number:03}#0" for number in range(40))


def table(errors: np.ndarray, diversity: np.ndarray, ids: tuple[str, ...] = IDS) -> EvaluationTable:
    return EvaluationTable(ids, {"mpvpe": np.stack([errors, errors + 99], 1)}, None, diversity)


def test_the_ends_are_the_ends() -> None:
    before, change = np.full(40, 100.0), np.concatenate([np.arange(-20.0, 0), np.zeros(5), np.arange(1.0, 16)])
    apart = np.arange(40.0)
    lists = ranked(IDS[:12], table(before, apart[::-1]), table(before + change, apart))
    assert lists["first"] == list(IDS[:12])
    assert lists["improved"] == list(IDS[:12])
    assert lists["worsened"] == list(IDS[:-13:-1])
    assert lists["disputed"] == list(IDS[:-13:-1]), "by the policy after"
    shown = lists_of(lists)
    assert list(shown) == sorted({*IDS[:12], *IDS[-12:]})
    assert shown[IDS[0]] == ["first", "improved"]
    assert shown[IDS[39]] == ["worsened", "disputed"]


def test_who_did_not_change_is_on_neither_side() -> None:
    same = table(np.full(40, 50.0), np.zeros(40))
    assert ranked([], same, same)["improved"] == ranked([], same, same)["worsened"] == []
    better = table(np.concatenate([[49.0], np.full(39, 50.0)]), np.zeros(40))
    assert ranked([], same, better)["improved"] == [IDS[0]]
    assert ranked([], same, better)["worsened"] == []


def test_before_alone_there_is_no_change_and_people_whom_one_lacks_have_none() -> None:
    before = table(np.arange(40.0), np.arange(40.0))
    assert set(ranked(IDS[:3], before, None)) == {"first", "disputed"}
    assert ranked(IDS[:3], None, None) == {"first": list(IDS[:3])}
    fewer = table(np.zeros(2), np.zeros(2), IDS[1:3])
    assert changes_mm(before, fewer) == {IDS[1]: -1.0, IDS[2]: -2.0}


def test_three_dimensions_are_for_the_first_of_every_list_by_turns() -> None:
    lists = {
        "first": ["a", "b", "c", "d"],
        "improved": ["c", "e"],
        "worsened": [],
        "disputed": ["f", "a", "g", "h", "i"],
    }
    assert shown_in_3d(lists) == ["a", "c", "f", "b", "e", "g", "d", "h"]
