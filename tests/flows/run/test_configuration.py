"""Choices: which of option, --set, campaign file, environment and profile counts."""

from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from flows.run.configuration import Choices
from schemas.errors import ConfigError
from schemas.profiles import micro, tiny

PLACES: dict[str, Callable[[pytest.MonkeyPatch, Path], dict[str, Any]]] = {
    "ADHMR_SET": lambda patch, _: patch.setenv("ADHMR_SET", "align.anchor=2 seed=1") or {},
    "ADHMR_SEED": lambda patch, _: patch.setenv("ADHMR_SEED", "2") or {},
    "mine.yaml line 2": lambda _, file: file.write_text("# a comment\nseed: 3\n") and {"config": str(file)},
    "--set": lambda *_: {"changes": {"seed": "4"}},
    "--seed": lambda *_: {"seed": 5},
}
"""Ways to say a seed, what counts least first."""


@pytest.fixture(autouse=True)
def _quiet_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PROFILE", "CAMPAIGN", "SEED", "SET", "CONFIG"):
        monkeypatch.delenv(f"ADHMR_{name}", raising=False)


@pytest.mark.parametrize("places", list(combinations(PLACES, 2)), ids=" against ".join)
def test_what_counts_more(places: tuple[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    words: dict[str, Any] = {}
    for place in places:
        words |= PLACES[place](monkeypatch, tmp_path / "mine.yaml")
    configured = Choices(**words).configured()
    assert configured.config.seed == list(PLACES).index(places[1]) + 1
    assert configured.origins["seed"] == places[1]


def test_the_environment_names_fields_of_sections(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "ADHMR_ALIGN__OPTIMISER__STEPS": "7",
        "ADHMR_PROFILE": "micro",
        "ADHMR_CAMPAIGN": "2024",
        "ADHMR_SEED": "",
        "ADHMR_STORE": "elsewhere",
        "ADHMR_POLICY": "is no field, but a section",
    }.items():
        monkeypatch.setenv(name, value)
    configured = Choices().configured()
    expected = micro(campaign="2024")
    optimiser = expected.align.optimiser.model_copy(update={"steps": 7})
    assert configured.config == expected.model_copy(
        update={"align": expected.align.model_copy(update={"optimiser": optimiser})}
    )
    assert configured.origins["align.optimiser.steps"] == "ADHMR_ALIGN__OPTIMISER__STEPS"
    monkeypatch.setenv("ADHMR_ALGN__BETA", "7")
    with pytest.raises(ConfigError, match=r"^ADHMR_ALGN__BETA: There is no configuration field 'algn.beta'"):
        Choices().configured()


def test_the_environment_names_a_campaign_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(f"campaign: {name}")
    monkeypatch.setenv("ADHMR_CONFIG", str(tmp_path / "a"))
    assert Choices().configured().config.campaign == "a"
    assert Choices(config=str(tmp_path / "b")).configured().config.campaign == "b"
    assert Choices(config={"profile": "micro"}).configured().config == micro()


def test_nothing_said() -> None:
    configured = Choices().configured()
    assert (configured.config, configured.origins) == (tiny(), {})


@pytest.mark.parametrize("text", ["align.beta", "=3", "align.beta=3 x"])
def test_words_that_are_no_settings(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADHMR_SET", text)
    with pytest.raises(ConfigError, match="ADHMR_SET"):
        Choices().configured()


@pytest.mark.parametrize(
    ("text", "sources"),
    [
        ("a/train", [("a/train", 1.0)]),
        ("[a/train, b/train]", [("a/train", 1.0), ("b/train", 1.0)]),
        ("{data: a/train, weight: 3}", [("a/train", 3.0)]),
        ('[{"data": "a/train", "weight": 0.5}, "b/train"]', [("a/train", 0.5), ("b/train", 1.0)]),
    ],
)
def test_a_list_is_said_in_a_line(text: str, sources: list[tuple[str, float]], monkeypatch: pytest.MonkeyPatch) -> None:
    said = Choices(changes={"sources.wild": text}).configured().config
    monkeypatch.setenv("ADHMR_SOURCES__WILD", text)
    for config in (said, Choices().configured().config):
        assert [(source.data, source.weight) for source in config.sources.wild] == sources
    monkeypatch.setenv("ADHMR_SOURCES__WILD", "[a/train,")
    with pytest.raises(ConfigError, match=r"^ADHMR_SOURCES__WILD: \[a/train, can't be read: "):
        Choices().configured()
