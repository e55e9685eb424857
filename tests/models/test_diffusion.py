"""Schedules, parameterisations and DDIM."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.diffusion import Diffusion, betas_of
from models.hyponet import Context
from models.policy import Policy
from schemas.config.networks import DiffusionConfig, PolicyConfig


class _Oracle(torch.nn.Module):
    """Stands in for HypoNet: knows the clean pose and answers what the parameterisation asks for."""

    def __init__(self, diffusion: Diffusion, pose: torch.Tensor) -> None:
        super().__init__()
        self.diffusion, self.pose = diffusion, pose

    def look(self, context):  # type: ignore[no-untyped-def]
        return ()

    def forward(self, joints, twists, time, context, seen):  # type: ignore[no-untyped-def]
        seen = torch.cat([joints, twists], dim=1)
        if self.diffusion.config.parameterisation == "eps":
            kept = self.diffusion.alphas_cumprod[time][:, None]
            output = (seen - kept.sqrt() * self.pose) / (1 - kept).sqrt()
        else:
            sigma, spread = self.diffusion.sigma(time), self.diffusion.config.sigma_data
            total = (sigma**2 + spread**2).sqrt()
            centre = self.diffusion.scale(context.centre_joints, context.centre_twists)
            deviation = seen * total
            output = (self.pose - centre - deviation * (spread / total) ** 2) / (sigma * spread / total)
        return output[:, :87], output[:, 87:]


def _context(count: int) -> Context:
    return Context(
        torch.zeros(count, 8, 2, 2), torch.zeros(count, 52, 4), torch.randn(count, 87) * 0.1, torch.zeros(count, 46)
    )


@pytest.mark.parametrize("schedule", ["linear", "cosine", "quad", "sigmoid"])
def test_schedules_fall_from_signal_to_noise(schedule: str) -> None:
    config = DiffusionConfig(schedule=schedule)
    betas = betas_of(config)
    assert betas.shape == (1000,)
    assert (betas > 0).all()
    assert (betas < 1).all()
    kept = Diffusion(config).alphas_cumprod
    assert (kept.diff() < 0).all()
    assert kept[0] > 0.99
    assert kept[-1] < 0.02


def test_the_sigmoid_schedule_spans_six_on_either_side() -> None:
    config = DiffusionConfig(schedule="sigmoid")
    span = config.beta_end - config.beta_start
    ends = torch.sigmoid(torch.tensor([-6.0, 6.0])) * span + config.beta_start
    torch.testing.assert_close(betas_of(config)[[0, -1]], ends, atol=1e-7, rtol=0)


def test_linear_schedule_has_the_published_ends() -> None:
    betas = betas_of(DiffusionConfig())
    assert betas[0].item() == pytest.approx(1e-4)
    assert betas[-1].item() == pytest.approx(2e-2)


@given(st.integers(0, 2**31), st.integers(0, 999))
def test_scaling_is_undone(seed: int, time: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    uvd, twists = torch.rand(2, 29, 3, generator=generator), torch.rand(2, 23, 2, generator=generator)
    diffusion = Diffusion(DiffusionConfig())
    back = diffusion.unscale(diffusion.scale(uvd, twists))
    torch.testing.assert_close(back[0], uvd)
    torch.testing.assert_close(back[1], twists)


def test_sigma_is_the_noise_that_the_forward_process_adds_over_the_signal_that_it_keeps() -> None:
    diffusion, time = Diffusion(DiffusionConfig()), torch.arange(0, 1000, 37)
    one, none = torch.ones(len(time), 133), torch.zeros(len(time), 133)
    added, kept = diffusion.add_noise(none, time, one), diffusion.add_noise(one, time, none)
    torch.testing.assert_close(diffusion.sigma(time).expand_as(one), added / kept)


@pytest.mark.parametrize("parameterisation", ["eps", "edm"])
def test_a_perfect_network_gives_the_pose_from_any_noise(parameterisation: str) -> None:
    torch.manual_seed(0)
    diffusion = Diffusion(DiffusionConfig(parameterisation=parameterisation))
    pose = torch.randn(3, 133) * 5
    oracle = _Oracle(diffusion, pose)
    time, noise = torch.tensor([0, 300, 900]), torch.randn(3, 133)
    denoised = diffusion.denoise(oracle, diffusion.add_noise(pose, time, noise), time, _context(3))
    torch.testing.assert_close(denoised.pose, pose, atol=2e-3, rtol=1e-3)
    torch.testing.assert_close(denoised.noise[1:], noise[1:], atol=2e-3, rtol=1e-3)
    sampled = diffusion.sample(oracle, torch.randn(3, 133), _context(3))
    torch.testing.assert_close(sampled, pose, atol=2e-3, rtol=1e-3)


def test_stochastic_sampling_asks_for_its_noise() -> None:
    diffusion = Diffusion(DiffusionConfig(eta=0.5))
    with pytest.raises(ValueError, match="noise"):
        diffusion.sample(_Oracle(diffusion, torch.zeros(1, 133)), torch.zeros(1, 133), _context(1))


def test_policy_samples_are_the_same_alone_and_together() -> None:
    torch.manual_seed(0)
    policy = Policy(PolicyConfig()).eval()
    crops, noise = torch.rand(2, 3, 64, 64) * 2 - 1, torch.randn(2, 3, 133)
    with torch.no_grad():
        context, _ = policy.encode(crops)
        uvd, twists = policy.sample(context, noise)
        alone, _ = policy.sample(Context(*(part[1:] for part in context)), noise[1:, 2:])
    assert uvd.shape == (2, 3, 29, 3)
    assert twists.shape == (2, 3, 23, 2)
    torch.testing.assert_close(twists.norm(dim=-1), torch.ones(2, 3, 23))
    torch.testing.assert_close(alone[0, 0], uvd[1, 2], atol=1e-4, rtol=1e-4)
