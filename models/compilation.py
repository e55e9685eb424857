"""Compiled forms of networks, for drawing and scoring: `torch.compile`, for shapes of input that stay the same.

Compiled code adds in another order than the network's own: last bits differ, and are the same in every call.
"""

import warnings
from copy import copy
from functools import cache
from typing import TypeVar

import torch
from torch import nn

from schemas.errors import ConfigError

Network = TypeVar("Network", bound=nn.Module)


def compiled(network: Network) -> Network:
    """A form of the network that shares its weights and is compiled when it is first called, for each shape anew, which
    takes a minute. The network itself stays as it is.

    Raises ConfigError where nothing can be compiled for the device of its weights.
    """
    check_compiler(next(network.parameters()).device)
    form = copy(network)
    form.compile(dynamic=False)
    return form


@cache
def check_compiler(device: torch.device) -> None:
    """ConfigError unless a sum of two numbers can be compiled for this device; asked once in a process."""
    from torch._dynamo.exc import TorchDynamoException  # a second of imports, for those alone who compile

    # codes of positions are kept from call to call by a function of their sizes alone: it may be traced
    warnings.filterwarnings("ignore", "Dynamo detected a call to a `functools.lru_cache`")
    try:
        torch.compile(_sum)(torch.ones((), device=device))
    except TorchDynamoException as error:
        first = str(error).strip().splitlines()[0]
        needed = "Triton and a C compiler" if device.type == "cuda" else "a C++ compiler (g++)"
        raise ConfigError(
            f"compile=true, of generate or score, needs {needed} on the machines that compute: {first} Install it "
            "there, or leave the field false."
        ) from error


def _sum(values: torch.Tensor) -> torch.Tensor:
    return values + 1
