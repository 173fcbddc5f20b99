"""The loss of a step and its gradient for some rows of a stack: that of the batch, and what ingredients add to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from cfsweep.training.engine.lift import ByName, Traced, Weights
from cfsweep.training.ingredients import (
    Answers,
    Buffer,
    BufferedOnline,
    Comparison,
    Distillation,
    Drawn,
    Projection,
    ReplayLoss,
    State,
)
from cfsweep.training.pack_context import PackContext
from cfsweep.training.pictures import Pictures
from cfsweep.training.replay_draws import ReplayDraws
from cfsweep.training.stack import OverRows, Stack

Own = Mapping[str, tuple[State, dict[str, Tensor]]]
"""By ingredient its state and its values, of the rows at hand."""


class FlatGradient(NamedTuple):
    """Room for a gradient (rows, P), and the views of it."""

    whole: Tensor
    views: Weights


@dataclass(frozen=True)
class Losses:
    """The losses of one task's steps.

    `distillations` and `replays` are the ingredients that add to them, with what they draw; `layers` the features they
    want; `old_weights` those of the end of the last task, by ingredient; `pictures` what the network sees of the
    batches. `masks` (rows, T, n_outputs) are the active
    outputs where they are not the scenario's for every row; `mask` (n_outputs,) where they are the same for all
    examples of all batches. `batch_share` (rows,) is what the loss of the batch is multiplied by, and `own_shares`, by
    ingredient, what that of the ingredient is; None and left out where nothing is.
    """

    context: PackContext
    task: int
    pictures: Pictures
    distillations: tuple[Distillation, ...]
    layers: tuple[str, ...]
    old_weights: Mapping[str, ByName]
    replays: Mapping[str, tuple[ReplayLoss, ReplayDraws]]
    masks: Tensor | None
    mask: Tensor | None
    batch_share: Tensor | None
    own_shares: Mapping[str, Tensor]

    @staticmethod
    def of(context: PackContext, stack: Stack, task: int, orders: Tensor, present: Tensor) -> Losses:
        """For batches that are cut from `orders` (rows, epochs, n), in which the tasks `present` (rows, T) occur."""
        timeline = context.timeline
        replays = [i for i in timeline.replay_losses if task > 0 or isinstance(i, BufferedOnline)]
        draws = {i.name: (i, ReplayDraws.of(context, stack, i, task, orders)) for i in replays}
        draws = {name: pair for name, pair in draws.items() if bool(pair[1].rows.any())}
        pictures = Pictures.of_batches(context, stack, task, orders)
        if task == 0:
            mask = _the_same(context.outputs.masks[task][present.any(0)])
            return Losses(context, task, pictures, (), (), {}, draws, None, mask, None, {})
        masks = _active_classes(context, stack, task)
        return Losses(
            context,
            task,
            pictures,
            timeline.distillations,
            tuple(dict.fromkeys(name for i in timeline.distillations for name in i.layers)),
            {
                i.name: context.layout.unflatten(i.old_weights(stack.states[i.name])) | _statistics(context)
                for i in timeline.distillations
            },
            draws,
            masks,
            _the_same(context.outputs.masks[task][present.any(0)]) if masks is None else None,
            *_loss_shares(context, stack, task),
        )

    def rows(self, rows: slice | Tensor) -> Losses:
        """Those of some rows alone; those of a slice share the buffers that fill with this."""
        return replace(
            self,
            pictures=self.pictures.rows(rows),
            old_weights={
                name: {k: v[rows] if len(v) > 1 else v for k, v in weights.items()}
                for name, weights in self.old_weights.items()
            },
            replays={name: (i, draws.some(rows)) for name, (i, draws) in self.replays.items()},
            masks=None if self.masks is None else self.masks[rows],
            batch_share=None if self.batch_share is None else self.batch_share[rows],
            own_shares={name: share[rows] for name, share in self.own_shares.items()},
        )

    def trained_outputs(self, stack: Stack, present: Tensor) -> Tensor:
        """The outputs (rows, n_outputs) that learn from some example: of the batches, in which the tasks `present`
        (rows, T) occur, or of those that ingredients see beside them."""
        scenario = self.context.outputs.masks[self.task]
        trained = (present[:, :, None] & (scenario if self.masks is None else self.masks)).any(1)
        old = scenario[: self.task + 1].any(0)
        for ingredient in self.distillations:
            if ingredient.trains_old_outputs:
                trained = trained | (_is_on(stack, ingredient)[:, None] & old)
        for replay, draws in self.replays.values():
            trained = trained | ((_is_on(stack, replay) & draws.rows)[:, None] & old)
        return trained

    def loss_and_gradient(
        self,
        weights: Weights,
        indices: Tensor,
        labels: Tensor,
        step: int,
        own: Own,
        over_rows: OverRows,
        into: FlatGradient,
        into_replayed: Mapping[str, FlatGradient],
    ) -> Tensor:
        """The loss (rows,) of step `step` (from 0) on the examples `indices` (rows, n) with `labels` (rows, n, ...).

        Its gradient is written `into` place; those to project on, by ingredient, `into_replayed`, where the others
        leave theirs behind.
        """
        loss, logits = self._of_batch(weights, indices, labels, step, own, over_rows, into)
        for name, (ingredient, draws) in self.replays.items():
            if step < draws.first:  # a network must not even see what nobody has drawn: it may count statistics
                into_replayed[name].whole.zero_()
                continue
            replayed = self._of_drawn(ingredient, draws, weights, step, own, over_rows, into_replayed[name])
            if not isinstance(ingredient, Projection):
                into.whole.add_(into_replayed[name].whole)
                loss = loss + replayed
        for _, draws in self.replays.values():
            draws.offer(step, indices, logits)
        return loss

    def close(self, finished: Tensor) -> None:
        """Has the buffers that fill online take in nothing more for the rows (rows,) bool that have finished."""
        for _, draws in self.replays.values():
            draws.close(finished)

    def filling(self) -> dict[str, dict[str, Tensor]]:
        """By ingredient what changes with each step in its buffer that fills online."""
        return {name: draws.moving() for name, (_, draws) in self.replays.items() if draws.filling is not None}

    def filled(self, steps: Sequence[int]) -> dict[str, list[Buffer]]:
        """By ingredient, each row's buffer that was filled online, after so many `steps` of the task."""
        return {name: draws.filled(steps) for name, (_, draws) in self.replays.items() if draws.filling is not None}

    def _of_batch(
        self,
        weights: Weights,
        indices: Tensor,
        labels: Tensor,
        step: int,
        own: Own,
        over_rows: OverRows,
        into: FlatGradient,
    ) -> tuple[Tensor, Tensor]:
        """The loss (rows,) and the logits (rows, n, n_outputs)."""
        x, mask = self.pictures.of(indices, step), self._mask(indices)
        traced = self.context.lifted.traced(weights, x, self.layers)
        loss, by_logits = self._own_or_target_loss(traced.logits, labels, mask, own, over_rows)
        if self.batch_share is not None:
            loss, by_logits = loss * self.batch_share, by_logits * self.batch_share[:, None, None]
        by_features: dict[str, Tensor] = {}
        for ingredient in self.distillations:
            traced = _with_leaves(traced)
            now = Answers(traced.logits, {name: traced.features[name] for name in ingredient.layers})
            compared = Comparison(labels, mask.expand_as(now.logits), now, self._before(ingredient, x))
            more = over_rows(
                lambda c, v, i=ingredient: i.distillation_loss(c, v, self.task), compared, own[ingredient.name][1]
            )
            more = self._shared(ingredient, more)
            loss = loss + more.detach()
            more_by_logits, more_by_features = _gradients(traced, more)
            by_logits = by_logits if more_by_logits is None else by_logits + more_by_logits
            by_features |= {k: by_features[k] + v if k in by_features else v for k, v in more_by_features.items()}
        traced.vjp(by_logits, by_features, into.views)
        return loss, traced.logits.detach()

    def _own_or_target_loss(
        self, logits: Tensor, labels: Tensor, mask: Tensor, own: Own, over_rows: OverRows
    ) -> tuple[Tensor, Tensor]:
        """The loss (rows,) of the batch and its gradient by the logits: the target's, or that of an ingredient that is
        on and has one in its place."""
        with torch.no_grad():
            loss, by_logits = self.context.target.loss_and_gradient(logits, labels, mask)
        for ingredient in self.context.timeline.batch_losses:
            leaf, values = logits.detach().requires_grad_(True), own[ingredient.name][1]
            other = over_rows(
                lambda z, y, m, v, i=ingredient: i.batch_loss(z, y, m, v, self.task),
                leaf,
                labels,
                mask.expand_as(leaf),
                values,
            )
            (by_leaf,) = torch.autograd.grad(other.sum(), leaf)
            on = over_rows(ingredient.is_on, values)
            loss = torch.where(on, other.detach(), loss)
            by_logits = torch.where(on[:, None, None], by_leaf, by_logits)
        return loss, by_logits

    def _shared(self, ingredient: Distillation | ReplayLoss, loss: Tensor) -> Tensor:
        """An ingredient's loss (rows,) as it is added to that of the batch."""
        share = self.own_shares.get(ingredient.name)
        return loss if share is None else loss * share

    def _mask(self, indices: Tensor) -> Tensor:
        """The outputs active for the examples `indices` (rows, n), to be broadcast to (rows, n, n_outputs)."""
        if self.mask is not None:
            return self.mask
        tasks = self.context.outputs.task_of[indices]
        if self.masks is None:
            return self.context.outputs.masks[self.task][tasks]
        return self.masks[torch.arange(len(tasks), device=tasks.device).unsqueeze(1), tasks]

    def _before(self, ingredient: Distillation, x: Tensor) -> Answers:
        """The old weights' answers; that neither draws random numbers nor updates statistics."""
        lifted = self.context.lifted
        lifted.module.eval()
        with torch.no_grad(), torch.random.fork_rng(devices=[], enabled=not lifted.liftable):
            answers = Answers(*lifted.answers(self.old_weights[ingredient.name], x, ingredient.layers))
        lifted.train_mode()
        return answers

    def _of_drawn(
        self,
        ingredient: ReplayLoss,
        draws: ReplayDraws,
        weights: Weights,
        step: int,
        own: Own,
        over_rows: OverRows,
        into: FlatGradient,
    ) -> Tensor:
        examples = draws.examples(step)
        traced = _with_leaves(self.context.lifted.traced(weights, examples.x, ()))
        stored = traced.logits if examples.stored is None else examples.stored
        drawn = Drawn(examples.labels, examples.mask, traced.logits, stored)
        loss: Tensor = over_rows(ingredient.replay_loss, drawn, own[ingredient.name][1])
        loss = torch.where(draws.has[:, step], self._shared(ingredient, loss), 0.0)
        by_logits, _ = _gradients(traced, loss)
        traced.vjp(torch.zeros_like(traced.logits) if by_logits is None else by_logits, {}, into.views)
        return loss.detach()


