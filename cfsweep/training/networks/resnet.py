"""ResNet-18, narrow, with group norm."""

from __future__ import annotations

from torch import Tensor, nn

from cfsweep.errors import InputError
from cfsweep.training.networks._args import image_shape, positive_int, require_fits


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut: (n, n_in, h, w) -> (n, n_out, h/stride, w/stride)."""

    def __init__(self, n_in: int, n_out: int, stride: int, groups: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(n_in, n_out, 3, stride, padding=1, bias=False),
            nn.GroupNorm(groups, n_out),
            nn.ReLU(),
            nn.Conv2d(n_out, n_out, 3, padding=1, bias=False),
            nn.GroupNorm(groups, n_out),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or n_in != n_out:
            self.shortcut = nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.GroupNorm(groups, n_out))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x) + self.shortcut(x)
        return out.relu()


class ResNet18Slim(nn.Module):
    """(n, channels, height, width) -> (n, n_outputs): stages of `width`, 2, 4 and 8 times `width` channels.

    The stem is the one for small images: a 3x3 convolution without stride or pooling. Batch norm's running statistics
    drift to the latest task and cannot be stacked over runs, so each norm is over `groups` groups of channels.

    References:
        K. He et al., Deep Residual Learning for Image Recognition, CVPR 2016 (the blocks).
        D. Lopez-Paz and M. Ranzato, Gradient Episodic Memory for Continual Learning, NeurIPS 2017 (the width of 20).
        Y. Wu and K. He, Group Normalization, ECCV 2018.
    """

    def __init__(self, input_shape: tuple[int, ...], n_outputs: int, width: int = 20, groups: int = 4) -> None:
        super().__init__()
        channels, _, _ = image_shape("resnet18-slim", input_shape)
        if positive_int("resnet18-slim", "width", width) % positive_int("resnet18-slim", "groups", groups):
            raise InputError(
                f"network `resnet18-slim`: `groups` must divide `width`, but got groups={groups}, width={width}. "
                "Change one of them."
            )
        require_fits("resnet18-slim", 2_016 * width**2)  # of the last stage
        self.stem = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.GroupNorm(groups, width), nn.ReLU()
        )
        blocks: list[nn.Module] = []
        n_in = width
        for stage in range(4):
            n_out = width * 2**stage
            blocks += [Block(n_in, n_out, 2 if stage else 1, groups), Block(n_out, n_out, 1, groups)]
            n_in = n_out
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(n_in, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.blocks(self.stem(x)).mean(dim=(2, 3)))
        return out
