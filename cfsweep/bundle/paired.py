"""Two bundles on the same test examples: for each task and example which of the two models answers rightly, or for
each task how both score."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cfsweep.bundle.manifest import Manifest, TaskInfo
from cfsweep.bundle.model import Model, load
from cfsweep.bundle.own_stream import stream_of
from cfsweep.errors import InputError, few
from cfsweep.metrics.answers import PairedAnswers, PairedScores
from cfsweep.texts import held_against
from cfsweep.training.constant_answer import constant_answer
from cfsweep.training.plugins import named
from cfsweep.training.streams import Indices, Stream
from cfsweep.training.targets import Score, scores_of

ACCURACY = "accuracy"
APART = 0.05  # of two evaluations of one model: other libraries round otherwise, and turn a few answers over
OfExamples = Callable[[Indices], float]


class Paired(NamedTuple):
    """The answers of two bundles to the tasks that the candidate has learned, by a `score` within `bounds`; `left_out`
    names those of its tasks that are not in the data."""

    score: str
    bounds: tuple[float, float]
    answers: list[PairedAnswers | PairedScores]
    left_out: tuple[str, ...] = ()


def paired_answers(
    champion: str | Path,
    candidate: str | Path,
    data: str | None = None,
    stream: str | None = None,
    score: str | None = None,
) -> Paired:
    """What scores, between what it lies, and the answers of the bundles `champion` and `candidate` to the test examples
    of every task that the candidate has learned, in its order; the champion's tasks come first, as it must have learned
    none that the candidate has not. What the candidate was continued with may be missing from the data: then it is
    judged by the champion's tasks alone.

    The examples are those of the candidate's stream. `stream` names it where it is not to be found under the name in
    the bundle (a folder that has moved, say), `data` the folder of the data sets. The champion answers a task that it
    has not learned in domain-il alone, where its outputs mean what the candidate's do. `score` is that of the candidate
    unless it is another one of its target; of accuracy the answers are told, of any other the scores.

    Raises:
        InputError: one is no bundle; they differ in scenario, input shape, target, tasks or labels; there is no such
            score; the test examples are not those that both were exported with.
    """
    named(score)
    models = load(champion), load(candidate)
    old, new = models[0].about, models[1].about
    _require_comparable(old, new, candidate)
    _require_same_tasks(old, new, candidate)
    at_least = len(old.tasks) if new.continues else None
    loaded = stream_of(new, data, stream, "--stream", models[1].preprocessing, at_least)
    left_out = tuple(task.name for task in new.tasks[len(loaded.tasks) :])
    new = new.model_copy(update={"tasks": new.tasks[: len(loaded.tasks)]})
    for about, where in ((new, candidate), (old, champion)):
        _require_same_examples(about, where, loaded)
    loaded = replace(loaded, scores=new.stream_config.scores if score is None else (score,))
    chosen, end = scores_of(loaded)[0], len(new.tasks) - 1
    (row,) = constant_answer(loaded, new.scenario, ("test",), after=(end,)).steering["test"]
    constant = held_against(row, new.scenario)
    numbers = range(len(new.tasks))
    found: list[PairedAnswers | PairedScores]
    if chosen.name == ACCURACY and models[1].target.has_classes:
        found = [replace(_answers(*models, loaded, number), constant=constant[number]) for number in numbers]
    else:
        found = [replace(_scores(*models, loaded, number, chosen), constant=constant[number]) for number in numbers]
    for place, (about, where) in enumerate(((old, champion), (new, candidate))):
        _require_as_recorded(about, where, chosen.name, [_of_all(of_task)[place] for of_task in found])
    return Paired(chosen.name, chosen.bounds, found, left_out)


def _of_all(found: PairedAnswers | PairedScores) -> tuple[float, float]:
    """How champion and candidate score on all test examples of a task; NaN where one cannot answer."""
    if isinstance(found, PairedScores):
        return found.of(np.arange(found.n_examples))
    return math.nan if found.champion is None else float(np.mean(found.champion)), float(np.mean(found.candidate))


def _require_as_recorded(about: Manifest, where: str | Path, score: str, now: Sequence[float]) -> None:
    """Holds what a model scores now against what `model.json` says that it scored: no gate may judge by answers that
    are not the model's.

    Raises:
        InputError: they are further apart than rounding and a few examples can bring them.
    """
    recorded = about.scores.get("test", ())[-1:]
    if about.score != score or not recorded:
        return
    for task, then, found in zip(about.tasks, recorded[0], now, strict=False):
        if then is not None and abs(found - then) > APART * max(1.0, abs(then)):
            raise InputError(
                f"{where}: on the test examples of task `{task.name}` it has {score} {found:.4f}, but had {then:.4f} "
                "when it was exported. Do its encoder or its own code answer otherwise here? Bring back what they were."
            )


def _require_comparable(old: Manifest, new: Manifest, where: str | Path) -> None:
    for what, theirs, own in (
        ("scenario", old.scenario, new.scenario),
        ("target", old.target, new.target),
        ("shape of an example", str(old.input_shape), str(new.input_shape)),
    ):
        if theirs != own:
            raise InputError(
                f"--candidate {where}: its {what} must be the champion's, {theirs}, but is {own}. Compare models of "
                "one stream and scenario."
            )
    if len(new.tasks) < len(old.tasks):
        raise InputError(
            f"--candidate {where}: it must have learned all {len(old.tasks)} tasks of the champion, but has learned "
            f"{len(new.tasks)}. Give one that goes on from there, or swap the two."
        )


def _require_same_tasks(old: Manifest, new: Manifest, where: str | Path) -> None:
    for number, (one, two) in enumerate(zip(old.tasks, new.tasks, strict=False)):
        if one.name != two.name:
            raise InputError(
                f"--candidate {where}: its task {number} must be the champion's, `{one.name}`, but is `{two.name}`. "
                "Compare models that have learned the same tasks in one order."
            )
        theirs, own = _own_labels(old, one), _own_labels(new, two)
        if theirs != own:
            raise InputError(
                f"--candidate {where}: the labels of task `{one.name}` must be the champion's, {_listed(theirs)}, "
                f"but are {_listed(own)}. Train both on the same labels."
            )


def _own_labels(about: Manifest, task: TaskInfo) -> set[int | str | None]:
    """The user's labels of the classes of a task. In task-il no other is active; else an output is a class, or, where
    there are fewer outputs than classes, a class's place within its task."""
    if about.scenario == "task-il":
        return {label for label in task.labels if label is not None}
    by_class = about.n_outputs > max((label for other in about.tasks for label in other.classes), default=-1)
    return {task.labels[number] for number in (task.classes if by_class else range(len(task.classes)))}


