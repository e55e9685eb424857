"""Figures of networks at the published sizes: sampling, scoring, the encoders, a step of DPO.

The engine's ways go through what its stages call, with a copy of the network each; a precision has a row where the
configuration has a field for it.
"""

from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Final

import numpy as np
import torch

from infra.node_cache import NodeCache
from models.bodies import load_body
from models.diffusion import POSE_SIZE
from models.hmr_scorer import HMRScorer
from models.policy import Policy
from models.scorer_input import upright_joints
from schemas.config.engine import EngineConfig
from tasks.engine.loop import Training
from tasks.generate import HypothesisSampler
from tasks.rows.crops import crop_tensor
from tasks.score import HypothesisScorer
from tasks.train.align import AlignRecipe
from tasks.train.pairs import PreferencePairs
from tests.benchmarks import plain
from tests.benchmarks.figures import Goal, Measured, Precision, Way, measure
from tests.benchmarks.operations import counted_flop, sampling_flop, scoring_flop

CPU = torch.device("cpu")
BOTH: Final[tuple[Precision, ...]] = ("float32", "bfloat16")
_FEATURES_BYTES: Final = 2**30
"""Room for what a frozen encoder makes of the crops of a step: without any, each step would make it again."""
SHARES = {"float32": 0.92, "bfloat16": 0.75}
"""Of the ceiling, that sampling should reach."""
SCORING_SHARE = 0.82
"""Of the ceiling of bfloat16, that the scorer's decoder should reach: 1.5 times what it came to when the goal was set,
8.4 ms for 1.4e9 operations under a ceiling of 306e9 a second."""


class Networks:
    """Random weights, invented crops, and how many of each."""

    def __init__(self, config: EngineConfig, images: int, hypotheses: int, pairs: int) -> None:
        self.config, self.images, self.hypotheses, self.pairs = config, images, hypotheses, pairs
        self.policy, self.scorer = (
            network.eval().requires_grad_(False) for network in (Policy(config.policy), HMRScorer(config.scorer))
        )
        self.draw = np.random.default_rng(0)
        self.names = [f"invented/train/{index}#0" for index in range(images)]

    def crops(self, count: int) -> np.ndarray:
        """(count, S, S, 3) uint8."""
        size = self.config.policy.condition.image_size
        return self.draw.integers(0, 256, (count, size, size, 3), dtype=np.uint8)

    def normal(self, *shape: int) -> np.ndarray:
        """Unit normal numbers, float32."""
        return self.draw.standard_normal(shape, dtype=np.float32)

    def uvd(self) -> np.ndarray:
        """(images, hypotheses, 29, 3)"""
        shape = (self.images, self.hypotheses, 29, 3)
        return self.draw.uniform(-0.6, 0.6, shape).astype(np.float32)


def network_figures(networks: Networks, repeats: int) -> Iterator[Measured]:
    """All groups of this module, one after the other."""
    yield sampling(networks, repeats)
    if networks.config.scorer.condition.is_vit:
        yield scoring(networks, repeats)
    yield encoding(networks, repeats)
    yield judging(networks, repeats)
    for trained in (True, False):
        yield preference_step(networks, trained, repeats)


@torch.no_grad()
def sampling(networks: Networks, repeats: int) -> Measured:
    """Hypotheses from the features of crops, which are made beforehand."""
    config, crops, policy = networks.config, networks.crops(networks.images), networks.policy
    encoded = policy.encode(crop_tensor(crops, CPU))
    context, count = encoded[0], networks.images * networks.hypotheses
    steps, places = len(config.policy.diffusion.sampler_steps), context.image[0, 0].numel()
    flop = sampling_flop(config.policy.hyponet, steps, networks.hypotheses, places)
    noise = torch.from_numpy(networks.normal(networks.images, networks.hypotheses, POSE_SIZE))
    ways = {"plain": Way(lambda: plain.sample(policy, context, noise), count, flop, published_ms=138.8)}
    for precision in BOTH:
        sampler = _sampler(networks, precision=precision)
        sampler.policy.encode = lambda crops: encoded
        goals = (Goal("share", SHARES[precision]),)
        ways[f"the engine, {precision}"] = Way(_drawing(networks, sampler, crops), count, flop, precision, goals=goals)
    return measure(_title("sampling", networks), "hypothesis", ways, repeats=repeats, precisions=BOTH)


