"""What a plan says that it will take: in ranges, by what the store has seen, else by what was measured elsewhere."""

from dataclasses import replace
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from flows.cli.plan import plan_round
from flows.cli.show.costs import count, duration, print_estimate, size
from flows.cost.estimate import Cost, Estimate, Range
from flows.cost.rates import MEASURED, WIDE
from flows.cost.work import recorded
from flows.run.round import Kind
from infra.stages import find, records
from infra.store import Store
from schemas.config.engine import EngineConfig
from schemas.profiles import micro
from tasks.engine.context import Context
from tests.earlier.make_store import ARCHIVE, CONFIGURATION
from tests.profiles import load_profile

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Context:
    """A store with two rounds behind it."""
    place = tmp_path_factory.mktemp("lived")
    with ZipFile(ARCHIVE) as archive:
        archive.extractall(place)
    config = EngineConfig.model_validate_json((place / CONFIGURATION).read_bytes())
    return Context(Store.open(place / "store"), config)


def costs(context: Context) -> dict[str, Cost]:
    return {cost.title: cost for cost in plan_round(context).estimate.stages}


def test_without_a_store_it_goes_by_the_table(tmp_path: Path) -> None:
    config = micro()
    context = Context(Store.at(str(tmp_path / "none")), config)
    found = costs(context)
    assert {cost.by for cost in found.values()} == {"table"}
    drawn = config.synthesize.wild_train * config.generate.hypotheses
    assert found["generate"].bytes == MEASURED["micro"]["generate"].bytes * drawn
    for title, items in (("align", config.align.optimiser.steps), ("score", drawn), ("generate", drawn)):
        rate = MEASURED["micro"][title].seconds
        assert found[title].seconds == Range(rate * WIDE[0], rate * WIDE[1]).times(items)


@pytest.mark.parametrize("profile", ["tiny", "micro"])
@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("dpo", {"evaluate.measures": "true"}),
        ("clean", {"clean.label": "best_of_m", "clean.controls": ["all_labels", "random_labels", "own_labels"]}),
        ("clean", {"clean.filter": "calibrated"}),
    ],
)
def test_the_time_of_every_stage_that_two_cores_run_is_known(
    tmp_path: Path, profile: str, kind: Kind, changes: dict[str, Any]
) -> None:
    context = Context(Store.at(str(tmp_path / "none")), load_profile(profile, changes=changes))
    assert plan_round(context, kind).estimate.unknown == ()


@pytest.mark.parametrize(("keep", "kept"), [("extremes", 2), ("none", 0)])
def test_a_draw_takes_as_long_as_both_and_writes_what_it_keeps(tmp_path: Path, keep: str, kept: int) -> None:
    config = load_profile("micro", changes={"hypotheses.keep": keep})
    found = costs(Context(Store.at(str(tmp_path / "none")), config))
    assert not {"generate", "score"} & found.keys()
    people, seen = config.synthesize.wild_train, MEASURED["micro"]
    drawn, seconds = people * config.generate.hypotheses, seen["generate"].seconds + seen["score"].seconds
    draw = found["draw"]
    assert draw.seconds == Range(seconds * WIDE[0], seconds * WIDE[1]).times(drawn)
    assert draw.bytes == people * kept * seen["generate"].bytes + drawn * seen["score"].bytes
    assert found["pair"].bytes == people * seen["pair"].bytes


def test_what_the_store_has_seen_lies_within(lived: Context) -> None:
    found = costs(lived)
    for title in ("generate", "score", "pair", "evaluate (after)", "align"):
        seen = [record.seconds for record in records(lived.store, title.partition(" ")[0]) if record.round == 1]
        cost = found[title]
        assert cost.by == "store", title
        assert cost.seconds is not None
        assert cost.seconds.least < max(seen) < cost.seconds.most, title


def test_what_a_cleaning_round_has_taken_lies_within(lived: Context) -> None:
    found = {cost.title: cost for cost in plan_round(lived, "clean").estimate.stages}
    for title in ("pseudo_label", "score_labels", "keep", "train_clean"):
        seen = [record.seconds for record in records(lived.store, title) if record.round == 2]
        cost = found[title]
        assert cost.by == "store", title
        assert cost.seconds is not None
        assert cost.seconds.least < max(seen) < cost.seconds.most, title


