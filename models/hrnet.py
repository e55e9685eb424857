"""HRNet: parallel branches at 1/4, 1/8, 1/16 and 1/32 resolution that exchange what they see after every module.

Source: Sun et al., CVPR 2019 ("Deep high-resolution representation learning for human pose estimation"), with the
classification head of its authors' ImageNet models. Parameter names are those of the published weights, so that
ImageNet, COCO and ScoreHypo/ADHMR checkpoints load. Width 48 is HRNet-W48.
"""

from torch import Tensor, nn
from torch.nn import functional as F

STEM = 64
"""Channels of the stem and of the bottlenecks in the first stage."""
MODULES = (1, 4, 3)
"""Exchange modules in the second, third and fourth stage."""
BLOCKS = 4
"""Residual blocks in a branch of one module, and in the first stage."""
HEAD = (32, 64, 128, 256)
"""Inner channels of the bottlenecks through which the branches enter the head."""
SUMMARY = 1024
"""Channels in which the head brings all branches together."""
POOLED = 2048
"""Channels of its last features."""


def _convolution(channels_in: int, channels_out: int, kernel: int, stride: int = 1, bias: bool = False) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, bias=bias)


def _unit(channels_in: int, channels_out: int, kernel: int, stride: int = 1, bias: bool = False) -> nn.Sequential:
    """Convolution, normalisation, rectifier."""
    return nn.Sequential(
        _convolution(channels_in, channels_out, kernel, stride, bias),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
    )


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = _convolution(channels, channels, 3)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = _convolution(channels, channels, 3)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        hidden = F.relu(self.bn1(self.conv1(features)))
        return F.relu(features + self.bn2(self.conv2(hidden)))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolution around a shortcut; four times as many channels come out as there are inside."""

    expansion = 4

    def __init__(self, channels_in: int, inner: int) -> None:
        super().__init__()
        channels_out = inner * self.expansion
        self.conv1 = _convolution(channels_in, inner, 1)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = _convolution(inner, inner, 3)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = _convolution(inner, channels_out, 1)
        self.bn3 = nn.BatchNorm2d(channels_out)
        self.downsample = (
            nn.Identity()
            if channels_in == channels_out
            else nn.Sequential(_convolution(channels_in, channels_out, 1), nn.BatchNorm2d(channels_out))
        )

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 4 * inner, H, W)."""
        hidden = F.relu(self.bn1(self.conv1(features)))
        hidden = F.relu(self.bn2(self.conv2(hidden)))
        return F.relu(self.downsample(features) + self.bn3(self.conv3(hidden)))


class Exchange(nn.Module):
    """Residual blocks in every branch, then every branch receives the sum of all, brought to its own resolution."""

    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Sequential(*(BasicBlock(width) for _ in range(BLOCKS))) for width in widths)
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(_bridge(widths, source, target) for source in range(len(widths)))
            for target in range(len(widths))
        )

    def forward(self, branches: list[Tensor]) -> list[Tensor]:
        """Finest branch first, as many as there are widths."""
        outputs = [blocks(branch) for blocks, branch in zip(self.branches, branches, strict=True)]
        return [F.relu(self._received(target, outputs)) for target in range(len(outputs))]

    def _received(self, target: int, outputs: list[Tensor]) -> Tensor:
        bridges = self.fuse_layers[target]
        assert isinstance(bridges, nn.ModuleList)
        total = bridges[0](outputs[0])
        for source in range(1, len(outputs)):
            total = total + bridges[source](outputs[source])
        return total


def _bridge(widths: list[int], source: int, target: int) -> nn.Module:
    """What brings the branch `source` to the resolution and width of the branch `target`."""
    if source == target:
        return nn.Identity()
    if source > target:
        return nn.Sequential(
            _convolution(widths[source], widths[target], 1),
            nn.BatchNorm2d(widths[target]),
            nn.Upsample(scale_factor=2 ** (source - target), mode="nearest"),
        )
    halvings = [_unit(widths[source], widths[source], 3, 2) for _ in range(target - source - 1)]
    last = nn.Sequential(_convolution(widths[source], widths[target], 3, 2), nn.BatchNorm2d(widths[target]))
    return nn.Sequential(*halvings, last)


class HRNet(nn.Module):
    """Image -> four feature maps, and the classification head's view of all of them."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        widths = [width * 2**branch for branch in range(4)]
        self.conv1 = _convolution(3, STEM, 3, 2)
        self.bn1 = nn.BatchNorm2d(STEM)
        self.conv2 = _convolution(STEM, STEM, 3, 2)
        self.bn2 = nn.BatchNorm2d(STEM)
        first = STEM * Bottleneck.expansion
        self.layer1 = nn.Sequential(Bottleneck(STEM, STEM), *(Bottleneck(first, STEM) for _ in range(BLOCKS - 1)))
        self.transition1 = nn.ModuleList([_unit(first, widths[0], 3), nn.Sequential(_unit(first, widths[1], 3, 2))])
        self.stage2 = nn.Sequential(*(Exchange(widths[:2]) for _ in range(MODULES[0])))
        self.transition2 = self._one_more_branch(widths[:3])
        self.stage3 = nn.Sequential(*(Exchange(widths[:3]) for _ in range(MODULES[1])))
        self.transition3 = self._one_more_branch(widths)
        self.stage4 = nn.Sequential(*(Exchange(widths) for _ in range(MODULES[2])))
        self.incre_modules = nn.ModuleList(
            nn.Sequential(Bottleneck(channels, inner)) for channels, inner in zip(widths, HEAD, strict=True)
        )
        wide = [inner * Bottleneck.expansion for inner in HEAD]
        self.downsamp_modules = nn.ModuleList(
            _unit(wide[branch], wide[branch + 1], 3, 2, bias=True) for branch in range(3)
        )
        self.final_feat_layer = _unit(SUMMARY, POOLED, 1, bias=True)

    @staticmethod
    def _one_more_branch(widths: list[int]) -> nn.ModuleList:
        branch = nn.Sequential(_unit(widths[-2], widths[-1], 3, 2))
        return nn.ModuleList([*(nn.Identity() for _ in widths[:-1]), branch])

    def branches(self, images: Tensor) -> list[Tensor]:
        """Normalised images (B, 3, S, S) -> (B, W, S/4, S/4), (B, 2W, S/8, S/8), … down to S/32; W is the width."""
        images = images.to(self.conv1.weight.dtype)
        stem = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(images))))))
        first = self.layer1(stem)
        outputs = self.stage2([transition(first) for transition in self.transition1])
        for transition, stage in ((self.transition2, self.stage3), (self.transition3, self.stage4)):
            outputs = stage([*outputs, transition[-1](outputs[-1])])
        return outputs

    def summary(self, branches: list[Tensor]) -> Tensor:
        """All branches, brought to the coarsest resolution one after the other: (B, 1024, S/32, S/32)."""
        total = self.incre_modules[0](branches[0])
        for branch, downsample in enumerate(self.downsamp_modules, start=1):
            total = self.incre_modules[branch](branches[branch]) + downsample(total)
        return total
