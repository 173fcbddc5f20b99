"""Two bundles on the same test examples: for each task and example, which of the two models answers rightly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cfsweep.bundle.manifest import Manifest, TaskInfo
from cfsweep.bundle.model import Model, load
from cfsweep.bundle.own_stream import stream_of
from cfsweep.errors import InputError, few
from cfsweep.metrics.answers import PairedAnswers
from cfsweep.training.streams import Stream
from cfsweep.training.targets import target_of


def paired_answers(
    champion: str | Path, candidate: str | Path, data: str | None = None, stream: str | None = None
) -> list[PairedAnswers]:
    """The answers of the bundles `champion` and `candidate` to the test examples of every task that the candidate has
    learned, in its order; the champion's tasks come first, as it must have learned none that the candidate has not.

    The examples are those of the candidate's stream. `stream` names it where it is not to be found under the name in
    the bundle (a folder that has moved, say), `data` the folder of the data sets. The champion answers a task that it
    has not learned in domain-il alone, where its outputs mean what the candidate's do.

    Raises:
        InputError: one is no bundle; they differ in scenario, input shape, tasks or labels, or are not scored by
            accuracy; the test examples are not those that both were exported with.
    """
    models = load(champion), load(candidate)
    old, new = models[0].about, models[1].about
    _require_comparable(old, new, candidate)
    _require_same_tasks(old, new, candidate)
    loaded = stream_of(new, data, stream, "--stream")
    for about, where in ((new, candidate), (old, champion)):
        _require_same_examples(about, where, loaded)
    return [_answers(*models, loaded, number) for number in range(len(new.tasks))]


def _require_comparable(old: Manifest, new: Manifest, where: str | Path) -> None:
    for about in (old, new):
        if about.score != "accuracy" or not target_of(about.target).has_classes:
            raise InputError(
                f"gate: it pairs right and wrong answers, so both models must be scored by accuracy, but got "
                f"`{about.score}`. Compare such models by their scores in model.json."
            )
    for what, theirs, own in (
        ("scenario", old.scenario, new.scenario),
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
    by_class = about.n_outputs > max(max(other.classes) for other in about.tasks)
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


def _answers(champion: Model, candidate: Model, stream: Stream, number: int) -> PairedAnswers:
    examples = stream.tasks[number].test
    x, labels = stream.x[examples], stream.user_labels(examples)
    task, is_earlier = candidate.about.tasks[number], number < len(champion.about.tasks)
    said: list[int | str | None] | None = None
    if is_earlier:
        said = champion.predict(x, number)
    elif _answers_any_task(champion.about, candidate.about):
        # What an output means for this task the candidate alone knows.
        outputs = champion.target.predict(champion.outputs(x), champion.answers["masks"][0])
        said = [task.labels[output] for output in outputs.tolist()]
    own = None if said is None else _right(said, labels)
    return PairedAnswers(task.name, own, _right(candidate.predict(x, number), labels), is_earlier)


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


def _right(said: list[int | str | None], labels: list[int]) -> NDArray[np.bool_]:
    return np.array([one == label for one, label in zip(said, labels, strict=True)], dtype=np.bool_)
