"""In which precision networks compute: copies of them in bfloat16 for drawing and scoring, autocast for training.

What is exact in 32 bits stays so: heads that read poses off, normalisations, residual sums, noise and poses.
"""

from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

from schemas.config.base import Precision

HALF = torch.bfloat16


@contextmanager
def products_of(precision: Precision) -> Iterator[None]:
    """Whether a GPU may round the factors of 32-bit products to 19 bits: with "tfloat32" it may, else not."""
    switches: tuple[Any, ...] = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [switch.allow_tf32 for switch in switches]
    try:
        for switch in switches:
            switch.allow_tf32 = precision == "tfloat32"
        yield
    finally:
        for switch, allowed in zip(switches, before, strict=True):
            switch.allow_tf32 = allowed


@contextmanager
def training_in(precision: Precision, device: torch.device) -> Iterator[None]:
    """A forward pass in `precision`. The weights keep 32 bits, and so do their gradients and the optimiser."""
    with products_of(precision), torch.autocast(device.type, HALF, enabled=precision == "bfloat16"):
        yield


def in_32_bits(device: torch.device) -> AbstractContextManager[Any]:
    """What is computed inside keeps 32 bits, in the midst of `training_in` as well."""
    if torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


def in_32_bits_or_more(values: Tensor) -> Tensor:
    """What a part in bfloat16 gives, as a head in 32 bits takes it; doubles stay doubles."""
    return values if values.dtype == torch.float64 else values.float()


@torch.no_grad()
def halve_convolutions(module: nn.Module, heads: Collection[str] = ()) -> None:
    """Bring the weights below `module` to bfloat16 and channels-last, but for its parts `heads`; in place.

    Each normalisation by running statistics goes into the convolution before it, so this is for drawing, not for
    training. Convolution and normalisation must be registered one after the other, as they are computed.
    """
    for owner in list(module.modules()):
        children = list(owner.named_children())
        for (name, convolution), (normed, norm) in pairwise(children):
            if not isinstance(norm, nn.BatchNorm2d):
                continue
            if isinstance(convolution, nn.Conv2d):
                fused: nn.Module = fuse_conv_bn_eval(convolution, norm)
            elif isinstance(convolution, nn.ConvTranspose2d):
                fused = fuse_conv_bn_eval(convolution, norm, transpose=True)
            else:
                raise TypeError(f"{type(owner).__name__}.{normed} normalises what {type(convolution).__name__} gives")
            setattr(owner, name, fused)
            setattr(owner, normed, nn.Identity())
    for name, part in module.named_children():
        if name not in heads:
            part.to(HALF).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
