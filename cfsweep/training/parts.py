"""What a pack works with, and what stays as it is while it trains."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cfsweep.errors import InputError
from cfsweep.hypers import Value
from cfsweep.training.evaluation import Evaluator
from cfsweep.training.ingredients import Context, Ingredient, check_layers, hypers_of, registry
from cfsweep.training.layout import Layout
from cfsweep.training.lift import Lifted
from cfsweep.training.networks import build, head_of, unliftable_reason
from cfsweep.training.outputs import outputs_for
from cfsweep.training.per_example import (
    LOG_LIKELIHOOD,
    SQUARED_NORM,
    Objective,
    PerExample,
    Size,
    mean_gradient_size,
)
from cfsweep.training.randomness import torch_seed
from cfsweep.training.spec import PackSpec
from cfsweep.training.store import store_on
from cfsweep.training.streams import Stream


class PackParts:
    """The examples, the network lifted over the runs, the ingredients: everything but the weights and the results.

    Raises:
        InputError: an ingredient does not know the scenario, or the network cannot be lifted and there are
            several runs.
    """

    def __init__(self, spec: PackSpec, stream: Stream, device: torch.device) -> None:
        if not spec.runs:
            raise InputError("a pack needs at least one run")
        self.spec, self.stream, self.device = spec, stream, device
        self.hypers = hypers_of(spec.ingredients)
        self.settings = {name: spec.runs[0].values[name] for name, h in self.hypers.items() if h.structural}
        self.outputs = outputs_for(stream, spec.scenario).to(self.device)
        self.store = store_on(self.device, stream)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # only the shape of this copy matters; the runs draw their own weights
            module = self._build().to(self.device)
        reason = unliftable_reason(module, stream.input_shape)
        if reason and len(spec.runs) > 1:
            raise InputError(f"network `{spec.network.name}`: {reason}. Train it in packs of one run.")
        self.layout = Layout(module, self.outputs.n_outputs)
        factors = torch.bfloat16 if self.settings["precision"] == "bf16" else torch.float32
        self.lifted = Lifted(module, reason is None, self.layout.head, factors)
        self.evaluator = Evaluator(stream, self.outputs, self.store, self.lifted, self.layout)
        self.ingredients = self._make_ingredients(self.settings)

    def initial_weights(self) -> Tensor:
        """(runs, P): each seed draws its own; runs of one seed begin alike."""
        fresh: dict[int, Tensor] = {}
        for seed in dict.fromkeys(run.seed for run in self.spec.runs):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(torch_seed(seed, "init"))
                module = self._build()
            fresh[seed] = self.layout.flatten({k: v.detach() for k, v in module.named_parameters()})
        return torch.stack([fresh[run.seed] for run in self.spec.runs]).to(self.device)

    def _build(self) -> nn.Module:
        module = build(self.spec.network, self.stream.input_shape, self.outputs.n_outputs)
        check_layers(self.hypers, self.settings, module, "settings")
        for name in self.spec.ingredients:
            module = registry[name].extend(module, self.settings, head_of(module, self.outputs.n_outputs))
        return module

    def _make_ingredients(self, settings: dict[str, Value]) -> list[Ingredient]:
        sensitivity = self._mean_gradient_size(SQUARED_NORM, torch.abs)
        context = Context(
            layout=self.layout,
            n_tasks=len(self.stream.tasks),
            scenario=self.spec.scenario,
            input_shape=self.stream.input_shape,
            forward=lambda theta, x: self.lifted.one(self.layout.unflatten(theta), x),
            squared_gradients=self._mean_gradient_size(LOG_LIKELIHOOD, torch.square),
            output_sensitivity=lambda theta, x, mask: sensitivity(theta, x, torch.zeros_like(mask[:, 0]), mask),
            masks=self.outputs.masks,
            classes=self.stream.y.numpy(),
            own_outputs=self._own_outputs(),
            output_tasks=self._output_tasks(),
        )
        for name in self.spec.ingredients:
            if self.spec.scenario not in registry[name].scenarios:
                raise InputError(
                    f"ingredients: `{name}` works in {', '.join(registry[name].scenarios)}, but got scenario="
                    f"{self.spec.scenario}. Remove it, or change `--scenario`."
                )
        return [registry[name](context, settings) for name in self.spec.ingredients]

    def _mean_gradient_size(self, objective: Objective, size: Size) -> PerExample:
        return mean_gradient_size(self.lifted, self.layout, self.stream.input_shape, objective, size)

    def _own_outputs(self) -> Tensor:
        """(T, n_outputs) bool: the outputs that are right for some example of each task."""
        own = torch.zeros(len(self.stream.tasks), self.outputs.n_outputs, dtype=torch.bool, device=self.device)
        used = self.outputs.task_of >= 0
        own[self.outputs.task_of[used], self.outputs.labels[used]] = True
        return own

    def _output_tasks(self) -> tuple[int, ...]:
        """The task of each output, if each has exactly one."""
        masks = self.outputs.masks[0].cpu()  # (T, n_outputs)
        if self.spec.scenario != "task-il" or bool((masks.sum(0) > 1).any()):
            return ()
        return tuple(masks.to(torch.int8).argmax(0).tolist())
