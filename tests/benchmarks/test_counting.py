"""What the counters of the benchmarks count, on operations whose traffic is known."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from benchmarks.counting import count
from cfsweep.training.engine import optimizers

SIZE = 1000
INDICES = torch.arange(SIZE // 2)


@pytest.mark.parametrize(
    ("passes", "act"),
    [
        (2, lambda x, y: x.add_(1)),
        (3, lambda x, y: x + y),
        (2, lambda x, y: x * x),
        (3, lambda x, y: torch.mul(x, y, out=x)),
        (1, lambda x, y: x.zero_()),
        (1, lambda x, y: torch.zeros_like(x)),
        (2, lambda x, y: x.copy_(y)),
        (2 + 1 / SIZE, lambda x, y: x + y[:1].expand(SIZE)),
        (0, lambda x, y: x.view(10, -1).T.detach()),
        (0, lambda x, y: torch.empty_like(x)),
        (2 + 2, lambda x, y: x.add_(1).view(10, -1).mul_(2)),
        (0.5 + 0.5 + 1, lambda x, y: x[INDICES]),  # the indices have 8 bytes each
    ],
)
def test_passes_over_memory(passes: float, act: Callable[[Tensor, Tensor], object]) -> None:
    x, y = torch.randn(SIZE), torch.randn(SIZE)
    assert count(lambda: act(x, y)).bytes == passes * SIZE * 4


def test_products_are_counted_once_each() -> None:
    x, w = torch.randn(5, 3, 4), torch.randn(5, 4, 2)
    assert count(lambda: torch.bmm(x, w)).flops == 2 * 5 * 3 * 4 * 2
    assert count(lambda: x.relu()).flops == 0


@pytest.mark.parametrize(("way", "passes"), [(optimizers._all_rows_at_once, 11), (optimizers._row_by_row, 7)])
def test_the_update_of_adam_moves_no_more_than_it_says(way: Callable[..., None], passes: int) -> None:
    rows, size = 8, 10_000
    theta, gradient, mean, square = (torch.rand(rows, size) for _ in range(4))
    lr = torch.full((rows, 1), 1e-3)
    rates = optimizers.Rates(lr, lr, lr, decays=False)
    counts = count(lambda: way(theta, gradient, mean, square, rates, 3))
    assert counts.bytes / theta.nbytes == pytest.approx(passes, rel=1e-3)
    assert counts.ops <= 5 or way is optimizers._row_by_row
