"""Fast paths of the networks: the same bits where only work is saved, close where products have 16 bits."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn import functional as F

from models import policy as module
from models.attention import Attention, DecoderBlock, KeysValues, mixed_values
from models.condition import ConditionNetwork
from models.diffusion import POSE_SIZE
from models.hmr_scorer import HMRScorer
from models.hrnet_condition import HRNetCondition
from models.hyponet import Context
from models.policy import Policy, folds
from models.precision import HALF, halve_convolutions, products_of, training_in
from models.vit import HEIGHT, WIDTH, VisionTransformer, VitSize
from schemas.config.networks import ConditionConfig
from schemas.profiles import tiny
from tests.waits import Waits

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def policy() -> Policy:
    torch.manual_seed(0)
    return Policy(tiny().policy).eval().requires_grad_(False)


def encoded(policy: Policy, images: int, seed: int = 0) -> Context:
    crops = torch.rand(images, 3, 64, 64, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    with torch.no_grad():
        return policy.encode(crops)[0]


def noise_of(images: int, hypotheses: int) -> Tensor:
    return torch.randn(images, hypotheses, POSE_SIZE, generator=torch.Generator().manual_seed(1))


def attended(attention: Attention, query: Tensor, key: Tensor, value: Tensor, blocked: Tensor | None) -> Tensor:
    """Attention as it was before keys and values were kept."""
    parts = zip((query, key, value), attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3), strict=True)
    heads = (F.linear(*part).unflatten(-1, (attention.num_heads, -1)).transpose(1, 2) for part in parts)
    mixed = F.scaled_dot_product_attention(*heads, attn_mask=None if blocked is None else ~blocked)
    return attention.out_proj(mixed.transpose(1, 2).flatten(2))


class PlainBlock(nn.Module):
    """The block as it was, which projects the image in each step; looks at what `see` leaves it."""

    def __init__(self, block: DecoderBlock) -> None:
        super().__init__()
        self.block = block

    def see(self, image: Tensor, code: Tensor) -> KeysValues:
        return KeysValues(image + code, image)

    def forward(self, items: Tensor, item_code: Tensor, seen: KeysValues, blocked: Tensor | None) -> Tensor:
        block = self.block
        normed = block.norm1(items)
        placed = normed + item_code
        items = items + attended(block.self_attn, placed, placed, normed, blocked)
        query = (block.norm2(items) + item_code).reshape(seen.keys.shape[0], -1, items.shape[-1])
        items = items + attended(block.multihead_attn, query, *seen, None).reshape_as(items)
        return items + block.linear2(F.relu(block.linear1(block.norm3(items))))


@torch.no_grad()
def test_what_is_projected_once_gives_the_bits_of_projecting_it_in_each_step(policy: Policy) -> None:
    context, noise = encoded(policy, 10), noise_of(10, 16)
    found = policy.sample(context, noise)
    torch.manual_seed(0)
    plain = Policy(tiny().policy).eval()
    plain.hyponet.blocks = nn.ModuleList(PlainBlock(block) for block in plain.hyponet.blocks)  # type: ignore[arg-type]
    pose = plain.diffusion.sample(plain.hyponet, noise.flatten(0, 1), context)
    uvd, twists = plain.diffusion.unscale(pose)
    assert torch.equal(found[0].flatten(0, 1), uvd)
    assert torch.equal(found[1].flatten(0, 1), nn.functional.normalize(twists, dim=-1, eps=1e-6))


def test_folds_hold_every_hypothesis_once_and_no_more_than_asked_for() -> None:
    for images, hypotheses, limit in ((10, 16, 630), (8, 101, 78), (3, 50, 120), (1, 7, 1), (4, 9, None)):
        seen = torch.zeros(images, hypotheses, dtype=torch.int)
        for chosen, rows in folds(images, hypotheses, limit):
            assert limit is None or seen[chosen, rows].numel() <= limit
            seen[chosen, rows] += 1
        assert (seen == 1).all()


def test_folds_change_no_hypothesis(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    context, noise = encoded(policy, 3), noise_of(3, 20)
    together = policy.sample(context, noise)[0]
    monkeypatch.setattr(module, "FOLD", 10 * 52 * policy.config.hyponet.width)
    torch.testing.assert_close(policy.sample(context, noise)[0], together, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_no_step_of_the_sampler_waits_for_the_device() -> None:
    """On the device `meta`, which computes nothing: whoever waits for a number there, waits for ever."""
    policy = Policy(tiny().policy).eval().to("meta")
    context = Context(*(part.to("meta") for part in encoded(Policy(tiny().policy).eval(), 2)))
    start = noise_of(2, 3).flatten(0, 1).to("meta")
    seen = policy.hyponet.look(context)
    policy.diffusion.sample(policy.hyponet, start, context, seen=seen)  # the table of the schedule goes there once
    with Waits() as waits:
        policy.diffusion.sample(policy.hyponet, start, context, seen=seen)
        policy.hyponet.look(context)
    assert waits.noted == []


@torch.no_grad()
def test_no_look_of_the_scorer_waits_for_the_device() -> None:
    scorer = HMRScorer(tiny().scorer).eval().to("meta")
    crops, uvd, twists = (torch.empty(2, *shape, device="meta") for shape in ((3, 64, 64), (3, 29, 3), (3, 23, 2)))
    encoded = scorer.encode(crops)
    scorer.scores(*encoded, uvd, twists)  # the code of the picture's grid goes there once
    with Waits() as waits:
        scorer.scores(*encoded, uvd, twists)
    assert waits.noted == []


@pytest.mark.parametrize(("queries", "keys"), [(52, 52), (104, 64)])
def test_attention_of_halves_on_the_cpu_is_the_fused_kernels(queries: int, keys: int) -> None:
    torch.manual_seed(0)
    query, *seen = (torch.randn(2, 4, count, 16) for count in (queries, keys, keys))
    blocked = torch.rand(queries, keys) < 0.5
    blocked[:, 0] = False
    found = mixed_values(query.to(HALF), KeysValues(*(part.to(HALF) for part in seen)), blocked)
    torch.testing.assert_close(
        found.float(), F.scaled_dot_product_attention(query, *seen, attn_mask=~blocked), atol=0.03, rtol=0.03
    )


@torch.no_grad()
def test_a_halved_denoiser_is_a_copy_that_draws_nearly_the_same(policy: Policy) -> None:
    context, noise = encoded(policy, 2), noise_of(2, 8)
    full = policy.sample(context, noise)[0]
    half = policy.sample(context, noise, policy.hyponet.halved())[0]
    assert half.dtype == torch.float32
    assert 0 < (half - full).norm() / full.norm() < 0.02
    assert {weights.dtype for weights in policy.hyponet.parameters()} == {torch.float32}
    assert torch.equal(policy.sample(context, noise)[0], full)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["compact", "hrnet"])
def test_halved_encoders_keep_heads_of_32_bits_and_see_nearly_the_same(kind: str, policy: Policy) -> None:
    torch.manual_seed(0)
    network: ConditionNetwork | HRNetCondition = deepcopy(policy.condition)  # type: ignore[assignment]
    if kind == "hrnet":
        network = HRNetCondition(
            ConditionConfig(kind="hrnet_w48", image_size=64), token_width=16, local_channels=8, width=8
        )
    network.train()
    for _ in range(20):  # running statistics that have seen something
        network(torch.rand(4, 3, 64, 64) * 2 - 1)
    network.eval()
    crops = torch.rand(4, 3, 64, 64) * 2 - 1
    context, estimate = network(crops)
    half = deepcopy(network)
    half.halve()
    assert not any(isinstance(part, nn.BatchNorm2d) for part in half.modules())
    seen, estimated = half(crops)
    assert {part.dtype for part in (*seen, *estimated)} == {torch.float32}
    assert 0 < (seen.image - context.image).norm() / context.image.norm() < 0.02
    assert 0 < (estimated.uvd - estimate.uvd).abs().mean() < 0.02
    assert torch.equal(network(crops)[0].image, context.image)


@torch.no_grad()
def test_a_halved_vision_transformer_sees_nearly_the_same() -> None:
    torch.manual_seed(0)
    network = VisionTransformer(VitSize(64, 2, 4)).eval()
    pictures = torch.rand(2, 3, HEIGHT, WIDTH)
    full, _ = network(pictures)
    network.halve()
    assert 0 < (network(pictures)[0] - full).norm() / full.norm() < 0.02


def test_a_normalisation_without_its_convolution_is_refused() -> None:
    with pytest.raises(TypeError, match=r"Sequential\.1 normalises what ReLU gives"):
        halve_convolutions(nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3)))


@torch.no_grad()
@pytest.mark.parametrize(("decoder", "encoder"), [(True, False), (False, True), (True, True)])
def test_a_halved_scorer_orders_the_hypotheses_of_a_person_alike(decoder: bool, encoder: bool) -> None:
    torch.manual_seed(0)
    scorer = HMRScorer(tiny().scorer).eval()
    for layer in scorer.score_net.linear_mlp:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5)  # an untrained one's last layer is silent
    crops, uvd, twists = torch.rand(4, 3, 64, 64) * 2 - 1, torch.rand(4, 50, 29, 3) - 0.5, torch.randn(4, 50, 23, 2)
    full = scorer.score(*scorer.encode(crops), uvd, twists)
    half = scorer.halved(decoder=decoder, encoder=encoder)
    scores = half.score(*half.encode(crops), uvd, twists)
    assert not torch.equal(scores, full)
    for one, other in zip(full, scores, strict=True):
        assert spearmanr(one, other).statistic >= 0.995


def test_training_computes_in_16_bits_on_weights_of_32() -> None:
    layer = nn.Linear(4, 4)
    with training_in("bfloat16", CPU):
        made = layer(torch.ones(1, 4))
    assert made.dtype == HALF
    made.float().sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.dtype == torch.float32
    with training_in("float32", CPU):
        assert layer(torch.ones(1, 4)).dtype == torch.float32


@pytest.mark.parametrize(("precision", "allowed"), [("tfloat32", True), ("float32", False), ("bfloat16", False)])
def test_a_gpu_rounds_products_only_where_it_was_asked_to(precision: Any, allowed: bool) -> None:
    switches = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [switch.allow_tf32 for switch in switches]
    with products_of(precision):
        assert [switch.allow_tf32 for switch in switches] == [allowed, allowed]
    assert [switch.allow_tf32 for switch in switches] == before
