"""LoRA for HypoNet: every attention's input projection gets a trained addition of low rank; the rest is frozen.

Source: LoRA (Hu et al., ICLR 2022), in the form of ADHMR's published option (rank 4, on the joint weight of queries,
keys and values). The plain HypoNet knows nothing of it: its attentions are exchanged in place.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from models.attention import Attention
from models.hyponet import HypoNet

PUBLISHED_RANK = 4
PUBLISHED_SCALE = 0.5
"""Factor on the additions."""
_ADDITION = "lora_proj"


class LowRank(nn.Module):
    """A matrix (rows, columns) as `scale` times the product of two thin ones; zero until it is trained."""

    def __init__(self, rows: int, columns: int, rank: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.lora_a = nn.Parameter(torch.randn(rows, rank) * rank**-0.5)
        self.lora_b = nn.Parameter(torch.zeros(rank, columns))

    def forward(self) -> Tensor:
        """(rows, columns)."""
        return self.scale * (self.lora_a @ self.lora_b)


class LowRankAttention(Attention):
    """Attention whose weight of queries, keys and values is a frozen one plus a trained addition of low rank."""

    def __init__(self, base: Attention, rank: int, scale: float) -> None:
        super().__init__(base.embed_dim, base.num_heads)
        self.load_state_dict(base.state_dict())
        self.to(base.in_proj_weight)
        rows, columns = base.in_proj_weight.shape
        self.lora_proj = LowRank(rows, columns, rank, scale).to(base.in_proj_weight)

    def projection(self) -> Tensor:
        """(3C, C) weight that makes queries, keys and values."""
        return self.in_proj_weight + self.lora_proj()


def add_low_rank(network: HypoNet, rank: int = PUBLISHED_RANK, scale: float = PUBLISHED_SCALE) -> HypoNet:
    """Give the attentions of `network` additions of `rank`, in place, and freeze all its other weights.

    The output stays what it was until the additions are trained. The state dict keeps its keys and gains
    `*.lora_proj.lora_a` and `*.lora_proj.lora_b`, as in the published LoRA checkpoints.
    """
    network.requires_grad_(False)
    for owner in list(network.modules()):
        for name, child in list(owner.named_children()):
            if isinstance(child, Attention) and not isinstance(child, LowRankAttention):
                adapted = LowRankAttention(child, rank, scale).train(child.training)
                adapted.requires_grad_(False).lora_proj.requires_grad_(True)
                setattr(owner, name, adapted)
    return network


@torch.no_grad()
def merged(state: Mapping[str, Tensor], scale: float = PUBLISHED_SCALE) -> dict[str, Tensor]:
    """A state dict without additions that gives the same output: each, times `scale`, is in the weight beside it."""
    plain = {name: value for name, value in state.items() if f".{_ADDITION}." not in name}
    for name in state:
        owner, found, _ = name.partition(f".{_ADDITION}.lora_a")
        if found:
            thin = state[f"{owner}.{_ADDITION}.lora_a"] @ state[f"{owner}.{_ADDITION}.lora_b"]
            plain[f"{owner}.in_proj_weight"] = state[f"{owner}.in_proj_weight"] + scale * thin
    return plain


@torch.no_grad()
def merged_state(network: HypoNet) -> dict[str, Tensor]:
    """The state dict of a plain HypoNet that gives the same output: every addition added to its weight."""
    state = {name: value for name, value in network.state_dict().items() if f".{_ADDITION}." not in name}
    for name, module in network.named_modules():
        if isinstance(module, LowRankAttention):
            state[f"{name}.in_proj_weight"] = module.projection().detach().clone()
    return state
