"""A trained model as one module: raw examples in, outputs of the network out, those that are not active at minus
infinity. It is what `model.pt2` holds, which torch alone loads and runs."""

from __future__ import annotations

import io
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from cfsweep.training.answering import ByWhat, held_in, solved_for
from cfsweep.training.ingredients import Held, Substitute
from cfsweep.training.networks import ties_weights
from cfsweep.training.pack import Pack

UNIT = ("unit_shift", "unit_scale")  # that bring outputs to the user's units, where these are amounts
N_EXAMPLES = 3  # to trace with: neither one nor two, which torch.export may take for a number that is meant


class Answerer(NamedTuple):
    """What answers in place of the output layer `head`, and what it goes by."""

    by: Substitute
    held: ByWhat
    head: str

    @property
    def tensors(self) -> dict[str, Tensor]:
        """What it goes by, by name."""
        return self.held._asdict() if isinstance(self.held, Held) else self.held


class Program(nn.Module):
    """`forward(x)`, or `forward(x, task)` where the task must be known: (n, n_outputs) for raw examples x (n,
    *input_shape), `task` an int64 scalar. Amounts are in the user's units.

    It is the model that a `pack` of one run has come to after all its tasks.
    """

    masks: Tensor
    shift: Tensor
    scale: Tensor
    which: Tensor
    unit_shift: Tensor
    unit_scale: Tensor

    def __init__(self, pack: Pack) -> None:
        super().__init__()
        context, n_tasks = pack.context, len(pack.stream.tasks)
        if len(pack.stack) != 1 or pack.next_task < n_tasks:
            raise ValueError("a program is made of one run that has learned all tasks")
        weights = [pack.scoring.weights_for(task, n_tasks)[0] for task in range(n_tasks)]
        different: list[Tensor] = []
        which = []
        for own in weights:
            place = next((k for k, known in enumerate(different) if torch.equal(known, own)), len(different))
            different += [own] if place == len(different) else []
            which.append(place)
        self.network = deepcopy(context.lifted.module).eval().requires_grad_(False)
        self.ties = ties_weights(self.network)
        self.names = [entry.name for entry in context.layout.entries]
        by_name = [context.layout.unflatten(theta) for theta in different]
        for number, name in enumerate(self.names):
            stacked = torch.stack([views[name] for views in by_name]).contiguous()
            self.register_buffer(f"weight{number}", stacked)
        masks = context.outputs.masks[n_tasks - 1]
        self.needs_task = len(different) > 1 or bool((masks != masks[0]).any())
        for name, value in (
            ("masks", masks.clone()),
            ("shift", torch.as_tensor(context.store.shift, dtype=torch.float32)),
            ("scale", torch.as_tensor(context.store.scale, dtype=torch.float32)),
            ("which", torch.tensor(which)),
        ):
            self.register_buffer(name, value)
        unit = context.outputs.unit
        if unit is not None:
            for name, value in zip(UNIT, unit, strict=True):
                self.register_buffer(name, value.to(torch.float32))
        self.unit = unit  # as the next task needs it, float64
        self.answerer = _answerer(pack, different[0])

    def forward(self, x: Tensor, task: Tensor | None = None) -> Tensor:
        number = torch.zeros((), dtype=torch.int64, device=x.device) if task is None else task.reshape(())
        place = self.which.index_select(0, number.reshape(1))
        weights = {
            name: getattr(self, f"weight{k}").index_select(0, place).squeeze(0) for k, name in enumerate(self.names)
        }
        seen = (x.to(torch.float32) - self.shift) * self.scale
        outputs = self._outputs(weights, seen)
        if self.unit is not None:
            outputs = outputs * self.unit_scale + self.unit_shift
        mask = self.masks.index_select(0, number.reshape(1))
        return outputs.masked_fill(~mask, -torch.inf)

    def _outputs(self, weights: dict[str, Tensor], x: Tensor) -> Tensor:
        if self.answerer is None:
            logits: Tensor = functional_call(self.network, weights, (x,), tie_weights=self.ties)
            return logits
        features: list[Tensor] = []
        layer = self.network.get_submodule(self.answerer.head)
        handle = layer.register_forward_pre_hook(lambda _module, inputs: features.append(inputs[0]))
        try:
            functional_call(self.network, weights, (x,), tie_weights=self.ties)
        finally:
            handle.remove()
        return self.answerer.by.outputs_for(features[0].flatten(1), self.answerer.held)

    def example(self, pack: Pack) -> tuple[Tensor, ...]:
        """What it can be called with. The file holds it, so it is none of the data, which may not leave its place."""
        x = torch.zeros(N_EXAMPLES, *pack.stream.input_shape, dtype=pack.stream.x.dtype)
        return (x, torch.zeros((), dtype=torch.int64)) if self.needs_task else (x,)

    def traced(self, pack: Pack) -> torch.export.ExportedProgram:
        """Itself as a program of torch.export, for any number of examples."""
        n = torch.export.Dim("n", min=1)
        shapes: Any = ({0: n}, None) if self.needs_task else ({0: n},)
        return torch.export.export(self, self.example(pack), dynamic_shapes=shapes)

    def save(self, path: Path, pack: Pack) -> None:
        """Writes it as a program of torch.export."""
        content = io.BytesIO()  # torch ends the process where a file of its own meets a full disk
        torch.export.save(self.traced(pack), content)
        path.write_bytes(content.getbuffer())


def _answerer(pack: Pack, theta: Tensor) -> Answerer | None:
    context, head = pack.context, pack.context.layout.head
    for classifier in context.timeline.classifiers:
        held = held_in(context, theta.unsqueeze(0), pack.stack.buffers[classifier.name][0])
        return None if held is None else Answerer(classifier, held, head)
    for closed_form in context.timeline.closed_forms:
        solved = solved_for(pack.stack, closed_form, 0)
        return None if solved is None else Answerer(closed_form, solved, head)
    return None
