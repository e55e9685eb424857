"""How many operations a result needs, by counting: what shares of a ceiling are taken of.

They are those of the method, with the image's keys and values once for each image: a way that does more isn't credited
for it. A multiplication and an addition are two; norms, softmax and activations don't count.
"""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from schemas.config.networks import JOINTS, TWISTS, HypoNetConfig, ScorerConfig


def block_flop(width: int, ratio: int, items: int, places: int, sharing: int) -> float:
    """Of a decoder block for one hypothesis of `items` tokens, over an image of `places` that `sharing` look at."""
    projections = 8 * items * width**2 + 4 * items * width**2 + 4 * places * width**2 / sharing
    looking = 4 * items * (items + places) * width
    return projections + looking + 4 * ratio * items * width**2


def sampling_flop(config: HypoNetConfig, steps: int, hypotheses: int, places: int) -> float:
    """Of one hypothesis among `hypotheses` of an image, by `steps` of the sampler."""
    once = 2 * (JOINTS**2 * 3 + TWISTS**2 * 2) * config.joint_channels
    last = 2 * (JOINTS**2 * 3 + TWISTS**2 * 2) * config.width
    block = block_flop(config.width, config.feedforward_ratio, JOINTS + TWISTS, places, hypotheses * steps)
    return steps * (once + last + len(config.attention_hops) * block)


def scoring_flop(config: ScorerConfig, hypotheses: int, places: int) -> float:
    """Of the decoder for one hypothesis among `hypotheses` of an image."""
    items = JOINTS + config.twists
    once = 2 * (JOINTS**2 * 3 + config.twists**2 * 2) * config.joint_channels
    sizes = (items * config.width, *config.hidden, 1)
    last = sum(2 * before * after for before, after in pairwise(sizes))
    block = block_flop(config.width, config.feedforward_ratio, items, places, hypotheses)
    return once + last + len(config.attention_hops) * block


@torch.no_grad()
def counted_flop(run: Callable[[], object]) -> float:
    """Of products and convolutions of a call, as torch counts them."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:  # of fused attention it knows nothing
        run()
    return float(counter.get_total_flops())
