"""Sealed draws: new seeds each time, and refused once the recipe or the domains are others."""

from pathlib import Path
from typing import Any

import pytest

from schemas.errors import ConfigError
from tests.evidence import seal as sealing
from tests.evidence.seal import Seal, history, new_seal, opened, read_seals, sealed_seeds, write_seals
from tests.profiles import load_profile


def drawn(*earlier: Seal) -> Seal:
    return new_seal("micro", 2, earlier, "c0ffee")


def test_seeds_are_new_and_written_down(tmp_path: Path) -> None:
    first = drawn()
    second = drawn(first)
    assert len(set(first.seeds) | set(second.seeds)) == 4
    assert min(*first.seeds, *second.seeds) >= 100, "seeds below served choices"
    assert first.people != second.people
    assert (first.recipe, first.domains) == (second.recipe, second.domains)
    write_seals([first, second], tmp_path / "seals.json")
    assert read_seals(tmp_path / "seals.json") == [first, second]
    assert read_seals(tmp_path / "none.json") == []


def test_a_draw_is_opened_once_and_keeps_its_day() -> None:
    seals = opened([drawn()], "c0ffee")
    assert seals[0].opened is not None
    assert opened(seals, "another") == seals
    assert sealed_seeds(seals, "micro") == seals[0]
    assert "opened" in history(seals)[0]
    assert all(str(seed) in history(seals)[0] for seed in seals[0].seeds)


def test_nothing_sealed_says_how() -> None:
    with pytest.raises(ConfigError, match="make seal"):
        sealed_seeds([], "micro")
    with pytest.raises(ConfigError, match="of profile micro, not tiny"):
        sealed_seeds([drawn()], "tiny")


def test_what_is_checked_out_is_what_the_last_draw_was_made_for() -> None:
    """Whoever changes recipe or domains of the sealed profile makes a new draw with it: `make seal`."""
    seals = read_seals()
    assert sealed_seeds(seals, seals[-1].profile) == seals[-1]


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"align.beta": 11}, "recipe"),
        ({"policy.diffusion.sigma_data": 2.5}, "recipe"),
        ({"synthesize.wild_pitch.sigma": 9}, "recipe"),
    ],
)
def test_a_change_since_the_draw_is_refused(
    changes: dict[str, Any], what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seal = drawn()
    monkeypatch.setattr(sealing, "load_profile", lambda profile: load_profile(profile, changes=changes))
    with pytest.raises(ConfigError, match=rf"The {what}.*changed since the draw of .*never opened") as problem:
        sealed_seeds([seal], "micro")
    assert "\n" not in str(problem.value)


def test_other_poses_and_other_versions_are_other_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    seal = drawn()
    monkeypatch.setitem(sealing.poses.BASE_POSES, "stand", sealing.poses.BASE_POSES["walk"])
    with pytest.raises(ConfigError, match="The synthetic domains changed"):
        sealed_seeds([seal], "micro")
    monkeypatch.undo()
    assert sealed_seeds([seal], "micro") == seal
    monkeypatch.setattr(sealing.Align, "version", sealing.Align.version + 1)
    with pytest.raises(ConfigError, match="The recipe"):
        sealed_seeds([seal], "micro")
