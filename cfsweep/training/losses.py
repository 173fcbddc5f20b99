"""The loss of a step, for some rows of a stack at once: that of the batch, and what the ingredients add."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from cfsweep.training.ingredients import Answers, Batch, Ingredient, State
from cfsweep.training.lift import ByName, Traced, Weights
from cfsweep.training.outputs import label_loss_and_slope
from cfsweep.training.parts import PackParts
from cfsweep.training.recall import Recall
from cfsweep.training.stack import OverRows, Stack

Own = Mapping[str, tuple[State, dict[str, Tensor]]]
"""By ingredient its state and its values, of the rows at hand."""


class Flat(NamedTuple):
    """Room for a gradient (rows, P), and the views of it."""

    whole: Tensor
    views: Weights


@dataclass(frozen=True)
class Losses:
    """The losses of one task's steps.

    `adding` and `recalls` are the ingredients that add to them, with what they draw; `layers` the features they want;
    `teachers` the weights by name whose answers they compare. `masks` (rows, T, n_outputs) are the open outputs where
    they are not the scenario's for every row; `mask` (n_outputs,) where they are the same for all examples of all
    batches.
    """

    parts: PackParts
    task: int
    adding: tuple[Ingredient, ...]
    layers: tuple[str, ...]
    teachers: Mapping[str, ByName]
    recalls: Mapping[str, tuple[Ingredient, Recall]]
    masks: Tensor | None
    mask: Tensor | None

    @staticmethod
    def of(parts: PackParts, stack: Stack, task: int, n_steps: int, present: Tensor) -> Losses:
        """For batches in which the tasks `present` (rows, T) occur."""
        later = parts.ingredients if task > 0 else []
        adding = tuple(i for i in later if i.has("loss"))
        recalls = {i.name: (i, Recall.of(parts, stack, i, task, n_steps)) for i in later if i.has("recall_size")}
        masks = None
        for ingredient in later:
            if ingredient.has("open_outputs"):
                masks = stack.over_rows(
                    lambda m, v, i=ingredient: i.open_outputs(m, v, task),
                    parts.outputs.masks[task].expand(len(stack), -1, -1) if masks is None else masks,
                    stack.values,
                )
        return Losses(
            parts,
            task,
            adding,
            tuple(dict.fromkeys(name for i in adding for name in i.layers)),
            {
                i.name: parts.layout.unflatten(stack.over_rows(i.teacher, stack.states[i.name])) | _statistics(parts)
                for i in adding
                if i.has("teacher")
            },
            {name: pair for name, pair in recalls.items() if bool(pair[1].rows.any())},
            masks,
            _the_same(parts.outputs.masks[task][present.any(0)]) if masks is None else None,
        )

    def rows(self, rows: slice) -> Losses:
        """Those of some rows alone."""
        return replace(
            self,
            teachers={
                name: {k: v[rows] if len(v) > 1 else v for k, v in weights.items()}
                for name, weights in self.teachers.items()
            },
            recalls={name: (i, recall.some(rows)) for name, (i, recall) in self.recalls.items()},
            masks=None if self.masks is None else self.masks[rows],
        )

    def open_outputs(self, stack: Stack, present: Tensor) -> Tensor:
        """The outputs (rows, n_outputs) that some example answers with, of the batches, in which the tasks `present`
        (rows, T) occur, or of those that the ingredients see beside them."""
        scenario = self.parts.outputs.masks[self.task]
        is_open = (present[:, :, None] & (scenario if self.masks is None else self.masks)).any(1)
        for ingredient in self.parts.ingredients if self.task > 0 else []:
            if not ingredient.has("reaches_old"):
                continue
            reaches = stack.over_rows(ingredient.reaches_old, stack.values)
            if ingredient.has("recall_size"):
                if ingredient.name not in self.recalls:
                    continue
                reaches = reaches & self.recalls[ingredient.name][1].rows
            is_open = is_open | (reaches[:, None] & scenario[: self.task + 1].any(0))
        return is_open

    def step(
        self,
        weights: Weights,
        indices: Tensor,
        labels: Tensor,
        step: int,
        own: Own,
        over_rows: OverRows,
        into: Flat,
        into_recalled: Mapping[str, Flat],
    ) -> Tensor:
        """The loss (rows,) of step `step` (from 0) on the examples `indices` (rows, n) with the right outputs `labels`.
        Its gradient is written `into` place; those to project on, by ingredient, `into_recalled`, where the others
        leave theirs behind."""
        loss = self._of_batch(weights, indices, labels, own, over_rows, into)
        for name, (ingredient, recall) in self.recalls.items():
            recalled = self._of_recalled(ingredient, recall, weights, step, own, over_rows, into_recalled[name])
            if not ingredient.has("project"):
                into.whole.add_(into_recalled[name].whole)
                loss = loss + recalled
        return loss

    def _of_batch(
        self, weights: Weights, indices: Tensor, labels: Tensor, own: Own, over_rows: OverRows, into: Flat
    ) -> Tensor:
        x, mask = self.parts.store[indices], self._mask(indices)
        traced = self.parts.lifted.traced(weights, x, self.layers)
        with torch.no_grad():
            loss, of_logits = label_loss_and_slope(traced.logits, labels, mask)
        of_features: dict[str, Tensor] = {}
        for ingredient in self.adding:
            traced = _with_leaves(traced)
            now = Answers(traced.logits, {name: traced.features[name] for name in ingredient.layers})
            batch = Batch(labels, mask.expand_as(now.logits), now, self._before(ingredient, x) or now)
            more = over_rows(lambda b, s, v, i=ingredient: i.loss(b, s, v, self.task), batch, *own[ingredient.name])
            loss = loss + more.detach()
            by_logits, by_features = _slopes(traced, more)
            of_logits = of_logits if by_logits is None else of_logits + by_logits
            of_features |= {k: of_features[k] + v if k in of_features else v for k, v in by_features.items()}
        traced.pull(of_logits, of_features, into.views)
        return loss

    def _mask(self, indices: Tensor) -> Tensor:
        """The outputs open to the examples `indices` (rows, n), to be broadcast to (rows, n, n_outputs)."""
        if self.mask is not None:
            return self.mask
        tasks = self.parts.outputs.task_of[indices]
        if self.masks is None:
            return self.parts.outputs.masks[self.task][tasks]
        return self.masks[torch.arange(len(tasks), device=tasks.device).unsqueeze(1), tasks]

    def _before(self, ingredient: Ingredient, x: Tensor) -> Answers | None:
        """The teacher's answers; it neither draws random numbers nor updates statistics."""
        weights = self.teachers.get(ingredient.name)
        if weights is None:
            return None
        lifted = self.parts.lifted
        lifted.module.eval()
        with torch.no_grad(), torch.random.fork_rng(devices=[], enabled=not lifted.liftable):
            answers = Answers(*lifted.answers(weights, x, ingredient.layers))
        lifted.module.train()
        return answers

    def _of_recalled(
        self,
        ingredient: Ingredient,
        recall: Recall,
        weights: Weights,
        step: int,
        own: Own,
        over_rows: OverRows,
        into: Flat,
    ) -> Tensor:
        examples = recall.examples(step)
        traced = _with_leaves(self.parts.lifted.traced(weights, examples.x, ()))
        now = Answers(traced.logits, {})
        before = now if examples.logits is None else Answers(examples.logits, {})
        batch = Batch(examples.labels, examples.mask, now, before)
        loss: Tensor = over_rows(ingredient.recalled_loss, batch, *own[ingredient.name])
        loss = torch.where(recall.rows, loss, 0.0)
        by_logits, _ = _slopes(traced, loss)
        traced.pull(torch.zeros_like(traced.logits) if by_logits is None else by_logits, {}, into.views)
        return loss.detach()


