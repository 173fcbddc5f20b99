"""scikit-learn's bundled handwritten digits: real images that need no download."""

from __future__ import annotations

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np
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
    refuse_args(config)
    path = _path()
    with gzip.open(path, "rt") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.uint8)  # (1797, 65): the pixels, and the digit
    x, y = torch.from_numpy(table[:, :-1].reshape(-1, 1, 8, 8)), torch.from_numpy(table[:, -1]).to(torch.int64)
    train, test = with_test(Examples(x, y), f"stream `{config.name}`")
    return split(config, DataSet(train, test, 10, {"scikit-learn/digits.csv.gz": sha256(path)}), n_tasks=5)


def _path() -> Path:
    """The file in scikit-learn's package, which takes more than a second to import."""
    spec = find_spec("sklearn")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"
