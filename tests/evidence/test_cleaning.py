"""The evidence of cleaning: foreign labels are what they say, and the page claims what its numbers hold."""

from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from infra.tables import read
from schemas.config.training import LabelNoiseConfig
from schemas.ids import Target
from schemas.splits import WILD_TEST, WILD_TRAIN, WILD_VALIDATION
from schemas.tables import matrix
from tasks.report.facts import RoundFacts
from tasks.rows.instances import load_instances
from tasks.rows.metrics import Metric
from tasks.synthesize.domains import domain_named
from tasks.synthesize.picture import make_picture
from tests.evidence import cleaning
from tests.evidence.cleaning import CHANGES, LATER, MEASURED, OWN, Cleaned, changes_of, cleaning_page
from tests.evidence.foreign import FOREIGN, foreign_labels
from tests.profiles import load_profile
from tests.tasks import micro
from tests.tasks.conftest import MicroStore, shared_micro_store  # noqa: F401 # a fixture


def round_of(seed: int, promoted: bool, auc: float, on: Target = WILD_TEST, **apart: tuple[float, float]) -> Cleaned:
    facts = RoundFacts("clean", "c", 1, *"abcd", (), promoted=promoted, why="all gates hold")  # type: ignore[arg-type]
    metrics: dict[Any, Metric] = {}
    for control, (value, high) in apart.items():
        for name in ("zero_noise_mpvpe", "expected_mpvpe"):
            key = (name, f"change_minus_{control}", on)
            metrics[key] = Metric(*key, "percentage points", value, 10, value - 1, high)
    return Cleaned(seed, facts, metrics, {"auc": Metric("auc", "filter", WILD_TRAIN, "1", auc, 10)})


@pytest.mark.parametrize(("high", "auc", "count"), [(-0.5, 0.95, 2), (0.5, 0.85, 0)])
def test_the_page_counts_what_holds(high: float, auc: float, count: int) -> None:
    good = [
        round_of(seed, count > 0, auc, all_labels=(-2.0 - seed / 10, high), random_labels=(-1.5 - seed / 10, high))
        for seed in (0, 1)
    ]
    page = cleaning_page({FOREIGN: good, OWN: good}, "tiny")
    assert f"AUC at least 0.9: {count} of 2 seeds" in page
    for control in ("all labels", "random labels"):
        words = f"better than {control}, interval wholly below 0: {count} of 2 seeds; over the seeds: yes"
        assert page.count(words) == 2
    assert f"passes its gates on wild/validation: {count} of 2 seeds" in page
    assert "| seed 0 | seed 1 | mean |" in page
    assert page.count("*own labels*") == 0, "a control that was not measured has no row"


def test_seeds_that_disagree_are_no_gain_over_seeds() -> None:
    apart = [round_of(seed, True, 0.95, all_labels=(value, -0.1)) for seed, value in ((0, -9.0), (1, -0.2))]
    page = cleaning_page({FOREIGN: apart, OWN: apart}, "tiny")
    assert "better than all labels, interval wholly below 0: 2 of 2 seeds; over the seeds: no" in page


def test_what_was_measured_on_validation_is_read_there_and_said() -> None:
    later = [round_of(0, True, 0.95, WILD_VALIDATION, all_labels=(-2.0, -0.5))]
    page = cleaning_page({LATER: later}, "tiny", "validation", {"clean.keep_share": "0.5"})
    assert "profile tiny, clean.keep_share=0.5. Change on wild/validation" in page
    assert "minus *all labels* (points) | -2 [-3, -0.5]" in page
    assert "the round of *later* passes its gates on wild/validation: 1 of 1 seeds" in page
    assert "AUC" not in page, "nothing is claimed of a campaign that was not run"
    assert "minus *all labels*" not in cleaning_page({LATER: later}, "tiny")


def test_its_settings_are_settings() -> None:
    for campaign in CHANGES:
        for on, target in MEASURED.items():
            config = load_profile("micro", changes=changes_of(campaign, on))
            assert config.evaluate.measures
            assert config.sources.targets("test") == (target,)
    assert MEASURED == {"test": WILD_TEST, "validation": WILD_VALIDATION}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--campaigns", "foreign,mine"], "--campaigns mine: there are foreign, own, later."),
        (["--set", "clean.keep_share", "--name", "half"], "--set clean.keep_share: KEY=VALUE"),
        (["--set", "clean.keep_share=0.5"], "--set: name what is tried"),
    ],
)
def test_what_can_not_be_meant_is_said_before_anything_runs(options: list[str], words: str) -> None:
    app = typer.Typer()
    app.command()(cleaning.main)
    found = CliRunner().invoke(app, options)
    assert found.exit_code != 0
    assert words in found.output


@pytest.mark.slow
def test_foreign_labels_are_the_bodies_in_the_pictures(shared_micro_store: MicroStore) -> None:  # noqa: F811
    exact = foreign_labels(shared_micro_store.store, micro.CONFIG, LabelNoiseConfig(pose=0, root=0, shape=0))
    names = exact.column("instance_id").to_pylist()
    assert len(names) == micro.CONFIG.synthesize.wild_train
    for row in (0, 17):
        label = make_picture(domain_named("wild"), "train", row, micro.CONFIG.seed, micro.CONFIG.body).label
        np.testing.assert_allclose(matrix(exact, "joints")[row].reshape(29, 3), label.joints, atol=1e-4)
        np.testing.assert_allclose(matrix(exact, "transl")[row], label.transl, atol=1e-4)
        np.testing.assert_allclose(matrix(exact, "twist")[row].reshape(23, 2), label.twist, atol=1e-3)
    noised = foreign_labels(shared_micro_store.store, micro.CONFIG)
    apart = matrix(noised, "joints") - matrix(exact, "joints")
    far = np.linalg.norm(apart.reshape(-1, 29, 3), axis=-1)
    assert far[:, 0].max() < 1e-4, "the pelvis stays"
    assert 0.005 < far.mean() < 0.1
    people = load_instances(shared_micro_store.store, [shared_micro_store.ingest_key], names)
    assert not people.labelled.any(), "nothing of the store labels them"
    assert read(shared_micro_store.store, "labels").num_rows > 0
    assert cleaning.SWAP_SHARE == 0.3
