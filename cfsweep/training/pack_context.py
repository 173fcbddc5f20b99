"""What a pack works with, and what stays as it is while it trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from cfsweep.config import NetworkConfig
from cfsweep.errors import InputError
from cfsweep.hypers import Hyper
from cfsweep.training.engine.augment import augmentations
from cfsweep.training.engine.evaluation import Evaluator, Measure
from cfsweep.training.engine.execution import Execution
from cfsweep.training.engine.layout import Layout
from cfsweep.training.engine.lift import Lifted
from cfsweep.training.engine.per_example import (
    SQUARED_NORM,
    Objective,
    PerExample,
    Size,
    examples_can_be_lifted,
    log_likelihood_of,
    mean_gradient_size,
)
from cfsweep.training.engine.randomness import torch_seed
from cfsweep.training.engine.store import store_on
from cfsweep.training.ingredients import (
    Context,
    Extension,
    Ingredient,
    Settings,
    Timeline,
    check_layers,
    hypers_of,
    ingredient_class,
    refuse_misfits,
)
from cfsweep.training.networks import build, execution_reason, head_of, unstackable_reason
from cfsweep.training.spec import PackSpec
from cfsweep.training.streams import Stream
from cfsweep.training.targets import scores_of, target_of


def built_network(
    network: NetworkConfig,
    input_shape: tuple[int, ...],
    n_outputs: int,
    kinds: Sequence[type[Ingredient]],
    hypers: Mapping[str, Hyper],
    settings: Settings,
) -> nn.Module:
    """A fresh network, with what ingredients of these `kinds` add to it.

    Raises:
        InputError: it cannot be built, or has not the layers that the `settings` name.
    """
    module = build(network, input_shape, n_outputs)
    check_layers(hypers, settings, module, "settings")
    for kind in kinds:
        if issubclass(kind, Extension):
            module = kind.extend(module, settings, head_of(module, n_outputs))
    return module


class PackContext:
    """The examples, the network lifted over the runs, the ingredients: everything but the weights and the results.

    Raises:
        InputError: an ingredient does not know the scenario or the target, or finds nothing to steer by in the stream,
            or the network cannot be lifted and there are several runs.
    """

    def __init__(self, spec: PackSpec, stream: Stream, device: torch.device) -> None:
        if not spec.runs:
            raise InputError("a pack needs at least one run")
        self.spec, self.stream, self.device = spec, stream, device
        self.hypers = hypers_of(spec.ingredients)
        self.settings = {name: spec.runs[0].values[name] for name, h in self.hypers.items() if h.static}
        self.kinds = [ingredient_class(name) for name in spec.ingredients]
        self.target, self.scores = target_of(stream.target), scores_of(stream)
        refuse_misfits(self.kinds, spec.scenario, stream.target, "ingredients")
        self.outputs = self.target.outputs(stream, spec.scenario)
        self.target = self.target.for_stream(stream, self.outputs)
        self.outputs = self.outputs.to(device)
        self.augmentations = augmentations(stream.augment, stream.input_shape, f"stream `{stream.name}`")
        self.store = store_on(device, stream)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # only the shape of this copy matters; the runs draw their own weights
            module = self._build().to(device)
        unstackable = unstackable_reason(spec.network, self._build, module, stream.input_shape)
        reason = unstackable or execution_reason(spec.network)
        if reason and len(spec.runs) > 1:
            raise InputError(f"network `{spec.network.name}`: {reason}. Train it in packs of one run.")
        if reason:
            module = self._build_with(spec.runs[0].seed).to(device)
        self.layout = Layout(module, self.outputs.n_outputs)
        factors = torch.bfloat16 if self.settings["precision"] == "bf16" else torch.float32
        execution = Execution(**spec.network.execution)
        self.lifted = Lifted(module, unstackable is None, self.layout.head, factors, execution)
        seed = spec.runs[0].seed
        measure = Measure(self.target, self.scores, self.outputs)
        self.evaluator = Evaluator(stream, measure, self.store, self.lifted, self.layout, seed)
        self.ingredients = self._make_ingredients()
        self.timeline = Timeline(self.ingredients)
        self._require_steering()

    def initial_weights(self) -> Tensor:
        """(runs, P): each seed draws its own; runs of one seed begin alike."""
        fresh: dict[int, Tensor] = {}
        for seed in dict.fromkeys(run.seed for run in self.spec.runs):
            fresh[seed] = self.layout.flatten({k: v.detach() for k, v in self._build_with(seed).named_parameters()})
        return torch.stack([fresh[run.seed] for run in self.spec.runs]).to(self.device)

    def statistics(self) -> dict[str, Tensor]:
        """The buffers, such as batch statistics, of a network that cannot be lifted: they live in the module, which
        serves one run. Of any other network none."""
        return {} if self.lifted.liftable else dict(self.lifted.module.named_buffers())

    def load_statistics(self, statistics: dict[str, Tensor]) -> None:
        """Inverse of `statistics`."""
        for name, value in statistics.items():
            self.lifted.module.get_buffer(name).copy_(value)

    def _build_with(self, seed: int) -> nn.Module:
        """The network as a run of this seed begins with it."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(torch_seed(seed, "init"))
            return self._build()

    def _build(self) -> nn.Module:
        spec, n_outputs = self.spec, self.outputs.n_outputs
        return built_network(spec.network, self.stream.input_shape, n_outputs, self.kinds, self.hypers, self.settings)

    def _require_steering(self) -> None:
        """What stop rules look at must be held out for them, or they would choose by what scores the run.

        Raises:
            InputError: there are no such examples, or the target does not know them.
        """
        for rule in self.timeline.stop_rules:
            looks_at_old = rule.looks_at_old and not all(rule.is_off(run.values) for run in self.spec.runs)
            for number, task in enumerate(self.stream.tasks):
                if number < self.stream.n_learned and not looks_at_old:
                    continue
                if not len(task.steering):
                    raise InputError(
                        f"stream `{self.stream.name}`, task `{task.name}`: `{rule.name}` needs steering examples, but "
                        "there is none. Set `stream.steering_frac`."
                    )
                if not bool((self.outputs.task_of[torch.from_numpy(task.steering)] == number).all()):
                    raise InputError(
                        f"target `{self.stream.target}`: its outputs must know all examples of a task, but not the "
                        f"steering ones of `{task.name}`. Go over `task.parts` there."
                    )

    def _make_ingredients(self) -> list[Ingredient]:
        sensitivity = self._mean_gradient_size(SQUARED_NORM, torch.abs)
        context = Context(
            layout=self.layout,
            target=self.target,
            n_tasks=len(self.stream.tasks),
            scenario=self.spec.scenario,
            input_shape=self.stream.input_shape,
            forward=lambda theta, x: self.lifted.one(self.layout.unflatten(theta), x),
            squared_gradients=self._mean_gradient_size(log_likelihood_of(self.target), torch.square),
            output_sensitivity=lambda theta, x, mask: sensitivity(theta, x, torch.zeros_like(mask[:, 0]), mask),
            outputs=self.outputs,
            classes=self.target.classes(self.stream),
            output_tasks=self._output_tasks(),
            goes_on=self.spec.keep_models,
        )
        return [kind(context, self.settings) for kind in self.kinds]

    @property
    def examples_can_be_lifted(self) -> bool:
        """Whether what takes gradients of single examples can be lifted over runs."""
        return examples_can_be_lifted(self.lifted, self.layout, self.stream.input_shape)

    def _mean_gradient_size(self, objective: Objective, size: Size) -> PerExample:
        return mean_gradient_size(self.lifted, self.layout, self.stream.input_shape, objective, size)

    def _output_tasks(self) -> tuple[int, ...]:
        """The task of each output, if each has exactly one."""
        masks = self.outputs.masks[0].cpu()  # (T, n_outputs)
        if self.spec.scenario != "task-il" or bool((masks.sum(0) > 1).any()):
            return ()
        return tuple(masks.to(torch.int8).argmax(0).tolist())
