"""The loss of a step, for every row of a stack at once: that of the batch, and what the ingredients add."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from cfsweep.training.ingredients import Answers, Batch, Ingredient
from cfsweep.training.outputs import label_losses
from cfsweep.training.parts import PackParts
from cfsweep.training.recall import Recall
from cfsweep.training.stack import Stack

ByName = dict[str, Tensor]


class Slopes(NamedTuple):
    """A step's loss (rows,), its gradients by parameter name, (rows, *shape), and by ingredient those to project on."""

    loss: Tensor
    gradients: ByName
    references: dict[str, ByName]


class Losses:
    """The losses of the `n_steps` steps of one task."""

    def __init__(self, parts: PackParts, stack: Stack, task: int, n_steps: int) -> None:
        self.parts, self.stack, self.task = parts, stack, task
        later = parts.ingredients if task > 0 else []
        self.adding = [i for i in later if i.has("loss")]
        self.layers = tuple(dict.fromkeys(name for i in self.adding for name in i.layers))
        self.teachers = {
            i.name: parts.layout.unflatten(stack.over_rows(i.teacher, stack.states[i.name])) | _statistics(parts)
            for i in self.adding
            if i.has("teacher")
        }
        recalls = {i.name: (i, Recall(parts, stack, i, task, n_steps)) for i in later if i.has("recall_size")}
        self.recalls = {name: pair for name, pair in recalls.items() if bool(pair[1].rows.any())}
        self.reaching = [
            i for i in later if i.has("reaches_old") and (i.name in self.recalls or not i.has("recall_size"))
        ]
        self.masks: Tensor | None = None  # (rows, T, n_outputs), where they are not the scenario's for every row
        for ingredient in later:
            if ingredient.has("open_outputs"):
                self.masks = stack.over_rows(
                    lambda m, v, i=ingredient: i.open_outputs(m, v, task),
                    parts.outputs.masks[task].expand(len(stack), -1, -1) if self.masks is None else self.masks,
                    stack.values,
                )

    def open_outputs(self, present: Tensor) -> Tensor:
        """The outputs (rows, n_outputs) that some example answers with, of the batches, in which the tasks `present`
        (rows, T) occur, or of those that the ingredients see beside them."""
        scenario = self.parts.outputs.masks[self.task]
        is_open = (present[:, :, None] & (scenario if self.masks is None else self.masks)).any(1)
        for ingredient in self.reaching:
            reaches = self.stack.over_rows(ingredient.reaches_old, self.stack.values)
            if ingredient.has("recall_size"):
                reaches = reaches & self.recalls[ingredient.name][1].rows
            is_open = is_open | (reaches[:, None] & scenario[: self.task + 1].any(0))
        return is_open

    def slopes(self, leaves: ByName, indices: Tensor, step: int) -> Slopes:
        """The loss of step `step` (from 0) on the examples `indices` (rows, n), and its gradients."""
        loss = self._of_batch(leaves, indices)
        references: dict[str, ByName] = {}
        for name, (ingredient, recall) in self.recalls.items():
            recalled = self._of_recalled(ingredient, recall, leaves, step)
            if ingredient.has("project"):
                references[name] = _gradients(recalled, leaves)
            else:
                loss = loss + recalled
        return Slopes(loss.detach(), _gradients(loss, leaves), references)

    def _of_batch(self, leaves: Mapping[str, Tensor], indices: Tensor) -> Tensor:
        parts, outputs = self.parts, self.parts.outputs
        x, labels, tasks = parts.store[indices], outputs.labels[indices], outputs.task_of[indices]
        if self.masks is None:
            mask = outputs.masks[self.task][tasks]
        else:
            mask = self.masks[torch.arange(len(tasks), device=tasks.device).unsqueeze(1), tasks]
        logits, features = parts.lifted.answers(leaves, x, self.layers)
        loss = label_losses(logits, labels, mask).mean(-1)
        for ingredient in self.adding:
            now = Answers(logits, {name: features[name] for name in ingredient.layers})
            batch = Batch(labels, mask, now, self._before(ingredient, x) or now)
            loss = loss + self.stack.over_rows(
                lambda b, s, v, i=ingredient: i.loss(b, s, v, self.task),
                batch,
                self.stack.states[ingredient.name],
                self.stack.values,
            )
        return loss

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

    def _of_recalled(self, ingredient: Ingredient, recall: Recall, leaves: Mapping[str, Tensor], step: int) -> Tensor:
        examples = recall.examples(step)
        now = Answers(self.parts.lifted(leaves, examples.x), {})
        before = now if examples.logits is None else Answers(examples.logits, {})
        loss: Tensor = self.stack.over_rows(
            ingredient.recalled_loss,
            Batch(examples.labels, examples.mask, now, before),
            self.stack.states[ingredient.name],
            self.stack.values,
        )
        return torch.where(recall.rows, loss, 0.0)


def _statistics(parts: PackParts) -> ByName:
    """The buffers (1, *shape) of a network that cannot be lifted, as they are between two tasks: they belong to the
    teacher as its weights do, and go on changing in the module."""
    if parts.lifted.liftable:
        return {}
    return {name: buffer.clone().unsqueeze(0) for name, buffer in parts.lifted.module.named_buffers()}


def _gradients(loss: Tensor, leaves: ByName) -> ByName:
    return dict(zip(leaves, torch.autograd.grad(loss.sum(), list(leaves.values())), strict=True))
