"""What the last bits of torch's results depend on, beside the inputs."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def fixed_numerics(threads: int) -> Iterator[None]:
    """Work with so many threads, and with denormal numbers that count as zero (for speed); put back afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(before)
