"""The plain ways do the same work as the engine's, operations are counted right, and tables say what was measured."""

from pathlib import Path
from unittest.mock import patch

import pytest
import torch

from models.diffusion import POSE_SIZE
from models.hmr_scorer import HMRScorer
from models.kinematics import solve_rotations
from models.scorer_input import upright_joints
from models.vit import VIT_SIZES, VitSize
from schemas.config.networks import ScorerConfig
from schemas.profiles import paper
from tests.benchmarks import plain
from tests.benchmarks.figures import CEILING, Figure, Goal, Measured, Way, measure
from tests.benchmarks.operations import counted_flop, sampling_flop, scoring_flop
from tests.benchmarks.page import PAGE, markdown, write_section
from tests.benchmarks.paper import figures
from tests.benchmarks.paper_bodies import Hypotheses
from tests.benchmarks.paper_networks import SCORING_SHARE, Networks
from tests.benchmarks.paper_sizes import smaller


@pytest.fixture(scope="module")
def networks() -> Networks:
    torch.manual_seed(0)
    return Networks(smaller(paper()), images=2, hypotheses=3, pairs=4)


@torch.no_grad()
def test_plain_sampling_draws_the_engines_hypotheses(networks: Networks) -> None:
    policy, noise = networks.policy, torch.from_numpy(networks.normal(2, 3, POSE_SIZE))
    context = policy.encode(torch.rand(2, 3, 64, 64))[0]
    uvd, twists = policy.sample(context, noise)
    pose = plain.sample(policy, context, noise).flatten(0, 1)
    plainly, turns = policy.diffusion.unscale(pose)
    torch.testing.assert_close(plainly.view_as(uvd), uvd, atol=1e-4, rtol=1e-4)
    turns = torch.nn.functional.normalize(turns, dim=-1).view_as(twists)
    torch.testing.assert_close(turns, twists, atol=1e-4, rtol=1e-4)


@pytest.fixture
def scorer() -> HMRScorer:
    given = paper().scorer.model_dump() | {"joint_channels": 32, "local_channels": 32, "heads": 2, "norm_groups": 8}
    with patch.dict(VIT_SIZES, vit_b=VitSize(48, 1, 2)):
        return HMRScorer(ScorerConfig.model_validate(given)).eval().requires_grad_(False)


def test_plain_scores_are_the_engines(scorer: HMRScorer) -> None:
    pyramid, uvd = scorer.score_net.maps(torch.randn(2, 48, 16, 12)), torch.rand(2, 3, 29, 3) - 0.5
    scores = scorer.score(pyramid, None, uvd, torch.zeros(2, 3, 23, 2))
    torch.testing.assert_close(plain.score(scorer.score_net, *pyramid, upright_joints(uvd)), scores)


def test_plain_bodies_are_the_engines() -> None:
    given = Hypotheses(5)
    uvd = given.uvd
    rotations, vertices = given.plain(uvd, given.betas, given.twists)
    solved = solve_rotations(uvd, given.body.rest_joints(given.betas), given.twists, "published")
    torch.testing.assert_close(rotations, solved, atol=1e-4, rtol=0)
    torch.testing.assert_close(vertices, given.body(solved, given.betas).vertices, atol=1e-4, rtol=0)


def test_operations_are_those_that_torch_counts(networks: Networks, scorer: HMRScorer) -> None:
    config, policy = networks.config.policy, networks.policy
    context = policy.encode(torch.rand(1, 3, 64, 64))[0]
    counted = counted_flop(lambda: policy.hyponet(torch.zeros(7, 87), torch.zeros(7, 46), torch.zeros(7), context))
    time_code = 7 * 2 * (64 * 256 + 256 * config.hyponet.width)  # which the formula leaves out
    expected = 7 * sampling_flop(config.hyponet, 1, 7, context.image[0, 0].numel()) + time_code
    assert counted == pytest.approx(expected, rel=0.01)
    pyramid = scorer.score_net.maps(torch.randn(1, 48, 16, 12))
    scored = counted_flop(lambda: scorer.score_upright(pyramid, torch.zeros(1, 7, 29, 3)))
    assert scored == pytest.approx(7 * scoring_flop(scorer.config, 7, 192), rel=0.001)