def _listed(labels: set[int | str | None]) -> str:
    names = sorted((str(label) for label in labels), key=lambda name: (len(name), name))  # 2 before 10
    return few(names)


def _require_same_examples(about: Manifest, where: str | Path, stream: Stream) -> None:
    for number, task in enumerate(about.tasks):
        found = stream.test_sha256(number)
        if found != task.test_sha256:
            raise InputError(
                f"stream `{stream.name}`: the test examples of task `{task.name}` must be those that {where} was "
                f"exported with, of SHA-256 {task.test_sha256[:12]}, but have {found[:12]}. Bring the data back as it "
                "was, or name its place with --stream or --data."
            )


def _scores(champion: Model, candidate: Model, stream: Stream, number: int, score: Score) -> PairedScores:
    examples = stream.tasks[number].test
    x, task, is_earlier = stream.x[examples], candidate.about.tasks[number], number < len(champion.about.tasks)
    of_candidate = _scored(candidate, score, x, number, _labels(candidate, stream, number, task, examples))
    of_champion: OfExamples = _nothing
    if is_earlier:
        labels = _labels(champion, stream, number, champion.about.tasks[number], examples)
        of_champion = _scored(champion, score, x, number, labels)
    elif _answers_any_task(champion.about, candidate.about):
        of_champion = _scored(champion, score, x, None, _labels(candidate, stream, number, task, examples))
    return PairedScores(
        task.name, len(examples), lambda chosen: (of_champion(chosen), of_candidate(chosen)), is_earlier
    )


def _nothing(_: Indices) -> float:
    return math.nan


def _labels(model: Model, stream: Stream, number: int, task: TaskInfo, examples: Indices) -> Tensor:
    """The labels of the examples of a task in terms of the model's outputs; amounts as they are."""
    if not model.target.has_classes:
        mask, amounts = model.answers["masks"][number], stream.y[examples]
        found = amounts.new_zeros(len(amounts), len(mask))
        found[:, mask] = amounts
        return found
    return torch.tensor([task.labels.index(label) for label in stream.user_labels(examples)], dtype=torch.int64)


def _scored(model: Model, score: Score, x: Tensor, task: int | None, labels: Tensor) -> OfExamples:
    """How the model scores on a choice of the examples x, which it answers once."""
    if not len(x):
        return _nothing
    mask = model.answers["masks"][task or 0]
    answers = model.target.answers(score, model.outputs(x, task, encoded=True), mask).unsqueeze(0)

    def of(chosen: Indices) -> float:
        return float(model.target.measured(score, answers[:, chosen], labels[chosen], mask))

    return of


def _answers(champion: Model, candidate: Model, stream: Stream, number: int) -> PairedAnswers:
    examples = stream.tasks[number].test
    x, labels = stream.x[examples], stream.user_labels(examples)
    task, is_earlier = candidate.about.tasks[number], number < len(champion.about.tasks)
    said: list[Any] | None = None
    if is_earlier:
        said = champion.predict(x, number, encoded=True)
    elif _answers_any_task(champion.about, candidate.about):
        # What an output means for this task the candidate alone knows.
        outputs = champion.target.predict(champion.outputs(x, encoded=True), champion.answers["masks"][0])
        said = [task.labels[output] for output in outputs.tolist()]
    own = None if said is None else _right(said, labels)
    return PairedAnswers(task.name, own, _right(candidate.predict(x, number, encoded=True), labels), is_earlier)


def _answers_any_task(champion: Manifest, candidate: Manifest) -> bool:
    """Whether the champion can answer tasks that the candidate alone has learned: in domain-il with weights that all
    tasks share, where no output means something else to the candidate."""
    if champion.scenario != "domain-il" or champion.needs_task or champion.n_outputs != candidate.n_outputs:
        return False
    return all(
        one is None or two is None or one == two
        for own, other in zip(champion.tasks, candidate.tasks, strict=False)
        for one, two in zip(own.labels, other.labels, strict=True)
    )


def _right(said: list[Any], labels: list[Any]) -> NDArray[np.bool_]:
    return np.array([one == label for one, label in zip(said, labels, strict=True)], dtype=np.bool_)
