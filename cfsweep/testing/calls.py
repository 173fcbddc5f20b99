"""Each method of a piece that takes tensors, and arguments to call it with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from cfsweep.training.engine.randomness import generator
from cfsweep.training.ingredients import (
    ActiveClasses,
    Answers,
    BatchLoss,
    Classifier,
    ClosedForm,
    Comparison,
    Consolidation,
    Cut,
    Distillation,
    Drawn,
    Examples,
    Generator,
    Held,
    Ingredient,
    LossShares,
    Partition,
    Penalty,
    Projection,
    RateByStep,
    RateByWeight,
    ReplayLoss,
    State,
    StepObserver,
    StopRule,
    TaskStart,
    TaskWeights,
    Values,
)
from cfsweep.training.ingredients._closed_form import n_features
from cfsweep.training.pack import Pack


class Arguments(NamedTuple):
    """For one model, as the second task finds it; `noise` (P,) stands for gradients and steps, `codes` (7, n_codes) are
    what examples are made up of."""

    theta: Tensor
    state: State
    values: Values
    noise: Tensor
    examples: Examples
    compared: Comparison
    drawn: Drawn
    held: Held
    scores: Tensor
    masks: Tensor
    codes: Tensor


def arguments_for(pack: Pack, ingredient: Ingredient) -> Arguments:
    """Those of the first row of a pack that has trained one task; the same each time."""
    stack, drawing = pack.stack, torch.Generator().manual_seed(0)
    noise = torch.randn(stack.theta[0].shape, generator=drawing)
    examples = _examples(pack, drawing)
    compared, drawn = _answers(pack, examples)
    # Not the very weights that a state may hold: to write them over it would change nothing.
    theta = stack.theta[0] + 0.1 * noise
    state, values = first_row(stack.states[ingredient.name]), first_row(stack.values_of(ingredient))
    codes = torch.empty(0)
    if isinstance(ingredient, Generator):
        codes = torch.randn(7, ingredient.n_codes(), generator=drawing)
        made_up = ingredient.generate(theta, state, values, 1, codes)
        drawn = drawn._replace(labels=made_up.labels, mask=made_up.mask)
    return Arguments(
        theta=theta,
        state=state,
        values=values,
        noise=noise,
        examples=examples,
        compared=compared,
        drawn=drawn,
        held=Held(examples.x.flatten(1), examples.labels),
        scores=torch.tensor([0.5, 0.25, 0.0], dtype=torch.float64),
        masks=pack.context.outputs.masks[1],
        codes=codes,
    )


def calls_by_piece(ingredient: Any, given: Arguments) -> dict[type[Ingredient], Callable[[], Any]]:
    """By piece, its method that takes tensors, to be called without arguments. (`Buffered`, `RankedBuffer`,
    `BufferedOnline` and `MixedReplay` work on indices, `Extension` on a module.)"""
    i = ingredient
    theta, state, values, noise, examples, compared, drawn, held, scores, masks, codes = given
    return {
        TaskStart: lambda: i.start_task(theta, state, values, 1),
        Consolidation: lambda: i.consolidate(theta, state, values, 1, examples),
        Penalty: lambda: i.gradient(theta, state, values),
        StepObserver: lambda: i.observe_step(noise, theta, theta + noise, state, values),
        Generator: lambda: i.generate(theta, state, values, 1, codes),
        ReplayLoss: lambda: i.replay_loss(drawn, values),
        Projection: lambda: i.project(noise, theta, values),
        BatchLoss: lambda: i.batch_loss(compared.now.logits, compared.labels, compared.mask, values, 1),
        Classifier: lambda: i.outputs_for(held.features[:3], held),
        ClosedForm: lambda: _closed_form(i, held, state, values),
        ActiveClasses: lambda: i.active_classes(masks, values, 1),
        LossShares: lambda: i.loss_shares(values, 1),
        Distillation: lambda: i.distillation_loss(compared, values, 1),
        RateByStep: lambda: i.rate(values, 2, 9),
        RateByWeight: lambda: i.weight_rates(values),
        Partition: lambda: i.trainable(state, values, 1, False),
        Cut: lambda: i.cut(theta, state, values, 1),
        TaskWeights: lambda: i.weights_for(theta, state, values, 0),
        StopRule: lambda: i.check(theta, state, values, scores, 1, 1),
        Ingredient: lambda: (i.initial_state(theta), i.kept(state), i.is_on(values)),
    }


def _closed_form(ingredient: ClosedForm, held: Held, state: State, values: Values) -> Any:
    """The state after one task more, what that comes to, and answers by it."""
    features = held.features[:, : n_features(ingredient.context, ingredient.name)]
    after = ingredient.accumulate(state, features, held.labels, generator(0, "projection"))
    solved = ingredient.solve(after, {name: float(value) for name, value in values.items()})
    return after, solved, ingredient.outputs_for(features, solved)


def first_row(stacked: dict[str, Tensor]) -> dict[str, Tensor]:
    """A copy of the first of several rows."""
    return {name: value[0].clone() for name, value in stacked.items()}


def _examples(pack: Pack, drawing: torch.Generator) -> Examples:
    """Seven examples of the second task, as `consolidate` sees them."""
    context = pack.context
    indices = torch.from_numpy(pack.stream.tasks[1].train[:7])
    mask = context.outputs.masks[1][context.outputs.task_of[indices]]
    n_noise = max((i.n_noise() for i in context.timeline.consolidations), default=0)
    uniform, noise = torch.linspace(0, 0.99, 7), torch.randn(7, n_noise, generator=drawing)
    return Examples(context.store[indices], context.outputs.labels[indices], mask, uniform, noise)


def _answers(pack: Pack, examples: Examples) -> tuple[Comparison, Drawn]:
    """Answers of the network to these examples, and of another one."""
    context = pack.context
    layers = [name for i in context.timeline.distillations for name in i.layers]

    def answers(theta: Tensor) -> Answers:
        parameters = context.layout.unflatten(theta[:1])
        logits, features = context.lifted.answers(parameters, examples.x.unsqueeze(0), layers)
        return Answers(logits[0], {name: feature[0] for name, feature in features.items()})

    now, before = answers(pack.stack.theta), answers(pack.stack.theta + 0.1)
    return (
        Comparison(examples.labels, examples.mask, now, before),
        Drawn(examples.labels, examples.mask, now.logits, before.logits),
    )
