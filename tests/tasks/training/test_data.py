"""Crops of several kinds that go through the encoder at once."""

import numpy as np
import torch

from models.policy import Policy
from tasks.training.data import crop_tensor, encode_together
from tests.tasks import micro


def test_kinds_that_are_encoded_together_come_back_apart() -> None:
    torch.manual_seed(0)
    policy = Policy(micro.CONFIG.policy).eval()
    size = micro.CONFIG.policy.condition.image_size
    pictures = np.random.default_rng(0).integers(0, 256, (5, size, size, 3), dtype=np.uint8)
    crops = crop_tensor(pictures, torch.device("cpu"))
    with torch.no_grad():
        together = encode_together(policy, [crops[:2], crops[2:]])
        apart = [policy.encode(crops[:2]), policy.encode(crops[2:])]
    for one, other in zip(together, apart, strict=True):
        for parts, others in zip(one, other, strict=True):
            for part, expected in zip(parts, others, strict=True):
                torch.testing.assert_close(part, expected, rtol=1e-4, atol=1e-5)
