"""The campaign's first policy: another one is refused, before anything is learned from it."""

from dataclasses import replace
from pathlib import Path

import pytest

from flows.order.foundations import find_foundations
from flows.run.campaign.start import check_first_policy
from infra import rounds
from infra.store import Store
from schemas.config.sources import StartConfig
from schemas.errors import ConfigError
from schemas.ids import ModelDigest
from tasks.engine.context import Context
from tests.flows.order.test_legs import Recorder
from tests.profiles import load_profile


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(Store.open(tmp_path / "store"), load_profile("micro"))


def test_a_campaign_that_has_not_begun_takes_any(context: Context) -> None:
    check_first_policy(context, ModelDigest("train_base"))


def test_a_policy_that_other_settings_have_trained_is_refused_before_a_scorer_learns_from_it(context: Context) -> None:
    """The old policy went on, with pairs by a scorer of the new one's samples."""
    rounds.begin(context.store, context.config.campaign, ModelDigest("f" * 64))
    runner = Recorder(context)
    with pytest.raises(ConfigError, match=r"train_base, and campaign micro began with f{12}: .*start\.policy=f{12}\."):
        find_foundations(runner)
    assert "train_base" in runner.done
    assert "train_scorer" not in runner.done


def test_the_way_out_that_it_names_goes(context: Context) -> None:
    rounds.begin(context.store, context.config.campaign, ModelDigest("f" * 64))
    start = context.config.start.model_copy(update={"policy": "f" * 12})
    named = replace(context, config=context.config.model_copy(update={"start": start}))
    check_first_policy(named, ModelDigest("f" * 64))
    with pytest.raises(ConfigError, match=r"start.policy is e{12} \(f{12}\), and campaign micro began with f{12}"):
        check_first_policy(named, ModelDigest("e" * 64))


def test_the_same_policy_goes_on(context: Context) -> None:
    assert context.config.start == StartConfig()
    rounds.begin(context.store, context.config.campaign, ModelDigest("train_base"))
    runner = Recorder(context)
    assert find_foundations(runner).base == "train_base"
    assert "train_scorer" in runner.done