@pytest.mark.slow
def test_every_figure_is_taken_and_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # processors that know no bfloat16 take a minute for the usual product
    monkeypatch.setitem(CEILING, "cpu", (64, 64, 64))
    found = list(figures(["networks", "drawing", "bodies", "tables"], tmp_path, repeats=1, small=True))
    assert len(found) == 11
    assert all(figure.ms > 0 for group in found for figure in group.figures)
    assert all(group.figures[0].faster == 1 for group in found)
    page = tmp_path / "page.md"
    page.write_text(
        "before\n<!-- bench-paper: written by `make bench-paper` -->\nold\n<!-- bench-paper: end -->\nafter\n"
    )
    write_section("bench-paper", markdown(found, {"processor": "any"}), page)
    text = page.read_text("utf-8")
    assert text.startswith("before\n<!-- bench-paper")
    assert text.endswith("<!-- bench-paper: end -->\nafter\n")
    assert "\nold\n" not in text
    assert sum(line.startswith("| ") for line in text.splitlines()) == 2 + sum(len(group.figures) for group in found)


@pytest.mark.nightly
def test_a_second_worker_is_measured_against_one(tmp_path: Path) -> None:
    (found,) = figures(["workers"], tmp_path, repeats=1, small=True)
    one, two = found.figures
    assert (one.way, two.way) == ("one worker", "two workers")
    assert one.ms > 0
    assert two.ms > 0


def test_a_goal_is_met_by_what_it_is_about() -> None:
    figure = Figure("sampling", "way", "hypothesis", ms=2.0, faster=3.0, share=0.8)
    met = {
        goal: figure.meets(goal)
        for goal in (Goal("faster", 2.5), Goal("share", 0.92), Goal("ms", 2), Goal("rate", 501), Goal("part", 0.3))
    }
    assert list(met.values()) == [True, False, True, False, False]
    assert [str(goal) for goal in met] == [
        "≥ 2.5 ×",
        "≥ 92% of the ceiling",
        "≤ 2 ms",
        "≥ 501 /s",
        "≤ 30% of the first",
    ]


def test_the_page_has_the_goal_of_the_scorers_decoder_and_so_have_the_decisions() -> None:
    goal = Goal("share", SCORING_SHARE)
    _, _, table = PAGE.read_text("utf-8").partition("| HMR-Scorer's decoder")
    row = next(line for line in table.splitlines() if line.split("|")[2].strip() == "the engine, bfloat16")
    share = int(row.split("|")[5].strip(" %")) / 100
    assert f"| {goal}: {'reached' if share >= goal.value else 'not reached'} |" in row
    decisions = (PAGE.parent / "decisions.md").read_text("utf-8")
    assert (f"| HMR-Scorer's decoder in bfloat16 at {SCORING_SHARE * 100:.0f} %" in decisions) == (share < goal.value)


def test_ways_are_timed_by_turns_and_the_first_turn_does_not_count() -> None:
    calls: list[str] = []
    lengths = iter([100.0, 100.0, 4.0, 1.0, 8.0, 2.0, 6.0, 3.0])

    def clock(run: object) -> float:
        assert callable(run)
        run()
        return next(lengths)

    ways = {"plain": Way(lambda: calls.append("plain")), "fast": Way(lambda: calls.append("fast"), units=2)}
    measured: Measured = measure("group", "unit", ways, repeats=3, clock=clock)
    assert calls == ["plain", "fast"] * 4
    assert [(figure.ms, figure.faster) for figure in measured.figures] == [(6000, 1), (1000, 6)]