def test_a_label_that_a_scorer_chose_took_as_many_hypotheses_as_it_chose_among(lived: Context, tmp_path: Path) -> None:
    (record,) = [record for record in records(lived.store, "pseudo_label") if record.round == 2]
    one = recorded(record)
    chosen = replace(record, config={**record.config, "among": {"hypotheses": 17}})
    assert recorded(chosen) == replace(one, items=17 * one.items)
    config = load_profile("micro", changes={"clean.label": "best_of_m"})
    plan = plan_round(Context(Store.at(str(tmp_path / "none")), config), "clean")
    cost = next(cost for cost in plan.estimate.stages if cost.title == "pseudo_label")
    assert cost.bytes == MEASURED["micro"]["pseudo_label"].bytes * config.synthesize.wild_train


def test_it_grows_with_the_work_and_forgets_other_networks(lived: Context) -> None:
    config = lived.config
    twice = config.generate.model_copy(update={"hypotheses": 2 * config.generate.hypotheses})
    before = costs(lived)["generate"]
    after = costs(Context(lived.store, config.model_copy(update={"generate": twice})))["generate"]
    assert before.seconds is not None
    assert after.seconds is not None
    assert after.by == "store"
    assert after.seconds.most == pytest.approx(2 * before.seconds.most)
    wider = config.align.model_copy(update={"batch_crops": config.align.batch_crops + 1})
    changed = costs(Context(lived.store, config.model_copy(update={"align": wider})))
    assert (changed["align"].by, changed["generate"].by) == ("table", "store")


def test_a_gpu_that_nothing_was_seen_on_is_not_guessed(lived: Context, capsys: pytest.CaptureFixture[str]) -> None:
    config = lived.config
    ray = config.ray.model_copy(update={"gpus_per_actor": 0.5, "gpus_per_trainer": 1.0})
    found = plan_round(Context(lived.store, config.model_copy(update={"ray": ray}))).estimate
    by_title = {cost.title: cost for cost in found.stages}
    assert (by_title["generate"].seconds, by_title["generate"].gpu_seconds) == (None, None)
    assert by_title["generate"].bytes
    assert "generate" in found.unknown
    print_estimate(found)
    assert "not known, and in no sum: the time of" in capsys.readouterr().out


def test_half_of_what_is_half_done(lived: Context) -> None:
    config = lived.config
    small = config.generate.model_copy(update={"shard_size": 3})
    context = Context(lived.store, config.model_copy(update={"generate": small}))
    look = next(one for one in plan_round(context).looks if one.title == "generate")
    assert look.verdict == "run"
    whole = costs(context)["generate"]
    for shard in range(2):
        context.store.atomic_write(f"shards/{look.key}/{shard:05d}.json", b"{}")
    half = costs(context)["generate"]
    assert whole.seconds is not None
    assert half.seconds is not None
    assert 0 < half.seconds.most < whole.seconds.most
    assert find(context.store, str(look.key)) is None


def test_a_control_may_run_beside_its_training(lived: Context) -> None:
    plan = plan_round(lived)
    known = [cost.seconds for cost in plan.estimate.stages if cost.seconds is not None]
    control = next(cost.seconds for cost in plan.estimate.stages if cost.title == "align (random pairs)")
    together = plan.estimate.together.seconds
    assert control is not None
    assert together is not None
    assert together.most == pytest.approx(sum(one.most for one in known))
    assert together.least == pytest.approx(sum(one.least for one in known) - control.least)


def test_how_it_looks(lived: Context, capsys: pytest.CaptureFixture[str]) -> None:
    assert [duration(one) for one in (None, Range(0, 0), Range(14.2, 20.4), Range(190, 7100), Range(8e4, 1.6e5))] == [
        *("?", "-", "14 to 20 s", "3.2 to 120 min", "22 to 44 h")
    ]
    assert [size(one) for one in (None, 320e3, 72.4e6, 1.26e9, 4e15)] == ["?", "320 kB", "72 MB", "1.3 GB", "4,000 TB"]
    assert count(Range(650, 3018)) == "650 to 3,000"
    nothing = Range(0, 0)
    print_estimate(Estimate((), Cost("in sum", nothing, nothing, 0, nothing), ()))
    print_estimate(plan_round(lived).estimate)
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80
