"""Crops of several kinds that go through the encoder at once, and encoders that estimate less than others."""

import numpy as np
import pytest
import torch

from models.policy import Policy
from schemas.config.networks import ConditionConfig, DiffusionConfig, PolicyConfig
from schemas.config.optimiser import SupervisedLossConfig
from schemas.errors import ConfigError
from schemas.profiles import paper
from tasks.rows.crops import crop_tensor
from tasks.train.checks import check_estimate
from tasks.train.data import LabelledBatch, encode_together, supervised_loss
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


def test_weights_of_estimates_that_the_encoder_does_not_make_are_refused() -> None:
    encoder = ConditionConfig(kind="hrnet_w48", image_size=64)
    with pytest.raises(ConfigError, match=r"weights heat, depth, twist can't be used with .*hrnet_w48"):
        check_estimate(SupervisedLossConfig(), encoder)
    check_estimate(SupervisedLossConfig(), ConditionConfig())
    profile = paper()
    for losses in (profile.train_base.losses, profile.align.losses, profile.train_clean.losses):
        check_estimate(losses, profile.policy.condition)


@pytest.mark.slow
def test_the_published_encoder_learns_from_positions_and_betas() -> None:
    torch.manual_seed(0)
    config = PolicyConfig(
        condition=ConditionConfig(kind="hrnet_w48", image_size=64),
        hyponet=micro.CONFIG.policy.hyponet,
        diffusion=DiffusionConfig(parameterisation="eps"),
    )
    policy = Policy(config).eval()
    batch = LabelledBatch(torch.rand(1, 3, 64, 64) * 2 - 1, *(torch.rand(1, *s) for s in ((29, 3), (23, 2), (10,))))
    loss, figures = supervised_loss(
        policy, *policy.encode(batch.crops), batch, torch.tensor([300]), torch.randn(1, 133), paper().train_base.losses
    )
    loss.backward()
    assert torch.isfinite(torch.stack(list(figures.values()))).all()
    for name in ("hmap_layer.weight", "pred_beta.weight", "fmap_layer.weight", "conv1.weight"):
        assert policy.condition.get_parameter(name).grad.abs().sum() > 0, name
