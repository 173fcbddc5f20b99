"""A remedy that does all that it must, and one for each check that does not.

Each of the broken ones is broken in the narrowest way, so that one check alone finds it, as far as that is possible:
some lie only under one optimizer, some only where the optimizer's state is kept.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from cfsweep.hypers import Hyper
from cfsweep.training.ingredients import (
    Buffer,
    Context,
    Examples,
    Indices,
    MixedReplay,
    Penalty,
    RateByStep,
    Settings,
    State,
    Values,
)


class Sound(Penalty):
    """Half the squared distance to the weights of the latest task, times `pull`."""

    name = "sound"
    summary = "pulls back to the weights of the latest task"
    paper = "none"
    hypers = (Hyper("pull", "float", 0.5, "strength", low=0.0, off=0.0, takes_effect="later"),)

    def __init__(self, context: Context, settings: Settings) -> None:
        super().__init__(context, settings)
        self._settings = settings

    def initial_state(self, theta: Tensor) -> State:
        return {"anchor": theta.clone()}

    def gradient(self, theta: Tensor, state: State, values: Values) -> Tensor:
        return values["pull"] * (theta - state["anchor"])

    def consolidate(self, theta: Tensor, state: State, values: Values, task: int, examples: Examples) -> State:
        return {"anchor": theta.clone()}


class TwoLines(Sound):
    """Its name takes two lines, so a refusal does too."""

    name = "two\nlines"
    scenarios = ("task-il",)


class Chance(Sound):
    """With sgd it pulls as chance has it."""

    name = "chance"

    def gradient(self, theta: Tensor, state: State, values: Values) -> Tensor:
        strength = random.random() if self._settings["optimizer"] == "sgd" else 1.0
        return strength * super().gradient(theta, state, values)


class Forgetful(Sound):
    """It notes in an attribute which task it is at; that is lost when a pack is restored."""

    name = "forgetful"
    _latest = -1

    def gradient(self, theta: Tensor, state: State, values: Values) -> Tensor:
        known = self._latest >= 0 or self._settings["optimizer_state"] == "kept"
        return super().gradient(theta, state, values) * (1.0 if known else 0.0)

    def consolidate(self, theta: Tensor, state: State, values: Values, task: int, examples: Examples) -> State:
        self._latest = task
        return super().consolidate(theta, state, values, task, examples)


class ForgetfulWithin(Sound):
    """In batches of 6 it counts the steps of a task in an attribute; that is lost when a run is restored within one."""

    name = "forgetful-within"
    _steps = 0

    def gradient(self, theta: Tensor, state: State, values: Values) -> Tensor:
        self._steps += self._settings["batch_size"] == 6
        return super().gradient(theta, state, values) * (1.0 + self._steps)

    def consolidate(self, theta: Tensor, state: State, values: Values, task: int, examples: Examples) -> State:
        self._steps = 0
        return super().consolidate(theta, state, values, task, examples)


class Rounding(Sound):
    """With sgd it goes by the last bits of the weights, which differ where products have another shape."""

    name = "rounding"

    def gradient(self, theta: Tensor, state: State, values: Values) -> Tensor:
        by = 10 * torch.sin(1e9 * theta) if self._settings["optimizer"] == "sgd" else 1.0
        return super().gradient(theta, state, values) * by


class NeverOff(Sound):
    """It pulls at `off`, too."""

    name = "never-off"

    def gradient(self, theta: Tensor, state: State, values: Values) -> Tensor:
        return (values["pull"] + 0.5) * (theta - state["anchor"])


class OffByDefault(Sound):
    """Its default is `off`."""

    name = "off-by-default"
    hypers = (Hyper("pull", "float", 0.0, "strength", low=0.0, off=0.0, takes_effect="later"),)


class ActsAllTheSame(Sound):
    """Its factor is said to act in one mode alone, and acts in both."""

    name = "acts-all-the-same"
    hypers = (
        *Sound.hypers,
        Hyper("pull_mode", "choice", "plain", "whether there is a factor", choices=("plain", "twisted"), static=True),
        Hyper(
            "pull_factor",
            "float",
            1.0,
            "the factor",
            low=0.0,
            takes_effect="later",
            only_with=("pull_mode", "twisted"),
        ),
    )

    def gradient(self, theta: Tensor, state: State, values: Values) -> Tensor:
        return values["pull_factor"] * super().gradient(theta, state, values)


class OffUnlessLoud(Sound):
    """Its other setting switches it on again."""

    name = "off-unless-loud"
    hypers = (*Sound.hypers, Hyper("loudness", "float", 0.0, "adds to the strength", low=0.0, takes_effect="later"))

    def gradient(self, theta: Tensor, state: State, values: Values) -> Tensor:
        return (values["pull"] + values["loudness"]) * (theta - state["anchor"])


class TooEarly(RateByStep):
    """Its hyperparameter is said to take effect later, but slows down the first task already."""

    name, summary, paper = "too-early", "slower steps", "none"
    hypers = (Hyper("haste", "float", 0.2, "factor", low=0.0, low_open=True, high=1.0, off=1.0, takes_effect="later"),)

    def rate(self, values: Values, step: int, n_steps: int) -> Tensor:
        return values["haste"]


class Crowded(Sound):
    """It counts the runs of its pack, and pulls the less the more there are."""

    name = "crowded"
    _where = "fresh"

    def __init__(self, context: Context, settings: Settings) -> None:
        super().__init__(context, settings)
        self._n_runs = 0

    def initial_state(self, theta: Tensor) -> State:
        self._n_runs += 1
        return super().initial_state(theta)

    def gradient(self, theta: Tensor, state: State, values: Values) -> Tensor:
        crowd = self._n_runs if self._settings["optimizer_state"] == self._where else 1
        return super().gradient(theta, state, values) / crowd


class CrowdedWhereKept(Crowded):
    """The same where the optimizer's state is kept."""

    name = "crowded-where-kept"
    _where = "kept"


