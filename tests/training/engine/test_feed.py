"""Other processes fetch what is asked for, in order, from any batch on."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from cfsweep.training.engine.feed import Feed
from cfsweep.training.streams import mapped

CPU = torch.device("cpu")


@pytest.fixture(params=[0, 1, 2], ids=lambda n: f"{n} loaders")
def examples(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(1 + request.param))
    np.save(tmp_path / "x.npy", np.arange(60, dtype=np.uint8).reshape(20, 3))
    return mapped(tmp_path / "x.npy")


def test_each_batch_is_its_examples(examples: torch.Tensor) -> None:
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    batches = list(order.split(6))
    feed = Feed(examples, batches, CPU)
    for step, batch in enumerate(batches):
        assert torch.equal(feed.at(step), examples[batch])


def test_it_begins_at_any_batch_and_goes_back(examples: torch.Tensor) -> None:
    batches = list(torch.arange(20).split(4))
    feed = Feed(examples, batches, CPU)
    for step in (3, 4, 1, 2, 1):
        assert torch.equal(feed.at(step), examples[batches[step]])