@torch.no_grad()
def scoring(networks: Networks, repeats: int) -> Measured:
    """HMR-Scorer's decoder on the features of crops, which are made beforehand."""
    config, crops, scorer = networks.config, networks.crops(networks.images), networks.scorer
    encoded = scorer.encode(crop_tensor(crops, CPU))
    pyramid, uvd, twists = encoded[0], networks.uvd(), networks.normal(networks.images, networks.hypotheses, 23, 2)
    flop = scoring_flop(config.scorer, networks.hypotheses, pyramid.coarse[0, 0].numel())
    upright, count = upright_joints(torch.from_numpy(uvd)), networks.images * networks.hypotheses
    ways = {"plain": Way(lambda: plain.score(scorer.score_net, *pyramid, upright), count, flop, published_ms=20.8)}
    for precision in _offered(config.score, "precision"):
        judge = _scorer(networks, precision=precision)
        judge.scorer.encode = lambda crops: encoded
        ways[f"the engine, {precision}"] = Way(
            lambda judge=judge: judge(crops, uvd, twists),
            count,
            flop,
            precision,
            goals=() if precision == "float32" else (Goal("share", SCORING_SHARE),),
        )
    return measure(_title("HMR-Scorer's decoder", networks), "hypothesis", ways, repeats=repeats, precisions=BOTH)


def encoding(networks: Networks, repeats: int) -> Measured:
    """The policy's image encoder."""
    crops, count = networks.crops(networks.images), networks.images
    flop = counted_flop(lambda: networks.policy.encode(crop_tensor(crops[:1], CPU)))
    drawn = torch.zeros(count, 1, 29, 3), torch.zeros(count, 1, 23, 2)
    ways = {}
    for precision in _offered(networks.config.generate, "encoder_precision"):
        sampler = _sampler(networks, encoder_precision=precision)
        sampler.policy.sample = lambda *given, **more: drawn
        ways[f"the engine, {precision}"] = Way(
            _drawing(networks, sampler, crops),
            count,
            flop,
            precision,
            published_ms=287.5 if precision == "float32" else None,
            goals=() if precision == "float32" else (Goal("faster", 2),),
        )
    kind = networks.config.policy.condition.kind
    return measure(f"the policy's encoder, {kind}", "image", ways, repeats=repeats, precisions=BOTH)


def judging(networks: Networks, repeats: int) -> Measured:
    """The scorer's image encoder."""
    crops, count = networks.crops(networks.images), networks.images
    flop = counted_flop(lambda: networks.scorer.encode(crop_tensor(crops[:1], CPU)))
    uvd, twists = np.zeros((count, 1, 29, 3), np.float32), np.zeros((count, 1, 23, 2), np.float32)
    ways = {}
    for precision in _offered(networks.config.score, "encoder_precision"):
        judge = _scorer(networks, encoder_precision=precision)
        judge.scorer.score = lambda *given, **more: torch.zeros(count, 1)
        ways[f"the engine, {precision}"] = Way(
            lambda judge=judge: judge(crops, uvd, twists),
            count,
            flop,
            precision,
            published_ms=422.5 if precision == "float32" else None,
            goals=() if precision == "float32" else (Goal("faster", 2),),
        )
    kind = networks.config.scorer.condition.kind
    return measure(f"the scorer's encoder, {kind}", "image", ways, repeats=repeats, precisions=BOTH)


