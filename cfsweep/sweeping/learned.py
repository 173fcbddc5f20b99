"""Whether a study's first weights can be what it takes them for: of `network.init` and `stream.learned`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from cfsweep.config import PARTS, Scenario, StudyConfig
from cfsweep.errors import InputError, few
from cfsweep.hypers import Hyper
from cfsweep.sweeping.pack_size import probe
from cfsweep.texts import score_text
from cfsweep.training.constant_answer import constant_answer
from cfsweep.training.engine.evaluation import Measure
from cfsweep.training.ingredients import ingredient_class, refuse_without_steps
from cfsweep.training.networks import head_of, init_note
from cfsweep.training.streams import Stream, Task
from cfsweep.training.targets import Outputs, Score, scores_of, target_of

ASKED = 256  # training examples of each known task: a wrong order or scale shows in far fewer
_AT_ONCE = 32  # of them
_ERRORS = 2  # standard errors that chance may put a score above the constant answer's


def check_learned(
    config: StudyConfig, hypers: Mapping[str, Hyper], stream: Stream, network: nn.Module, outputs: Outputs, where: str
) -> str | None:
    """What the user should know of the `network` that begins with weights from a file: how well it answers the tasks
    that it is to know, or that its output layer is drawn all the same, and why. None where there is nothing to say.

    Raises:
        InputError: tasks are said to be learned, but by no weights, or not by the output layer; or a remedy that is on
            needs the steps that they were learned by.
    """
    n_outputs = outputs.n_outputs
    head = head_of(network, n_outputs)
    left = init_note(network, head, config.space.network)
    if not stream.n_learned:
        return None if left is None else f"network.init: the output layer `{head}` begins as it is drawn, since {left}"
    if config.space.network.init is None:
        raise InputError(
            f"{where}: `stream.learned={stream.n_learned}` needs weights that know the first tasks. Name their file "
            "with `network.init`."
        )
    if left is not None:
        raise InputError(
            f"{where}: `stream.learned={stream.n_learned}` needs an output layer that knows the first tasks, but of "
            f"`{head}` {left}. Give it the {n_outputs} outputs of the stream{_in_order(stream)} (docs/pretrained.md)."
        )
    values = [run.values for run in probe(config, hypers, 1).runs]
    refuse_without_steps(map(ingredient_class, config.space.ingredients), values, f"{where}: stream.learned")
    return known_note(stream, config.stream.scenario, network, outputs)


def _in_order(stream: Stream) -> str:
    """What the outputs are, where each is one of the user's classes."""
    return f", in the order {', '.join(map(str, stream.class_ids))}" if stream.class_ids else ""


def known_note(stream: Stream, scenario: Scenario, network: nn.Module, outputs: Outputs) -> str | None:
    """How well the `network` answers the known tasks of the stream, beside the constant answer, on up to `ASKED`
    training examples of each; and what may be the matter where it is no better on one. None without a known task on
    which the score has a value. It leaves the network in evaluation mode."""
    score, tasks = scores_of(stream)[0], tuple(map(_asked, stream.tasks[: stream.n_learned]))
    own = _scores(replace(stream, tasks=tasks), score, network, outputs)
    if all(map(math.isnan, own)):
        return None
    asked = replace(stream, tasks=(*tasks, *stream.tasks[stream.n_learned :]))
    (row,) = constant_answer(asked, scenario, PARTS[:1], (stream.n_learned - 1,)).steering[PARTS[0]]
    constant = row[: stream.n_learned]
    if scenario == "class-il":  # one class of all: right on all of a task or on none, which says nothing of either
        constant = [float(np.nanmean(constant))] * len(constant)
    found = [
        (
            f"`{task.name}`",
            f"{score_text(a, 3)} (the constant answer {score_text(b, 3)})",
            a <= _by_chance(score, b, task),
        )
        for task, a, b in zip(tasks, own, constant, strict=True)
        if not math.isnan(a)
    ]
    told = few(f"{name} {text}" for name, text, _ in found)
    said = f"network.init: {score.name} of the first weights on training examples: {told}"
    if unknown := [name for name, _, is_unknown in found if is_unknown]:
        return (
            f"{said}. So they do not know {few(unknown)}, said to be learned: their outputs lie in another "
            "order than the classes here (`--dry-run` lists these), or they know examples of another scale "
            "(`stream.standardise`)."
        )
    return said


def _asked(task: Task) -> Task:
    """The task with up to `ASKED` of its training examples, evenly spaced, as those to validate on."""
    places = np.unique(np.linspace(0, len(task.train) - 1, ASKED).astype(np.int64))
    return replace(task, validation=task.train[places])


def _scores(stream: Stream, score: Score, network: nn.Module, outputs: Outputs) -> list[float]:
    """The score of each task, all known, on the examples to validate on; NaN where it has no value."""
    target, last, found = target_of(stream.target), len(stream.tasks) - 1, []
    measure = Measure(target, (score,), outputs)
    network.eval()
    for number, task in enumerate(stream.tasks):
        examples, mask = torch.from_numpy(task.validation), outputs.masks[last, number]
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            given = torch.cat([network(_seen(stream, part)) for part in torch.split(examples, _AT_ONCE)])
        answers = target.answers(score, given.unsqueeze(0), mask)
        found.append(float(measure.of(score, answers, examples, mask)))
    return found


def _seen(stream: Stream, examples: Tensor) -> Tensor:
    return (stream.x[examples].float() - stream.shift) * stream.scale


def _by_chance(score: Score, constant: float, task: Task) -> float:
    """What is no better than the constant answer, but for chance in the choice of the examples."""
    if score.variance is None:
        return constant
    variance = score.variance(np.array([constant]), np.array([float(len(task.validation))]))
    return constant + _ERRORS * math.sqrt(float(variance[0]))
