"""Generative replay: old tasks are rehearsed from examples that a small generator makes up."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cfsweep.hypers import Hyper
from cfsweep.training.ingredients._base import Context, Settings, State, Values
from cfsweep.training.ingredients._pieces import Drawn, Examples, Generated, Generator, ReplayLoss
from cfsweep.training.ingredients._vae import Vae


class GenerativeReplay(Generator, ReplayLoss):
    """Beside each batch, as many made-up examples of the old tasks, labelled by the network as it was before the task.

    When a task ends, a variational autoencoder is trained on its examples alone, and its decoder is kept. Before each
    later task the decoders make up as many examples as the task has, in equal shares; the answer of the network, as
    the previous task left it, among the outputs active for that old task, is their label. No old data is kept.

    Departures: the paper has a generative adversarial network for all old tasks together, which learns each task from
    new and made-up examples and so degrades; a decoder per task does not, but the memory grows with the tasks. The
    losses are added with a weight, where the paper mixes them by shares (eq. 1). All autoencoders begin with the same
    weights; a seed decides the order of the examples and the noise. Beside `adapters` the network is asked as the new
    task finds it, with its bottlenecks at the identity, and beside `packnet` with the weights of all tasks at once.

    References:
        Shin et al. 2017 (arXiv 1705.08690), section 3; Robins 1995 (pseudo-rehearsal) on labels from the old network;
        Kingma & Welling 2014 (arXiv 1312.6114), eq. 10, the autoencoder's loss.
    """

    name = "generative-replay"
    summary = "made-up examples of old tasks beside each batch; no old data is kept"
    paper = "Shin et al. 2017, arXiv 1705.08690"
    hypers = (
        Hyper(
            "generative_weight", "float", 1.0, "weight of the made-up examples", low=0.0, off=0.0, takes_effect="later"
        ),
        Hyper("generative_epochs", "int", 20, "passes of the autoencoder over a task", low=1, static=True),
        Hyper("generative_hidden", "int", 128, "units of its hidden layers", low=1, static=True),
        Hyper("generative_latent", "int", 16, "numbers that describe an example", low=1, static=True),
    )

    def __init__(self, context: Context, settings: Settings) -> None:
        super().__init__(context, settings)
        self._epochs, self._batch_size = int(settings["generative_epochs"]), int(settings["batch_size"])
        hidden, latent = int(settings["generative_hidden"]), int(settings["generative_latent"])
        self._vae = Vae(math.prod(context.input_shape), hidden, latent)

    def initial_state(self, theta: Tensor) -> State:
        return {"decoders": theta.new_zeros(self.context.n_tasks, self._vae.decoder_size)}

    def n_examples(self, n_train: int) -> int:
        return n_train

    def n_noise(self) -> int:
        return self._epochs * (self._vae.n_latent + 1)

    def consolidate(self, theta: Tensor, state: State, values: Values, task: int, examples: Examples) -> State:
        weights = self._vae.trained(examples.x.flatten(1), examples.noise, self._epochs, self._batch_size)
        row = torch.arange(self.context.n_tasks, device=theta.device).unsqueeze(1)
        return {"decoders": torch.where(row == task, weights[-self._vae.decoder_size :], state["decoders"])}

    def generate(self, theta: Tensor, state: State, values: Values, task: int, noise: Tensor) -> Generated:
        codes = noise[:, : self._vae.n_latent]
        examples, labels, masks = [], [], []
        for old in range(task):
            x = self._vae.decode(state["decoders"][old], codes[old::task])
            x = torch.where(values["generative_weight"] > 0, x, 0.0)  # off: whatever became of the autoencoder
            x = x.reshape(-1, *self.context.input_shape)
            active = self.context.outputs.masks[task - 1, old]
            examples.append(x)
            labels.append(self.context.target.predict(self.context.forward(theta, x), active))
            masks.append(self.context.outputs.masks[task, old].expand(len(x), -1))
        return Generated(torch.cat(examples), torch.cat(labels), torch.cat(masks))

    def n_draws(self, batch_size: int) -> int:
        return batch_size

    def replay_loss(self, drawn: Drawn, values: Values) -> Tensor:
        losses = self.context.target.losses(drawn.logits, drawn.labels, drawn.mask)
        return values["generative_weight"] * losses.mean()