def preference_step(networks: Networks, trained: bool, repeats: int) -> Measured:
    """A step of DPO, whose encoder is trained or frozen."""
    config, count = networks.config.align, networks.pairs
    crops, poses = networks.crops(count), networks.normal(2, count, POSE_SIZE) * 0.3
    data = PreferencePairs(crops, np.arange(count), *poses)
    stepping = plain.PreferenceStep(deepcopy(networks.policy), networks.policy, config.beta, frozen=not trained)
    diffusion, given = networks.policy.diffusion, crop_tensor(crops, CPU)
    winner, loser = (diffusion.scale(part[:, :87], part[:, 87:]) for part in torch.from_numpy(poses))
    time, noise = torch.arange(count) * 37 % 1000, torch.from_numpy(networks.normal(count, POSE_SIZE))
    ways = {"plain": Way(lambda: stepping(given, winner, loser, time, noise), published_ms=15_450 if trained else None)}
    for precision in _offered(config.optimiser, "precision"):
        training = _training(networks, data, trained, precision)
        goal = {"float32": 2.4, "bfloat16": 5.0}[precision]
        ways[f"the engine, {precision}"] = Way(
            lambda training=training: step(training),
            precision=precision,
            goals=() if trained else (Goal("faster", goal),),
        )
    of = "trained" if trained else "frozen"
    return measure(f"a step of DPO on {count} crops, encoder {of}", "step", ways, repeats=repeats)


def frozen_step(networks: Networks, precision: Precision) -> Training:
    """A training on `networks.pairs` crops in each of its steps, whose encoder is frozen."""
    count = networks.pairs
    poses = networks.normal(2, count, POSE_SIZE) * 0.3
    return _training(networks, PreferencePairs(networks.crops(count), np.arange(count), *poses), False, precision)


def _training(networks: Networks, data: PreferencePairs, trained: bool, precision: Precision) -> Training:
    recipe = alignment(networks, data, trained, precision)
    return Training(recipe, recipe.config.optimiser)


def alignment(
    networks: Networks,
    data: PreferencePairs,
    trained: bool = False,
    precision: Precision = "float32",
    features_bytes: int = _FEATURES_BYTES,
    cache: NodeCache | None = None,
    **changes: object,
) -> AlignRecipe:
    """DPO on `networks.pairs` crops of `data` in each step, with further `changes` of align's fields."""
    config = networks.config.align
    rate = config.optimiser.encoder_learning_rate if trained else 0.0
    optimiser = {"steps": 1, "encoder_learning_rate": rate, "precision": precision, "micro_batches": 1}
    changed = {
        "dropout": False,  # the plain step has none
        "optimiser": config.optimiser.model_copy(update=optimiser),
        **dict.fromkeys(("batch_crops", "denoised_crops"), networks.pairs),
        **changes,
    }
    policy = deepcopy(networks.policy).requires_grad_(True)
    frozen = deepcopy(networks.policy)
    return AlignRecipe(config.model_copy(update=changed), policy, frozen, data, None, CPU, features_bytes, cache)


def step(training: Training) -> None:
    """The first step of a training, once more."""
    training.step = 0
    training.run(lambda step, figures, state: None)


def _sampler(networks: Networks, **changes: object) -> HypothesisSampler:
    fields = type(networks.config.generate).model_fields
    update = {name: value for name, value in changes.items() if name in fields}
    update |= {"hypotheses": networks.hypotheses, "microbatch": networks.images}
    generation = networks.config.generate.model_copy(update=update)
    return HypothesisSampler(deepcopy(networks.policy), generation, load_body("tiny"))


def _drawing(networks: Networks, sampler: HypothesisSampler, crops: np.ndarray) -> Callable[[], object]:
    size = networks.config.policy.condition.image_size
    camera = np.tile(np.array([size, size, size / 2, size / 2], np.float32), (networks.images, 1))
    depth = np.full(networks.images, 4.0, np.float32)
    return lambda: sampler(networks.names, crops, camera, depth)


def _scorer(networks: Networks, **changes: object) -> HypothesisScorer:
    fields = type(networks.config.score).model_fields
    update = {name: value for name, value in changes.items() if name in fields}
    update |= {"mirror": False, "microbatch": networks.images}
    return HypothesisScorer(deepcopy(networks.scorer), networks.config.score.model_copy(update=update))


def _offered(config: object, field: str) -> tuple[Precision, ...]:
    """The precisions of a part of the configuration: 32 bits alone where it has no such field."""
    return BOTH if field in type(config).model_fields else ("float32",)


def _title(what: str, networks: Networks) -> str:
    return f"{what}, {networks.images} × {networks.hypotheses}"
