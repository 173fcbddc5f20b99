"""Adapters: beside a trunk that is frozen after the first task, each task has its own small residual modules."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from cfsweep.errors import InputError
from cfsweep.hypers import Hyper
from cfsweep.training.ingredients._arguments import Examples
from cfsweep.training.ingredients._base import Context, Settings, State, Values
from cfsweep.training.ingredients._pieces import Consolidation, Extension, Partition, TaskStart, TaskWeights

SLOT = "cfsweep_adapter"  # a name that no network of one's own has
LATER = 32767  # owner of the weights that every task but the first trains


class Bottleneck(nn.Module):
    """What a layer's output is corrected by: up·relu(down·out + b) + c, (n, ..., size, ...) as `out`.

    `axis` is the one that holds the `size` features; over the channels of images this is a pair of 1x1 convolutions.
    `up` and c start at zero, so that the layer gives what it gave; `down` as in `nn.Linear`.
    """

    def __init__(self, size: int, width: int, axis: int) -> None:
        super().__init__()
        self.axis = axis
        bound = size**-0.5
        self.down = nn.Parameter(torch.empty(width, size).uniform_(-bound, bound))
        self.down_bias = nn.Parameter(torch.zeros(width))
        self.up = nn.Parameter(torch.zeros(size, width))
        self.up_bias = nn.Parameter(torch.zeros(size))

    def forward(self, out: Tensor) -> Tensor:
        hidden = functional.linear(out.movedim(self.axis, -1), self.down, self.down_bias).relu()
        return functional.linear(hidden, self.up, self.up_bias).movedim(-1, self.axis)


def _corrected(layer: nn.Module, _inputs: tuple[Tensor, ...], out: Tensor) -> Tensor:
    correction: Tensor = layer.get_submodule(SLOT)(out)
    return out + correction


class Adapters(Extension, TaskStart, Partition, Consolidation, TaskWeights):
    """Behind each hidden linear or convolutional layer a bottleneck is added to its output: out + up(relu(down(out))).

    Task 0 trains the network itself, with all bottlenecks at the identity. Every later task begins with them at the
    identity and trains them alone, with the outputs of its own classes. Each task is evaluated with its own, so its
    predictions never change again; running statistics, such as batch norm's, stay as the first task left them. The
    network has one set of bottlenecks; those of finished tasks are kept beside it.

    Departures: the paper's first task is language-model pretraining, and layer norms are trained per task; here the
    first task of the stream makes the trunk, and norms stay with it. `up` starts at exactly zero and `down` as any
    linear layer, where the paper draws both with a standard deviation of 0.01.

    References:
        Houlsby et al. 2019 (arXiv 1902.00751), section 2.1: the bottleneck, and why it starts near the identity;
        Rebuffi et al. 2017 (arXiv 1705.08045), section 3.2: residual 1x1 convolutions beside a shared trunk.
    """

    name = "adapters"
    summary = "small residual modules per task beside a trunk that is frozen after the first (task-il only)"
    paper = "Houlsby et al. 2019, arXiv 1902.00751"
    hypers = (
        Hyper("adapter_width", "int", 16, "units of each bottleneck", low=0, off=0, static=True, takes_effect="later"),
    )
    scenarios = ("task-il",)
    holds_statistics = True
    excludes = {
        "packnet": "each wants the weights of the trunk: adapters to freeze them all, packnet to share them out",
        "freeze": "adapters freezes every layer of the trunk already",
    }

    def __init__(self, context: Context, settings: Settings) -> None:
        super().__init__(context, settings)
        if len(context.output_tasks) == 0:
            raise InputError(
                "adapters: each class must belong to one task, but two tasks of this stream share a class. "
                "Give the classes of each task their own numbers."
            )
        self._off = settings["adapter_width"] == 0
        self._slot = [entry for entry in context.layout.entries if entry.layer.endswith(SLOT)]
        self._sizes = [entry.stop - entry.start for entry in self._slot]
        self._owner = torch.zeros(context.layout.size, dtype=torch.int16)  # the trunk belongs to task 0
        for entry in self._slot:
            self._owner[entry.where] = LATER
        for where, task in context.layout.head_rows(torch.tensor(context.output_tasks, dtype=torch.int16)):
            self._owner[where] = task

    @staticmethod
    def extend(module: nn.Module, settings: Settings, head: str) -> nn.Module:
        width = int(settings["adapter_width"])
        # Only these very types: a subclass may not be called as a layer (the projection inside of attention).
        layers = [(n, m) for n, m in module.named_modules() if type(m) in (nn.Linear, nn.Conv2d) and n != head]
        for _, layer in layers if width else ():
            assert isinstance(layer, nn.Linear | nn.Conv2d)
            size, axis = (layer.out_features, -1) if isinstance(layer, nn.Linear) else (layer.out_channels, -3)
            layer.add_module(SLOT, Bottleneck(size, width, axis))
            layer.register_forward_hook(_corrected)
        return module

    def initial_state(self, theta: Tensor) -> State:
        return {"bank": theta.new_zeros(self.context.n_tasks, sum(self._sizes))}

    def start_task(self, theta: Tensor, state: State, values: Values, task: int) -> tuple[Tensor, State]:
        # Task 0 has left its adapters as they were drawn, so they are what every later task begins with.
        return self._placed(theta, state["bank"][0]), state

    def trainable(self, state: State, values: Values, task: int, after_cut: bool) -> Tensor:
        owner = self._owner.to(state["bank"].device)
        mine = owner == task
        return torch.ones_like(mine) if self._off else mine | (owner == LATER if task > 0 else mine)

    def consolidate(self, theta: Tensor, state: State, values: Values, task: int, examples: Examples) -> State:
        adapters = torch.cat([theta[:0], *(theta[entry.where] for entry in self._slot)])
        row = torch.arange(self.context.n_tasks, device=theta.device).unsqueeze(1)
        return {"bank": torch.where(row == task, adapters, state["bank"])}

    def weights_for(self, theta: Tensor, state: State, values: Values, task: int) -> Tensor:
        return self._placed(theta, state["bank"][task])

    def _placed(self, theta: Tensor, adapters: Tensor) -> Tensor:
        """The weights (P,) with `adapters` (A,) in the slot."""
        placed = theta.clone()
        for entry, piece in zip(self._slot, torch.split(adapters, self._sizes), strict=True):
            placed[entry.where] = piece
        return placed
