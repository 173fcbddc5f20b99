"""Generative replay: old tasks are rehearsed from examples that a small generator makes up."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from cfsweep.errors import InputError
from cfsweep.hypers import Hyper
from cfsweep.training.ingredients._arguments import Drawn, Examples, Generated
from cfsweep.training.ingredients._base import Context, Conventions, Settings, State, Values
from cfsweep.training.ingredients._distillation import cross_entropy, soft_targets
from cfsweep.training.ingredients._pieces import Generator, LossShares, ReplayLoss
from cfsweep.training.ingredients._shares import loss_shares
from cfsweep.training.ingredients._vae import Vae

TEMPERATURE = 2.0  # of distilled labels


class GenerativeReplay(Generator, ReplayLoss, LossShares):
    """Beside each batch, as many made-up examples of the old tasks, labelled by the network as it was before the task.
    No old data is kept.

    `generative_generator`: `shared`, as in both papers, is one variational autoencoder for all old tasks together. When
    a task ends it goes on learning, from the task's examples and, beside each batch, from as many that it makes up as
    it was before. With `per-task`, one learns from each task's examples alone, its decoder is kept, and old tasks have
    equal shares of the made-up examples: nothing degrades, but the memory grows with the tasks.

    After t old tasks the losses of new and made-up examples are mixed by 1/(1 + wt) and wt/(1 + wt), for the network as
    for the shared autoencoder; w is `generative_weight`, and at 1 each task counts alike: 1/(t + 1), 1 - 1/(t + 1).

    A label is the answer among the outputs active for old examples (`hard`), or, from their probabilities p at T = 2,
    the loss is T²·H(p, softmax(z/T)), with p = 0 for new classes (`distilled`). In task-il nobody knows of which task
    an example of the shared one is, so that it has a label for each old task, and the loss is the mean over these.

    van de Ven & Tolias 2019 have 2 hidden layers of 400 units, 100 numbers for an example, and as many steps as the
    network takes (`generative_epochs` = `epochs`); the defaults here are smaller. Departures: Shin et al. have a
    generative adversarial network. Inputs are standardised, not pixels within 0 and 1, so the decoder's outputs are
    Gaussian, where van de Ven & Tolias have a cross-entropy of pixels. Each step sees new examples, as in both papers.
    The autoencoder learns when the task has ended, which comes to the same as beside it, as neither sees the other; its
    Adam begins afresh with each task; all autoencoders begin with the same weights, and a seed decides the order of the
    examples and the noise. Beside `adapters` the network is asked as the new task finds it, with its bottlenecks at the
    identity, and beside `packnet` with the weights of all tasks at once.

    References:
        Shin et al. 2017 (arXiv 1705.08690), section 3 and eq. 1; van de Ven & Tolias 2019 (arXiv 1904.07734), "DGR" and
        "DGR+distill", and the authors' code; Kingma & Welling 2014 (arXiv 1312.6114), eq. 10, the autoencoder's loss.
    """

    name = "generative-replay"
    summary = "made-up examples of old tasks beside each batch; no old data is kept"
    paper = "Shin et al. 2017, arXiv 1705.08690"
    hypers = (
        Hyper(
            "generative_weight",
            "float",
            1.0,
            "what an old task counts beside the new one",
            low=0.0,
            off=0.0,
            takes_effect="later",
        ),
        Hyper(
            "generative_generator",
            "choice",
            "shared",
            "whether one autoencoder learns all tasks, old ones from what it makes up, or each task has its own",
            choices=("shared", "per-task"),
            static=True,
        ),
        Hyper(
            "generative_labels",
            "choice",
            "hard",
            "what a made-up example is to be answered with: one class, or probabilities",
            choices=("hard", "distilled"),
            static=True,
        ),
        Hyper("generative_epochs", "int", 20, "passes of the autoencoder over a task", low=1, static=True),
        Hyper("generative_layers", "int", 1, "hidden layers of its encoder, and of its decoder", low=1, static=True),
        Hyper("generative_hidden", "int", 128, "units of each hidden layer", low=1, static=True),
        Hyper("generative_latent", "int", 16, "numbers that describe an example", low=1, static=True),
    )

    def __init__(self, context: Context, settings: Settings) -> None:
        super().__init__(context, settings)
        self._shared = settings["generative_generator"] == "shared"
        self._distilled = settings["generative_labels"] == "distilled"
        if self._distilled and not context.target.has_classes:
            raise InputError(
                f"`generative-replay`: generative_labels=distilled needs classes, but this stream's target is "
                f"{context.target.name}. Take generative_labels=hard."
            )
        self._batch_size = int(settings["batch_size"])
        self._epochs = int(settings["generative_epochs"])
        layers, hidden, latent = (int(settings[f"generative_{name}"]) for name in ("layers", "hidden", "latent"))
        self._n_taught = context.n_tasks - (not context.goes_on)  # tasks that another one may follow
        self._vae = Vae(math.prod(context.input_shape), layers, hidden, latent)

    @staticmethod
    def conventions(settings: Settings) -> Conventions:
        of = "T^2 * cross-entropy(old/T, now/T), T = 2," if settings["generative_labels"] == "distilled" else "loss"
        return Conventions(f"1/(1 + w t) * loss + w t/(1 + w t) * {of} of made-up examples; t old tasks")

    def initial_state(self, theta: Tensor) -> State:
        if self._shared:
            return {"generators": self._vae.initial.to(theta.device).unsqueeze(0)}
        return {"generators": theta.new_zeros(self._n_taught, self._vae.decoder_size)}

    def n_examples(self, n_train: int) -> int:
        return n_train

    def n_noise(self) -> int:
        return self._vae.n_noise(self._epochs)

    def consolidate(self, theta: Tensor, state: State, values: Values, task: int, examples: Examples) -> State:
        if task == self._n_taught:  # nobody is left to be taught
            return state
        generators, x = state["generators"], examples.x.flatten(1)
        how = (examples.noise, self._epochs, self._batch_size)
        if self._shared:
            shares = loss_shares(values["generative_weight"], task) if task > 0 else None
            return {"generators": self._vae.trained(generators[0], x, shares, *how).unsqueeze(0)}
        trained = self._vae.trained(self._vae.initial.to(x.device), x, None, *how)
        row = torch.arange(len(generators), device=theta.device).unsqueeze(1)
        return {"generators": torch.where(row == task, trained[-self._vae.decoder_size :], generators)}

    def n_codes(self) -> int:
        return self._vae.n_latent

    def generate(self, theta: Tensor, state: State, values: Values, task: int, noise: Tensor) -> Generated:
        generators, decode = state["generators"], self._vae.decode
        if self._shared:
            old = range(task) if self.context.scenario == "task-il" else [0]
            return self._labelled(theta, decode(generators[0], noise), values, task, old)
        parts = [self._labelled(theta, decode(generators[k], noise[k::task]), values, task, [k]) for k in range(task)]
        return Generated(*(torch.cat(part) for part in zip(*parts, strict=True)))

    def _labelled(self, theta: Tensor, x: Tensor, values: Values, task: int, old: Sequence[int]) -> Generated:
        """The examples x (n, n_inputs), each with labels (n, len(old), ...) as one of the tasks `old`."""
        x = torch.where(values["generative_weight"] > 0, x, 0.0)  # off: whatever became of the autoencoder
        x = x.reshape(-1, *self.context.input_shape)
        before, now = (self.context.outputs.masks[t, list(old)].expand(len(x), -1, -1) for t in (task - 1, task))
        logits = self.context.forward(theta, x).unsqueeze(1).expand(-1, len(old), -1)
        if self._distilled:
            return Generated(x, soft_targets(logits / TEMPERATURE, before), now)
        return Generated(x, self.context.target.predict(logits, before), now)

    def n_draws(self, batch_size: int) -> int:
        return batch_size

    def loss_shares(self, values: Values, task: int) -> tuple[Tensor, Tensor]:
        return loss_shares(values["generative_weight"], task)

    def replay_loss(self, drawn: Drawn, values: Values) -> Tensor:
        logits = drawn.logits.unsqueeze(1).expand_as(drawn.mask)
        if self._distilled:
            return TEMPERATURE**2 * cross_entropy(drawn.labels, logits / TEMPERATURE, drawn.mask).mean()
        return self.context.target.losses(logits, drawn.labels, drawn.mask).mean()