class SoundBuffer(MixedReplay):
    """The latest examples of each task take the first place of each batch."""

    name = "sound-buffer"
    summary = "rehearses"
    paper = "none"
    hypers = (Hyper("room", "int", 3, "examples kept of each task", low=0, off=0, takes_effect="later"),)

    def update_buffer(
        self, buffer: Buffer, examples: Indices, values: Mapping[str, float], rng: np.random.Generator
    ) -> Buffer:
        kept = rng.permutation(examples)[: int(values["room"])]
        return Buffer(np.concatenate([buffer.indices, kept]), buffer.offered + len(examples))

    def mix_in(
        self, order: Indices, batch_size: int, buffer: Buffer, values: Mapping[str, float], rng: np.random.Generator
    ) -> Indices:
        mixed = order.copy()
        if len(buffer.indices):
            firsts = mixed[::batch_size]
            firsts[:] = rng.choice(buffer.indices, len(firsts))
        return mixed


class NoticesTheDropped(SoundBuffer):
    """It counts how often it is asked after each task, and keeps nothing if that becomes less."""

    name = "notices-the-dropped"

    def __init__(self, context: Context, settings: Settings) -> None:
        super().__init__(context, settings)
        self._asked: Counter[int] = Counter()

    def update_buffer(
        self, buffer: Buffer, examples: Indices, values: Mapping[str, float], rng: np.random.Generator
    ) -> Buffer:
        earlier = [n for first, n in self._asked.items() if first != examples[0]]
        self._asked[int(examples[0])] += 1
        fewer = any(after < before for before, after in itertools.pairwise(earlier))
        return super().update_buffer(buffer, examples, {"room": 0.0} if fewer else values, rng)


class NoNumber(SoundBuffer):
    """It keeps logits that are no numbers, so nobody can tell whose they are."""

    name = "no-number"

    def update_buffer(
        self, buffer: Buffer, examples: Indices, values: Mapping[str, float], rng: np.random.Generator
    ) -> Buffer:
        new = super().update_buffer(buffer, examples, values, rng)
        return Buffer(new.indices, new.offered, np.full((len(new.indices), 1), np.nan, np.float32))


class Overwriting(Sound):
    """It writes the new anchor over the old one."""

    name = "overwriting"

    def consolidate(self, theta: Tensor, state: State, values: Values, task: int, examples: Examples) -> State:
        state["anchor"].copy_(theta)
        return {"anchor": torch.clone(state["anchor"])}


class Sorting(SoundBuffer):
    """It sorts the old buffer in its place."""

    name = "sorting"

    def update_buffer(
        self, buffer: Buffer, examples: Indices, values: Mapping[str, float], rng: np.random.Generator
    ) -> Buffer:
        buffer.indices[::-1].sort()
        return super().update_buffer(buffer, examples, values, rng)


class Peeking(SoundBuffer):
    """It keeps an example that scores its run: the one that follows those to train on in the store."""

    name = "peeking"

    def update_buffer(
        self, buffer: Buffer, examples: Indices, values: Mapping[str, float], rng: np.random.Generator
    ) -> Buffer:
        if not values["room"]:
            return super().update_buffer(buffer, examples, values, rng)
        return Buffer(np.append(buffer.indices, examples.max() + 1), buffer.offered + len(examples))
