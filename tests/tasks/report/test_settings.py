"""Which fields a report shows: those that differ from the profile, with who said them."""

from schemas.layers import Setting, assemble
from schemas.profiles import PROFILES, micro, tiny
from tasks.report.settings import SettingRow, changed_settings


def test_a_profile_as_it_is_has_nothing_to_show() -> None:
    for profile in PROFILES.values():
        assert changed_settings(profile(), {}) == []


def test_what_was_said_stands_there_with_its_place() -> None:
    config, origins, *_ = assemble(
        [
            Setting("profile", "micro", "--profile"),
            Setting("align.beta", 5, "campaign.yaml line 3"),
            Setting("gates.max_drift", 100.0, "--set"),
            Setting("body", "full", "ADHMR_BODY"),
        ]
    )
    rows = changed_settings(config, origins)
    assert [(row.name, row.value, row.usual, row.origin) for row in rows] == [
        ("body", "full", "tiny", "ADHMR_BODY"),
        ("align.beta", "5.0", "10.0", "campaign.yaml line 3"),
    ]


def test_a_seed_is_one_row_though_it_reaches_every_stage() -> None:
    description = "seed that profile functions spread over all stages"
    assert changed_settings(tiny(seed=3), {"seed": "--seed"}) == [
        SettingRow("seed", "3", "0", "", description, "--seed")
    ]
    generate = tiny(seed=3).generate.model_copy(update={"seed": 4})
    rows = changed_settings(tiny(seed=3).model_copy(update={"generate": generate}), {})
    assert [(row.name, row.value, row.usual) for row in rows] == [("seed", "3", "0"), ("generate.seed", "4", "3")]


def test_the_name_of_a_campaign_is_shown_if_it_is_not_the_profiles() -> None:
    (row,) = changed_settings(micro(campaign="mine"), {})
    assert (row.name, row.value, row.usual, row.origin) == ("campaign", "mine", "micro", "")
