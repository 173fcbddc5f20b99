"""scikit-learn's bundled handwritten digits: real images that need no download."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import torch

from cfsweep.config import StreamConfig
from cfsweep.training.streams._assemble import DataSet, Examples, refuse_args, split, with_test
from cfsweep.training.streams._base import Stream
from cfsweep.training.streams._files import sha256


def split_digits(config: StreamConfig) -> Stream:
    """1,797 images (1, 8, 8) of the ten digits, values 0 .. 16 in uint8, in 5 tasks of 2 classes.

    The set has no test split: a fixed, stratified fifth of it is one here, whatever the study's settings.

    References:
        E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository (1998).
    """
    from sklearn.datasets import load_digits  # a slow import

    refuse_args(config)
    bunch = load_digits()
    x = torch.from_numpy(bunch.images).to(torch.uint8).unsqueeze(1)
    y = torch.from_numpy(bunch.target).to(torch.int64)
    train, test = with_test(Examples(x, y), f"stream `{config.name}`")
    with resources.as_file(resources.files("sklearn.datasets.data") / "digits.csv.gz") as path:
        files = {"scikit-learn/digits.csv.gz": sha256(Path(path))}
    return split(config, DataSet(train, test, 10, files), n_tasks=5)
