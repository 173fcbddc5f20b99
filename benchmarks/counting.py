"""What a piece of PyTorch does, counted: floating-point operations, bytes moved, operations issued."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

# Places of arguments that are not read (the old content is lost, or only the shape counts), and of those that are
# declared as changed though they are not: the fused update would scale the gradient if it were asked to.
_NOT_READ = dict.fromkeys(("zero_", "fill_", "copy_", "normal_", "uniform_", "zeros_like", "ones_like"), 0)
_NOT_CHANGED = {"_fused_adam_": 1, "_fused_adamw_": 1}


@dataclass(frozen=True)
class Counts:
    """`flops` of matrix products and convolutions; `bytes` as `count` says; `ops` that do work on the device."""

    flops: int
    bytes: int
    ops: int


def count(act: Callable[[], object]) -> Counts:
    """What `act()` does.

    The bytes are those of each operation's tensors, as if nothing stayed in a cache from one operation to the next:
    every argument is read once, every result is written once, an argument that is changed in place is both, an index
    reads what it gathers and not the whole it gathers from. A view moves nothing. So they are what single kernels move
    at least, and what a fused kernel can save is not in them.

    >>> import torch
    >>> x = torch.zeros(1000)
    >>> count(lambda: x.add_(1)), count(lambda: x + x), count(lambda: x.view(10, 100))
    (Counts(flops=0, bytes=8000, ops=1), Counts(flops=0, bytes=8000, ops=1), Counts(flops=0, bytes=0, ops=0))
    >>> count(lambda: torch.ones(2, 3) @ torch.ones(3, 4)).flops
    48
    """
    with FlopCounterMode(display=False) as flops, _Bytes() as moved:
        act()
    return Counts(flops.get_total_flops(), moved.bytes, moved.ops)


class _Bytes(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.ops = 0

    def __torch_dispatch__(
        self, op: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = op(*args, **(kwargs or {}))
        moved = _moved(op, args, kwargs or {}, result)
        self.bytes += moved
        self.ops += moved > 0
        return result


def _moved(op: Any, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> int:
    schema, name = op._schema, op._schema.name.partition("::")[2]
    given = list(_given(schema.arguments, args, kwargs))
    changed = [
        value
        for place, argument, value in given
        if argument.alias_info is not None and argument.alias_info.is_write and _NOT_CHANGED.get(name) != place
    ]
    aliases = bool(schema.returns) and all(r.alias_info is not None for r in schema.returns)
    if (aliases and not changed) or name.startswith(("empty", "detach", "_unsafe_view", "new_empty")):
        return 0  # a view, or memory not yet written
    fresh = 0 if aliases else _size(result)
    if name.startswith(("index.", "gather", "index_select")) or name == "index":
        return 2 * fresh + sum(_size(value) for _, _, value in given[1:])
    read = [value for place, argument, value in given if argument.name != "out" and _NOT_READ.get(name) != place]
    return fresh + _size(changed) + _size(read)


def _given(arguments: Sequence[Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[tuple[int, Any, Any]]:
    for place, argument in enumerate(arguments):
        if argument.name in kwargs:
            yield place, argument, kwargs[argument.name]
        elif place < len(args) and not argument.kwarg_only:
            yield place, argument, args[place]


def _size(values: Any) -> int:
    """Bytes of the distinct tensors in `values`; of an expanded one, those that there are."""
    tensors = {id(t): t for t in pytree.tree_leaves(values) if isinstance(t, Tensor)}
    return sum(_own_bytes(t) for t in tensors.values())


def _own_bytes(tensor: Tensor) -> int:
    numel = 1
    for length, stride in zip(tensor.shape, tensor.stride(), strict=True):
        numel *= 1 if stride == 0 else length
    return numel * tensor.element_size()
