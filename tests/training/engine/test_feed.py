"""What is asked for is fetched before, in order, from any batch on."""

from __future__ import annotations

from concurrent.futures import wait
from pathlib import Path

import numpy as np
import pytest
import torch

from cfsweep.training.engine.feed import AHEAD, Feed
from cfsweep.training.streams import mapped

CPU = torch.device("cpu")


@pytest.fixture
def examples(tmp_path: Path) -> torch.Tensor:
    np.save(tmp_path / "x.npy", np.arange(60, dtype=np.uint8).reshape(20, 3))
    return mapped(tmp_path / "x.npy")


def test_each_batch_is_its_examples(examples: torch.Tensor) -> None:
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    batches = list(order.split(2))
    assert len(batches) > AHEAD
    feed = Feed(examples, batches, CPU)
    for step, batch in enumerate(batches):
        assert torch.equal(feed.at(step), examples[batch])


def test_the_next_ones_are_on_their_way(examples: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[int] = []
    fetch = Feed._fetched
    monkeypatch.setattr(Feed, "_fetched", lambda feed, step: fetched.append(step) or fetch(feed, step))
    feed = Feed(examples, list(torch.arange(20).split(1)), CPU)
    feed.at(3)
    wait(feed._coming)
    assert sorted(fetched) == [*range(3, 3 + AHEAD)]
    feed.at(4)
    wait(feed._coming)
    assert sorted(fetched) == [*range(3, 4 + AHEAD)], "each is fetched once"


def test_what_fails_is_raised_where_it_is_asked_for(examples: torch.Tensor) -> None:
    feed = Feed(examples, [torch.tensor([0]), torch.tensor([99])], CPU)
    feed.at(0)
    with pytest.raises(IndexError, match="out of range"):
        feed.at(1)


def test_it_begins_at_any_batch_and_goes_back(examples: torch.Tensor) -> None:
    batches = list(torch.arange(20).split(4))
    feed = Feed(examples, batches, CPU)
    for step in (3, 4, 1, 2, 1):
        assert torch.equal(feed.at(step), examples[batches[step]])
