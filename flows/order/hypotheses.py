"""The order in which a round comes to scored hypotheses: generate → score, or in one pass where not all are kept."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from flows.run.runner import Runner
from schemas.config.stages import PairConfig
from schemas.ids import ModelDigest, StageKey
from tasks.rows.mix import Mix
from tasks.stages.draw import Draw, PairDrawn
from tasks.stages.generate import Generate
from tasks.stages.pair import Pair
from tasks.stages.score import Score


class Scored(NamedTuple):
    """Hypotheses of people and their scores, and the stage that makes pairs of them."""

    hypotheses: StageKey
    scores: StageKey
    pair: Callable[[PairConfig], Pair]


def draw_and_score(
    runner: Runner, wild: Mix, policy: ModelDigest, scorer: ModelDigest, round_seed: int | None = None, role: str = ""
) -> Scored:
    """Hypotheses of a policy for the people, with the noise of a round; `hypotheses.keep` says what of them stays."""
    config = runner.context.config
    people, seed = (wild.ingests, wild.targets), (round_seed, wild.part)
    if config.hypotheses.keep == "all":
        hypotheses = runner.run(Generate(*people, policy, config.generate, *seed), role=role)
        scores = runner.run(Score(hypotheses, wild.ingests, scorer), role=role)
        return Scored(hypotheses, scores, partial(Pair, hypotheses, scores, ingests=wild.ingests))
    draw = Draw(*people, policy, scorer, config.generate, config.pair, config.hypotheses.keep, *seed)
    drawn = runner.run(draw, role=role)
    return Scored(drawn, drawn, partial(PairDrawn, drawn, drawn, ingests=wild.ingests))
