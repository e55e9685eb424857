"""Layers: what is said later counts more, every field remembers where it was said, and wrong words are named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import ConfigError
from schemas.layers import Setting, assemble, settings
from schemas.profiles import PROFILES, micro, tiny

BETAS = st.floats(0.1, 100)


@given(st.lists(st.tuples(st.sampled_from(["align.beta", "align.anchor", "seed"]), st.integers(1, 50)), max_size=8))
def test_the_last_word_counts_and_is_remembered(said: list[tuple[str, int]]) -> None:
    layers = [Setting(field, value, f"place {number}") for number, (field, value) in enumerate(said)]
    configured = assemble(layers)
    last = {setting.field: setting for setting in layers}
    assert configured.origins == {field: setting.origin for field, setting in last.items()}
    plain = configured.config.model_dump()
    for field, setting in last.items():
        section, _, leaf = field.rpartition(".")
        assert (plain[section] if section else plain)[leaf] == setting.value


@pytest.mark.parametrize("profile", PROFILES)
def test_nothing_said_is_the_profile(profile: str) -> None:
    assert assemble([Setting("profile", profile, "")]).config == PROFILES[profile]()
    assert assemble([]).config == tiny()


def test_a_seed_spreads_over_the_stages_but_not_over_those_that_have_their_own() -> None:
    said = settings({"profile": "micro", "seed": 3, "align": {"seed": 5}, "campaign": 2024}, "file")
    config = assemble(list(said)).config
    assert config == micro(3, "2024").model_copy(update={"align": micro(3).align.model_copy(update={"seed": 5})})


def test_a_section_without_a_line_says_nothing() -> None:
    assert assemble([Setting("align", None, "file"), Setting("align.optimiser", None, "file")]).config == tiny()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("align.beta", -3, r"^file line 7: Configuration field align.beta: Input should be greater than 0 \(got -3\)"),
        ("align.bta", 3, r"^file line 7: There is no configuration field 'align.bta'. Did you mean align.beta\?"),
        ("policy.diffusion.sampler_steps", [3, "x"], r"^file line 7: Configuration field policy.diffusion.sampler_ste"),
        ("align", 3, "^file line 7: align is a section: give fields of it"),
        ("seed", "x", "^file line 7: Configuration field seed: Input should be a valid integer"),
        ("campaign", "No name", "^file line 7: Configuration field campaign: String should match"),
        ("profile", "huge", "no profile 'huge'; there are tiny, micro, paper"),
        ("profile", ["tiny"], "no profile"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(field: str, value: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        assemble([Setting("align.anchor", 1.0, "elsewhere"), Setting(field, value, "file line 7")])
    assert "\n" not in str(error.value)


def test_settings_may_say_the_name_that_a_field_had() -> None:
    said = assemble([Setting("align.estimate", 1.5, "campaign.yaml line 3")])
    assert said.config.align.encoder_distillation == 1.5
    assert said.origins == {"align.encoder_distillation": "campaign.yaml line 3"}
