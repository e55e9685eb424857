"""The vision transformer: shapes, sizes, and what it refuses."""

import pytest
import torch

from models.vit import VIT_SIZES, SelfAttention, VisionTransformer, VitSize

SMALL = VitSize(channels=32, depth=2, heads=4)


def encoder() -> VisionTransformer:
    torch.manual_seed(0)
    return VisionTransformer(SMALL).eval()


@torch.no_grad()
def test_features_lie_on_the_grid_of_patches() -> None:
    features, tokens = encoder()(torch.rand(2, 3, 256, 192))
    assert features.shape == (2, 32, 16, 12)
    assert tokens.shape == (2, 31, 32)


@torch.no_grad()
def test_rows_and_columns_are_not_exchanged() -> None:
    network = encoder()
    network.blocks = torch.nn.ModuleList()  # no attention: a patch is seen at its own place alone
    dark, lit = torch.zeros(1, 3, 256, 192), torch.zeros(1, 3, 256, 192)
    lit[:, :, 3 * 16 + 8, 5 * 16 + 8] = 1.0
    change = (network(lit)[0] - network(dark)[0]).abs().sum(1)[0]
    assert change.nonzero().tolist() == [[3, 5]]


def test_pictures_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must be \(B, 3, 256, 192\), not \(1, 3, 192, 256\)"):
        encoder()(torch.zeros(1, 3, 192, 256))


def test_attention_equals_torchs_own() -> None:
    torch.manual_seed(0)
    ours, theirs = SelfAttention(16, 4), torch.nn.MultiheadAttention(16, 4, batch_first=True)
    theirs.load_state_dict(
        {
            "in_proj_weight": ours.qkv.weight,
            "in_proj_bias": ours.qkv.bias,
            "out_proj.weight": ours.proj.weight,
            "out_proj.bias": ours.proj.bias,
        }
    )
    tokens = torch.randn(2, 7, 16)
    torch.testing.assert_close(ours(tokens), theirs(tokens, tokens, tokens)[0], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", VIT_SIZES)
def test_heads_divide_channels(kind: str) -> None:
    size = VIT_SIZES[kind]
    assert size.channels % size.heads == 0


@pytest.mark.parametrize(("kind", "millions"), [("vit_s", 21.7), ("vit_b", 85.8)])
def test_parameter_counts(kind: str, millions: float) -> None:
    """Those of the published encoders: the blocks' and the tables', to a tenth of a million."""
    with torch.device("meta"):
        network = VisionTransformer(VIT_SIZES[kind])
    assert sum(value.numel() for value in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)
