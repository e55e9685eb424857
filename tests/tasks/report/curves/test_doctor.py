"""What the doctor says: each rule once, as a finding, as clear, or as unseen; and fields that exist."""

import numpy as np

from schemas.profiles import micro
from tasks.report.curves.doctor import RULES, diagnose
from tasks.report.curves.lines import LegCurves, Line
from tasks.report.curves.rules import AT_THE_REFERENCE, Evidence

CONFIG = micro()


def test_every_rule_is_told_once_and_every_field_has_its_value() -> None:
    steps, up = np.arange(40), np.linspace(0, 1, 40)
    lines = {
        "winner_change": Line(steps, up),
        "loser_change": Line(steps, up),
        "preference": Line(steps, np.full(40, AT_THE_REFERENCE["dpo"])),
    }
    told = diagnose(Evidence("dpo", (LegCurves(1, lines),)), CONFIG)
    assert [one.name for one in told.findings] == [
        "both denoising errors rise",
        "the preference loss is stuck at log 2 per term",
    ]
    assert told.clear == ("the winner's denoising error rises",)
    names = [*(one.name for one in told.findings), *told.clear, *(name for name, _ in told.unseen)]
    assert sorted(names) == sorted(RULES)
    cures = {cure.field: cure.now for one in told.findings for cure in one.cures}
    assert cures["align.beta"] == str(CONFIG.align.beta)


def test_the_fields_that_change_it_are_fields() -> None:
    plain = CONFIG.model_dump(mode="json")
    for rule in RULES.values():
        assert rule.cures
        for field in rule.cures:
            section, *rest = field.split(".")
            value = plain[section]
            for part in rest:
                value = value[part]
            assert not isinstance(value, dict), field
