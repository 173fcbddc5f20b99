"""How a network that fills a device by itself is executed. None of it changes what the network computes, but for
rounding, for random numbers that a compiled network draws in its own way, and for what it computes over a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


@dataclass(frozen=True)
class Execution:
    """`compile`: by `torch.compile`. `channels_last`: images are laid out so. `micro_batch`: the most examples that
    pass through it at once in training, None for all of a batch."""

    compile: bool = False
    channels_last: bool = False
    micro_batch: int | None = None

    def compiled(self, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """`function`, compiled at its first call if that is asked for."""
        return torch.compile(function) if self.compile else function

    def laid_out(self, x: Tensor) -> Tensor:
        """The same examples (n, ...)."""
        if self.channels_last and x.dim() == 4:
            return x.contiguous(memory_format=torch.channels_last)
        return x

    def pieces(self, x: Tensor) -> list[Tensor]:
        """The examples of a batch (rows, n, ...) in as few micro-batches as there must be, whose lengths differ by one
        at most: of a rest of one, which batch norm refuses, no statistics could be had.

        >>> [piece.shape[1] for piece in Execution(micro_batch=8).pieces(torch.zeros(1, 17, 3))]
        [6, 6, 5]
        """
        n = x.shape[1]
        return [x] if self.micro_batch is None else list(torch.tensor_split(x, -(-n // self.micro_batch), dim=1))


def forgetful(function: Callable[..., Any], module: nn.Module, *args: Any) -> Any:
    """`function(*args)`, of whose steps nothing is kept: they are gone through again when its gradient is asked for,
    with the same random numbers. The buffers of `module` change as in one call.

    So a batch takes the memory of its largest piece, and a loss may yet look at all of its answers: most losses of
    remedies are no sums over micro-batches.

    References:
        Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost" (going through it again); Gao et al. 2021,
        "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup" (losses of whole batches).
    """

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _buffers_stay(module)

    return checkpoint(function, *args, use_reentrant=False, context_fn=contexts)


@contextmanager
def _buffers_stay(module: nn.Module) -> Iterator[None]:
    before = {name: value.clone() for name, value in module.named_buffers()}
    try:
        yield
    finally:
        with torch.no_grad():
            for name, value in before.items():
                module.get_buffer(name).copy_(value)
