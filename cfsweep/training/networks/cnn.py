"""The small convolutional network of an MNIST tutorial."""

from __future__ import annotations

from torch import Tensor, nn

from cfsweep.training.networks._args import image_shape, positive_int, require_fits


class Cnn(nn.Module):
    """(n, channels, height, width) -> (n, n_outputs); sides of 6 pixels or more.

    Two 3x3 convolutions (32, 64), 2x2 max-pooling, one fully connected layer of `hidden` units.

    References:
        PyTorch's own MNIST example (pytorch/examples, mnist/main.py), without its dropout, whose random numbers
        stacked runs cannot each draw for themselves.
    """

    def __init__(self, input_shape: tuple[int, ...], n_outputs: int, hidden: int = 128) -> None:
        super().__init__()
        channels, height, width = image_shape("cnn", input_shape, smallest=6)
        n_features = 64 * ((height - 4) // 2) * ((width - 4) // 2)
        require_fits("cnn", positive_int("cnn", "hidden", hidden) * (n_features + n_outputs + 1))
        self.body = nn.Sequential(
            nn.Conv2d(channels, 32, 3),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(n_features, hidden),
            nn.ReLU(),
        )
        self.head = nn.Linear(hidden, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.body(x))
        return out
