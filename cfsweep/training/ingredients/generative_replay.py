"""Generative replay: old tasks are rehearsed from examples that a small generator makes up."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from cfsweep.hypers import Hyper, Value
from cfsweep.training.ingredients._base import Batch, Context, Ingredient, Memory, Sample, State, Values
from cfsweep.training.ingredients._vae import Vae
from cfsweep.training.outputs import label_losses


class GenerativeReplay(Ingredient):
    """Beside each batch, as many made-up examples of the old tasks, labelled by the network as it was before the task.

    When a task ends, a variational autoencoder is trained on its examples alone, and its decoder is kept. Before each
    later task the decoders make up as many examples as the task has, in equal shares; the answer of the network, as
    the previous task left it, among the outputs open to that old task, is their label. No old data is kept.

    Departures: the paper has a generative adversarial network for all old tasks together, which learns each task from
    new and made-up examples and so wears off; a decoder per task does not, but the memory grows with the tasks. The
    losses are added with a weight, where the paper mixes them by shares (eq. 1). All autoencoders begin with the same
    weights; a seed decides the order of the examples and the noise. Beside `adapters` the network is asked as the new
    task finds it, with its bottlenecks at the identity, and beside `packnet` with the weights of all tasks at once.

    References:
        Shin et al. 2017 (arXiv 1705.08690), section 3; Robins 1995 (pseudo-rehearsal) on labels from the old network;
        Kingma & Welling 2014 (arXiv 1312.6114), eq. 10, the autoencoder's loss.
    """

    name = "generative-replay"
    family = "rehearsal"
    summary = "made-up examples of old tasks beside each batch; no old data is kept"
    paper = "Shin et al. 2017, arXiv 1705.08690"
    hypers = (
        Hyper("generative_weight", "float", 1.0, "weight of the made-up examples; 0 is off", low=0.0, acts="later"),
        Hyper("generative_epochs", "int", 20, "passes of the autoencoder over a task", low=1, structural=True),
        Hyper("generative_hidden", "int", 128, "units of its hidden layers", low=1, structural=True),
        Hyper("generative_latent", "int", 16, "numbers that describe an example", low=1, structural=True),
    )

    def __init__(self, context: Context, settings: Mapping[str, Value]) -> None:
        super().__init__(context, settings)
        self.epochs, self.batch_size = int(settings["generative_epochs"]), int(settings["batch_size"])
        hidden, latent = int(settings["generative_hidden"]), int(settings["generative_latent"])
        self.vae = Vae(math.prod(context.input_shape), hidden, latent)

    def initial_state(self, like: Tensor) -> State:
        return {"decoders": like.new_zeros(self.context.n_tasks, self.vae.decoder_size)}

    def sample_size(self, n_train: int) -> int:
        return n_train

    def noise_size(self) -> int:
        return self.epochs * (self.vae.n_latent + 1)

    def end_task(self, theta: Tensor, state: State, values: Values, task: int, sample: Sample) -> State:
        weights = self.vae.trained(sample.x.flatten(1), sample.noise, self.epochs, self.batch_size)
        row = torch.arange(self.context.n_tasks, device=theta.device).unsqueeze(1)
        return {"decoders": torch.where(row == task, weights[-self.vae.decoder_size :], state["decoders"])}

    def imagine(
        self, theta: Tensor, state: State, values: Values, task: int, noise: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        codes = noise[:, : self.vae.n_latent]
        examples, labels, masks = [], [], []
        for old in range(task):
            x = self.vae.decode(state["decoders"][old], codes[old::task])
            x = torch.where(values["generative_weight"] > 0, x, 0.0)  # off: whatever became of the autoencoder
            x = x.reshape(-1, *self.context.input_shape)
            answers = self.context.forward(theta, x).masked_fill(~self.context.masks[task - 1, old], -torch.inf)
            examples.append(x)
            labels.append(answers.argmax(-1))
            masks.append(self.context.masks[task, old].expand(len(x), -1))
        return torch.cat(examples), torch.cat(labels), torch.cat(masks)

    def recall_size(self, batch_size: int) -> int:
        return batch_size

    def recalled_loss(self, batch: Batch, state: State, values: Values) -> Tensor:
        return values["generative_weight"] * label_losses(batch.now.logits, batch.labels, batch.mask).mean()

    def reaches_old(self, values: Values) -> Tensor:
        return values["generative_weight"] > 0

    def stored_bytes(self, values: Mapping[str, float], memory: Memory, example_bytes: int) -> int:
        return 4 * self.context.n_tasks * self.vae.decoder_size if values["generative_weight"] > 0 else 0
