"""What a plan says that it will take: in ranges, by what the store has seen, else by what was measured elsewhere."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest

from flows.cli.plan import plan_round
from flows.cli.show.costs import count, duration, print_estimate, size
from flows.cost import estimate
from flows.cost.estimate import Cost, Estimate, Range
from flows.cost.rates import MEASURED, WIDE, Rate, Rates, measured
from flows.cost.work import recorded
from flows.run.round import Kind
from infra.stages import StageRecord, StageSpec, commit_rows, find, records
from infra.store import Store
from schemas.config.engine import EngineConfig
from schemas.ids import StageKey
from schemas.profiles import micro, paper
from tasks.engine.context import Context
from tasks.engine.run_folder import LOOK_SECONDS_ON_S3, RunFolder
from tasks.rows.hypotheses import Hypotheses, Sampled, hypotheses_table
from tests.benchmarks.pair_files import InventedPairs, names, poses
from tests.earlier.make_store import ARCHIVE, CONFIGURATION
from tests.profiles import load_profile

pytestmark = pytest.mark.slow
DOCS = Path(__file__).resolve().parents[3] / "docs"
_ACTORS = ((0.5, None), (0.3, None), (2.0, None), (0.5, 1), (0.5, 3))


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


def test_one_gpu_holds_as_many_actors_as_fit() -> None:
    ray = micro().ray
    held = [ray.model_copy(update={"gpus_per_actor": each, "actors": actors}) for each, actors in _ACTORS]
    assert [estimate._held(one) for one in held] == pytest.approx([1.0, 0.9, 2.0, 0.5, 1.5])


def test_of_a_stage_that_went_on_only_what_its_last_run_did_counts(lived: Context) -> None:
    (seen,) = [record for record in records(lived.store, "generate") if record.round == 1]
    ten_times_as_fast = replace(seen, stage_key=StageKey("a" * 64), seconds=seen.seconds / 10, done_share=0.1)
    committed_only = replace(seen, stage_key=StageKey("b" * 64), seconds=0.01, done_share=0.0)

    def rate(*found: StageRecord) -> Rate | None:
        return Rates(found, dict.fromkeys(seen.models, "n"), {"n"}).seen("generate", seen.device, None)

    alone, both = rate(seen), rate(seen, ten_times_as_fast, committed_only)
    assert alone is not None
    assert both is not None
    assert (both.least, both.most) == pytest.approx((alone.least, alone.most))
    assert rate(committed_only) is None


def test_a_training_costs_requests_while_it_goes_on(tmp_path: Path) -> None:
    config = micro()
    optimiser = config.align.optimiser.model_copy(update={"steps": 1000})
    more = config.model_copy(update={"align": config.align.model_copy(update={"optimiser": optimiser})})
    few, many = (costs(Context(Store.at(str(tmp_path / "none")), one))["align"] for one in (config, more))
    assert many.seconds is not None
    looks = many.seconds.times(1 / LOOK_SECONDS_ON_S3)
    assert many.requests.least - few.requests.least > looks.least
    assert many.requests.most - few.requests.most > looks.most


def test_the_published_sizes_cost_what_was_measured() -> None:
    """The table of `paper` follows from docs/benchmarks.md, and what docs/scale.md says of a person from the same."""
    config, cores = paper(), 2
    full = "the engine, float32"
    drawn, evaluated = config.generate.hypotheses, config.evaluate.generate.hypotheses
    expected = {
        "generate": _draw_s(drawn),
        "score": _score_s(drawn),
        "evaluate": _draw_s(evaluated)
        + _score_s(evaluated)
        + _measured_s("MPVPE", "the engine, a few meshes at a time"),
        "align": config.align.batch_crops / 10 * _measured_s("a step of DPO on 10 crops, encoder trained", full),
    }
    assert config.generate.precision == config.score.precision == "bfloat16"
    for stage, seconds in expected.items():
        assert MEASURED["paper"][stage].seconds == pytest.approx(seconds / cores, rel=0.25), stage
    said = re.search(
        r"([\d.]+) s a person with 50 hypotheses, ([\d.]+) s with 100", (DOCS / "scale.md").read_text("utf-8")
    )
    assert said is not None
    for hypotheses, seconds in zip((50, 100), map(float, said.groups()), strict=True):
        assert seconds == pytest.approx(hypotheses * (_draw_s(hypotheses) + _score_s(hypotheses)), rel=0.25)
    both = [rate for stage in ("generate", "score") if (rate := measured("paper", stage, "cpu"))]
    least, most = (50 * sum(ends) for ends in zip(*((rate.least, rate.most) for rate in both), strict=True))
    assert least < float(said[1]) / cores < most


def test_the_published_sizes_weigh_what_files_do(tmp_path: Path) -> None:
    """Bytes of `paper` are those of rows as they are written today, and docs/scale.md says the same."""
    rates, draw, people, drawn = MEASURED["paper"], np.random.default_rng(0), 500, 10
    store, generation = Store.open(tmp_path / "store"), StageSpec("generate", 1, {})
    uvd, twists = poses(draw, people, drawn)
    betas = np.repeat(draw.standard_normal((people, 1, 10), np.float32), drawn, 1)
    made = Hypotheses(uvd, twists, betas, draw.uniform(2, 6, (people, drawn)).astype(np.float32))
    of = Sampled(names(people), ["invented"] * people, ["train"] * people, np.full(people, np.nan))
    table = hypotheses_table(generation.key, of, made, range(drawn), 1, np.arange(people))
    written = commit_rows(store, generation, {"hypotheses": table.drop_columns(["stage_key"])})
    paired = InventedPairs(tmp_path, people, draw)
    pairs = find(paired.store, paired.spec.key)
    assert pairs is not None
    of_hypothesis, of_pair = written.bytes["hypotheses"] / (people * drawn), pairs.bytes["pairs"] / people
    assert paper().pair.pairs_per_instance == 1
    assert rates["generate"].bytes == pytest.approx(of_hypothesis, rel=0.1)
    assert rates["pair"].bytes == pytest.approx(of_pair, rel=0.15)  # whose betas are zeros, and which have no scores
    said = re.search(r"([\d.]+) KB a hypothesis, ([\d.]+) KB a pair", (DOCS / "scale.md").read_text("utf-8"))
    assert said is not None
    for stage, kilobytes in zip(("generate", "pair"), map(float, said.groups()), strict=True):
        assert rates[stage].bytes == pytest.approx(1000 * kilobytes, rel=0.05)


def _draw_s(hypotheses: int) -> float:
    """Seconds of a core that a hypothesis takes, of so many of a person."""
    of_picture = _measured_s("the policy's encoder", "the engine, float32") / hypotheses
    return of_picture + _measured_s("sampling", "the engine, bfloat16")


def _score_s(hypotheses: int) -> float:
    of_picture = _measured_s("the scorer's encoder", "the engine, float32") / hypotheses
    pictures = 2 if paper().score.mirror else 1
    return pictures * (of_picture + _measured_s("HMR-Scorer's decoder", "the engine, bfloat16"))


def _measured_s(what: str, way: str) -> float:
    """Seconds in docs/benchmarks.md: of a way in the group whose name begins so."""
    group = ""
    for line in (DOCS / "benchmarks.md").read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) > 4:
            group = cells[1] or group
            if group.startswith(what) and cells[2] == way:
                return float(cells[3].replace(",", "")) / 1000
    raise AssertionError(f"docs/benchmarks.md has no figure of {what}, {way}")


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


def test_a_training_goes_on_at_its_checkpoint(lived: Context) -> None:
    base = lived.config.train_base
    optimiser = base.optimiser.model_copy(update={"steps": 45, "checkpoint_every": 15})
    training = base.model_copy(update={"optimiser": optimiser})
    context = Context(lived.store, lived.config.model_copy(update={"train_base": training}))
    look = next(one for one in plan_round(context).looks if one.title == "train_base")
    whole = costs(context)["train_base"]
    assert look.verdict == "run"
    assert whole.seconds is not None
    run = RunFolder.of(context.store, "train_base", str(look.key))
    for step, left in ((3, 1.0), (44, 1 / 3), (30, 1 / 3), (45, 0.0)):
        run.say(step, "")
        found = costs(context)["train_base"].seconds
        assert found is not None
        assert found.most == pytest.approx(left * whole.seconds.most)
    context.store.atomic_write(f"{run.ray_folder}/engine/progress.json", b"{")
    assert costs(context)["train_base"].seconds == whole.seconds, "nobody knows how far it was"


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
