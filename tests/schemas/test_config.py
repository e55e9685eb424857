"""Configurations: closed, frozen, described; profiles and changes to them."""

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from schemas.config.base import Config
from schemas.config.engine import EngineConfig
from schemas.config.networks import HypoNetConfig
from schemas.digests import canonical_json, digest
from schemas.errors import ConfigError
from schemas.profiles import PROFILES, micro, tiny
from tests.profiles import load_profile


def _every_field(model: type[BaseModel], path: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, field in model.model_fields.items():
        found.append((f"{path}{name}", field))
        if isinstance(field.annotation, type) and issubclass(field.annotation, Config):
            found += _every_field(field.annotation, f"{path}{name}.")
    return found


def test_every_field_has_a_description_and_a_unit() -> None:
    fields = _every_field(EngineConfig)
    assert len(fields) > 100
    for path, field in fields:
        assert field.description, path
        assert (field.json_schema_extra or {}).get("unit"), path


def test_configurations_are_closed_and_frozen() -> None:
    with pytest.raises(ValidationError):
        HypoNetConfig(width=3)  # type: ignore[call-arg]
    with pytest.raises(ValidationError):
        tiny().seed = 3  # type: ignore[misc]


@pytest.mark.parametrize("name", PROFILES)
def test_profiles_survive_json_and_have_one_digest_each(name: str) -> None:
    config = load_profile(name)
    again = EngineConfig.model_validate_json(config.model_dump_json())
    assert digest(again) == digest(config)
    assert digest(load_profile(name, seed=1)) != digest(config)


def test_changes_reach_nested_fields() -> None:
    assert load_profile("tiny", changes={"align.beta": 7}).align.beta == 7.0
    assert load_profile("micro", campaign="mine").campaign == "mine"
    assert micro().campaign == "micro"


def test_a_judge_is_asked_where_no_labels_are_held_out_for_gates_and_its_fields_change_no_other_digest() -> None:
    judge = {"gates.without_labels": "judge", "start.judge": "train"}
    assert not load_profile("tiny").is_judged
    assert not load_profile("tiny", changes=judge).is_judged, "the default has labelled people for validation"
    assert not load_profile("tiny", changes={"sources.validation": []}).is_judged
    assert load_profile("tiny", changes={**judge, "sources.validation": []}).is_judged
    plain = tiny()
    for section in (plain.gates, plain.start):
        told = {name for name in section.model_dump() if f'"{name}":' in canonical_json(section)}
        assert not told & {"without_labels", "judged_share", "min_judged", "min_judge_rise", "max_beyond_limits"}
        assert not told & {"max_bone_miss", "judge"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"align.bta": 3}, r"no configuration field 'align.bta'. Did you mean align.beta\? In align there are .*beta"),
        (
            {"algn.beta": 3},
            r"'algn.beta'. Did you mean align.beta\? There are the sections: align, clean, .*; fields: b",
        ),
        ({"nowhere.beta": 3}, r"no configuration field 'nowhere.beta'. Did you mean align.beta\?"),
        ({"beta": 3}, r"no configuration field 'beta'. Did you mean align.beta\?"),
        (
            {"align.optimiser.step": 3},
            r"Did you mean align.optimiser.steps\? In align.optimiser there are the fields: ",
        ),
        ({"align.beta.x": 3}, r"no configuration field 'align.beta.x'.*In align there are the sections: .*optimiser"),
        ({"qqq": 3}, r"no configuration field 'qqq'. There are the sections: align"),
        ({"align.beta": -3}, r"align\.beta: Input should be greater than 0"),
        ({"gates.without_labels": "judge"}, "^Configuration: .*needs a second scorer: say start.judge as well"),
        ({"start.judge": "train"}, "^Configuration: start.judge is said, but not gates.without_labels=judge"),
        ({"policy.hyponet.heads": 5}, r"policy\.hyponet.*heads=5 does not divide"),
    ],
)
def test_wrong_changes_are_told_in_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        load_profile("tiny", changes=changes)
    assert "\n" not in str(error.value)


def test_no_training_of_the_default_moves_the_encoder_that_ships() -> None:
    """Nor does any see a crop in a third form, of which nothing is kept; and the scorer ranks by no estimate."""
    config = tiny()
    trainings = (config.train_base, config.train_scorer, config.align, config.train_clean)
    assert config.start.encoder == "shipped"
    assert all(training.optimiser.encoder_learning_rate == 0 for training in trainings)
    assert all(training.augment.only_mirrors for training in trainings)
    assert (config.scorer.sees_own_estimate, config.align.encoder_distillation) == (False, 0.0)


def test_unknown_profile() -> None:
    with pytest.raises(ConfigError, match="no profile 'huge'; there are tiny, micro, paper"):
        load_profile("huge")