def _is_on(stack: Stack, ingredient: Distillation | ReplayLoss) -> Tensor:
    on: Tensor = stack.over_rows(ingredient.is_on, stack.values_of(ingredient))
    return on


def _active_classes(context: PackContext, stack: Stack, task: int) -> Tensor | None:
    """The active outputs (rows, T, n_outputs) for the examples of each task, if an ingredient has a say in them."""
    masks: Tensor | None = None
    for ingredient in context.timeline.active_classes:
        masks = stack.over_rows(
            lambda m, v, i=ingredient: i.active_classes(m, v, task),
            context.outputs.masks[task].expand(len(stack), -1, -1) if masks is None else masks,
            stack.values_of(ingredient),
        )
    return masks


def _loss_shares(context: PackContext, stack: Stack, task: int) -> tuple[Tensor | None, dict[str, Tensor]]:
    """What the losses of the batch (rows,), and by name those of the ingredients (rows,), are multiplied by."""
    of_batch: Tensor | None = None
    own: dict[str, Tensor] = {}
    for ingredient in context.timeline.loss_shares:
        share, own[ingredient.name] = stack.over_rows(
            lambda v, i=ingredient: i.loss_shares(v, task), stack.values_of(ingredient)
        )
        of_batch = share if of_batch is None else of_batch * share
    return of_batch, own


def _with_leaves(traced: Traced) -> Traced:
    """The same answers, as leaves of autograd."""
    features = {name: value.detach().requires_grad_(True) for name, value in traced.features.items()}
    return Traced(traced.logits.detach().requires_grad_(True), features, traced.vjp)


def _gradients(traced: Traced, loss: Tensor) -> tuple[Tensor | None, dict[str, Tensor]]:
    """The gradients of `loss` (rows,) by the answers, of those that it depends on."""
    leaves = [traced.logits, *traced.features.values()]
    by_logits, *others = torch.autograd.grad(loss.sum(), leaves, allow_unused=True)
    return by_logits, {k: v for k, v in zip(traced.features, others, strict=True) if v is not None}


def _the_same(masks: Tensor) -> Tensor | None:
    """The one mask (n_outputs,), if all `masks` (n, n_outputs) are the same."""
    return masks[0] if bool((masks == masks[0]).all()) else None


def _statistics(context: PackContext) -> ByName:
    """The statistics (1, *shape) of a network that cannot be lifted, as they are between two tasks: they belong to the
    old weights, and go on changing in the module."""
    return {name: value.clone().unsqueeze(0) for name, value in context.statistics().items()}