def _with_leaves(traced: Traced) -> Traced:
    """The same answers, as leaves of autograd."""
    features = {name: value.detach().requires_grad_(True) for name, value in traced.features.items()}
    return Traced(traced.logits.detach().requires_grad_(True), features, traced.pull)


def _slopes(traced: Traced, loss: Tensor) -> tuple[Tensor | None, dict[str, Tensor]]:
    """The gradients of `loss` (rows,) by the answers, of those that it depends on."""
    leaves = [traced.logits, *traced.features.values()]
    by_logits, *others = torch.autograd.grad(loss.sum(), leaves, allow_unused=True)
    return by_logits, {k: v for k, v in zip(traced.features, others, strict=True) if v is not None}


def _the_same(masks: Tensor) -> Tensor | None:
    """The one mask (n_outputs,), if all `masks` (n, n_outputs) are the same."""
    return masks[0] if bool((masks == masks[0]).all()) else None


def _statistics(parts: PackParts) -> ByName:
    """The buffers (1, *shape) of a network that cannot be lifted, as they are between two tasks: they belong to the
    teacher as its weights do, and go on changing in the module."""
    if parts.lifted.liftable:
        return {}
    return {name: buffer.clone().unsqueeze(0) for name, buffer in parts.lifted.module.named_buffers()}
