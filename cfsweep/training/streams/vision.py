"""The streams made of torchvision's data sets, read from a local folder."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch

from cfsweep.config import StreamConfig
from cfsweep.training.streams._assemble import (
    Draft,
    assemble,
    refuse_args,
    refuse_class_order,
    require_n_tasks,
    split,
)
from cfsweep.training.streams._base import Stream
from cfsweep.training.streams._vision_files import CifarName, IdxName, read_cifar, read_idx


def split_idx(config: StreamConfig, data_set: IdxName) -> Stream:
    """MNIST or FashionMNIST in 5 tasks of 2 classes (`n_tasks` overrides); images (1, 28, 28) uint8.

    References:
        F. Zenke, B. Poole, S. Ganguli, Continual Learning Through Synaptic Intelligence, ICML 2017, section 5.1.
    """
    refuse_args(config)
    return split(config, read_idx(config, data_set), n_tasks=5)


def split_cifar(config: StreamConfig, data_set: CifarName) -> Stream:
    """CIFAR-10 in 5 tasks of 2 classes, or CIFAR-100 in 10 of 10 (`n_tasks` overrides); images (3, 32, 32) uint8.

    References:
        S.-A. Rebuffi et al., iCaRL: Incremental Classifier and Representation Learning, CVPR 2017, section 4.1.
    """
    refuse_args(config)
    return split(config, read_cifar(config, data_set), n_tasks=5 if data_set == "CIFAR10" else 10)


def mnist_halves(config: StreamConfig) -> Stream:
    """MNIST's digits 0-4, then 5-9; with a random class order, five random digits, then the other five.

    Raises:
        InputError: `n_tasks` is set to anything but 2 (`split-mnist` takes other numbers).
    """
    refuse_args(config)
    require_n_tasks(config, 2)
    return split(config, read_idx(config, "MNIST"), n_tasks=2)


def permuted_mnist(config: StreamConfig) -> Stream:
    """MNIST seen through one fixed pixel permutation per task: 10 tasks (`n_tasks` overrides), the first unpermuted.

    Task k's classes are 10k .. 10k+9. The permutations come from `split_seed`. An image that is validation data in
    one task is validation data in all of them. The store holds a uint8 copy per task: 55 MB each for the full MNIST.

    References:
        I. Goodfellow et al., An Empirical Investigation of Catastrophic Forgetting in Gradient-Based Neural Networks,
        ICLR 2014; the form used here is that of J. Kirkpatrick et al., PNAS 2017.
    """
    refuse_args(config)
    refuse_class_order(config, "each task holds all ten digits")
    data = read_idx(config, "MNIST")
    images, labels = torch.cat([data.train.x, data.test.x]), torch.cat([data.train.y, data.test.y])
    n_tasks, n_images, n_train, n_pixels = config.n_tasks or 10, len(images), len(data.train.y), images[0].numel()
    x = torch.empty(n_tasks * n_images, *images.shape[1:], dtype=torch.uint8)
    drafts = []
    for k in range(n_tasks):
        seen = np.arange(n_pixels)
        if k:
            seen = np.random.default_rng([config.split_seed, k]).permutation(n_pixels)
        rows = np.arange(k * n_images, (k + 1) * n_images)
        x[k * n_images : (k + 1) * n_images] = images.flatten(1)[:, torch.from_numpy(seen)].view_as(images)
        name = f"permutation {k}" if k else "unpermuted"
        drafts.append(Draft(name, tuple(range(10 * k, 10 * k + 10)), rows[:n_train], rows[n_train:]))
    y = torch.cat([labels + 10 * k for k in range(n_tasks)])
    return assemble(config, x, y, drafts, data.files)


def mnist_fashion(config: StreamConfig) -> Stream:
    """MNIST (classes 0 .. 9), then FashionMNIST (classes 10 .. 19): two tasks that share nothing but their shape."""
    refuse_args(config)
    refuse_class_order(config, "each task is a whole data set")
    require_n_tasks(config, 2)
    first, second = read_idx(config, "MNIST"), read_idx(config, "FashionMNIST")
    parts = [first.train, first.test, second.train, second.test]
    ends = np.cumsum([0] + [len(part.y) for part in parts])
    rows = [np.arange(start, end) for start, end in pairwise(ends)]
    y = torch.cat([first.train.y, first.test.y, second.train.y + 10, second.test.y + 10])
    drafts = [
        Draft("MNIST", tuple(range(10)), rows[0], rows[1]),
        Draft("FashionMNIST", tuple(range(10, 20)), rows[2], rows[3]),
    ]
    return assemble(config, torch.cat([part.x for part in parts]), y, drafts, first.files | second.files)
