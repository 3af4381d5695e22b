"""The plain residual network, with torchvision's layers, names and initialisation, so that its weights fit.

Importing torchvision takes 2 s, nearly all of it for parts that networks do not use.
"""

from collections.abc import Sequence

from torch import Tensor, nn

_STEM = 64


class ResNet(nn.Module):
    """Images to logits: a stem, four stages of residual blocks, the mean over the maps, and a linear layer ``fc``.

    Args:
        blocks: Residual blocks per stage.
        bottleneck: Whether a block has three convolutions, the last of four times the width, instead of two.
        groups: Groups of a bottleneck's 3x3 convolution.
        width_per_group: Channels per group of the first stage.
        n_classes: Outputs of ``fc``.

    References:
        He et al. (2016), Deep Residual Learning for Image Recognition, table 1; bottlenecks stride in their 3x3
        convolution. He et al. (2015), Delving Deep into Rectifiers: initialisation by fan-out.
    """

    layer1: nn.Module
    layer2: nn.Module
    layer3: nn.Module
    layer4: nn.Module

    def __init__(
        self,
        blocks: Sequence[int],
        bottleneck: bool = False,
        groups: int = 1,
        width_per_group: int = 64,
        n_classes: int = 1000,
    ) -> None:
        super().__init__()
        kind = Bottleneck if bottleneck else BasicBlock
        self.conv1 = nn.Conv2d(3, _STEM, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(_STEM)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        n_in = _STEM
        for stage, n_blocks in enumerate(blocks):
            planes, made = _STEM * 2**stage, []
            for number in range(n_blocks):
                stride = 2 if stage and number == 0 else 1
                made.append(kind(n_in, planes, stride, groups, width_per_group))
                n_in = planes * kind.expansion
            self.add_module(f"layer{stage + 1}", nn.Sequential(*made))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc: nn.Module = nn.Linear(n_in, n_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Return ``(n_images, n_classes)`` of normalized ``(n_images, 3, side, side)``."""
        maps = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        maps = self.layer4(self.layer3(self.layer2(self.layer1(maps))))
        logits: Tensor = self.fc(self.avgpool(maps).flatten(1))
        return logits


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut; arguments as for ``Bottleneck``, but the last two are not used."""

    expansion = 1

    def __init__(self, n_in: int, planes: int, stride: int, groups: int, width_per_group: int) -> None:
        super().__init__()
        # Before the others: torchvision draws random numbers in this order.
        downsample = _shortcut(n_in, planes * self.expansion, stride)
        self.conv1 = _conv3x3(n_in, planes, stride)
        self.bn1 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = _conv3x3(planes, planes)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = downsample

    def forward(self, maps: Tensor) -> Tensor:
        """Return ``(n, planes, side, side)``, the side divided by the stride."""
        shortcut = maps if self.downsample is None else self.downsample(maps)
        maps = self.relu(self.bn1(self.conv1(maps)))
        maps = self.bn2(self.conv2(maps))
        maps += shortcut
        result: Tensor = self.relu(maps)
        return result


class Bottleneck(nn.Module):
    """A 1x1, a 3x3 and a 1x1 convolution, and a shortcut.

    Args:
        n_in: Input channels.
        planes: A quarter of the output channels.
        stride: Stride of the 3x3 convolution and the shortcut.
        groups: Groups of the 3x3 convolution.
        width_per_group: Its channels per group if ``planes`` is 64; other values are in proportion.
    """

    expansion = 4

    def __init__(self, n_in: int, planes: int, stride: int, groups: int, width_per_group: int) -> None:
        super().__init__()
        width = planes * width_per_group // _STEM * groups
        downsample = _shortcut(n_in, planes * self.expansion, stride)
        self.conv1 = nn.Conv2d(n_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv3x3(width, width, stride, groups)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, planes * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, maps: Tensor) -> Tensor:
        """Return ``(n, 4 * planes, side, side)``, the side divided by the stride."""
        shortcut = maps if self.downsample is None else self.downsample(maps)
        maps = self.relu(self.bn1(self.conv1(maps)))
        maps = self.relu(self.bn2(self.conv2(maps)))
        maps = self.bn3(self.conv3(maps))
        maps += shortcut
        result: Tensor = self.relu(maps)
        return result


def _conv3x3(n_in: int, n_out: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(n_in, n_out, 3, stride=stride, padding=1, groups=groups, bias=False)


def _shortcut(n_in: int, n_out: int, stride: int) -> nn.Sequential | None:
    """Return the layers of a shortcut that changes the shape; None if maps pass unchanged."""
    if stride == 1 and n_in == n_out:
        return None
    return nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride=stride, bias=False), nn.BatchNorm2d(n_out))
