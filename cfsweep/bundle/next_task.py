"""The stream that a bundle goes on with: the tasks it has learned, of which it has kept some examples or none, and the
next one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cfsweep.bundle.encoding import require_same
from cfsweep.bundle.manifest import Manifest
from cfsweep.bundle.program import UNIT
from cfsweep.bundle.table import settled
from cfsweep.bundle.writer import STEERING
from cfsweep.config import StreamConfig
from cfsweep.errors import InputError, few
from cfsweep.training.streams import ClassId, Indices, Preprocessing, Stream, Task, load_task, next_of_table
from cfsweep.training.targets import target_of

PLACE = "/place"  # how the entries of a bundle's state end that say where its examples lay
OF_A_TASK = ("size", "mode", "x", "y")  # of a stream's arguments: how its images and columns are read
MOVED = "columns standardised in float64"  # among a stream's files


def next_task(about: Manifest, path: Path, table: Preprocessing | None = None) -> Stream:
    """The task at `path`, a file or a folder of parts or of images, as a stream of its own, cut as the bundle's tasks
    were; it is a raw table where the bundle has kept what makes examples of a `table`. Where the bundle has an encoder,
    it makes features of the examples; but of texts, which no such file but a table holds, the file has the features.

    Raises:
        InputError: there is none, or its examples are not like those of the bundle; or the bundle has learned it.
    """
    cut, where = about.cut, f"--task {path}"
    has_raw = about.encoder is not None and (about.encoder.input_shape is not None or table is not None)
    encoder = about.encoder if has_raw else None
    config = StreamConfig(
        name=str(path),
        validation_frac=cut.validation_frac,
        steering_frac=cut.steering_frac,
        split_seed=cut.split_seed,
        validation=cut.validation,
        splits=cut.split + 1 if table is None else max(cut.split + 1, about.stream_config.splits),
        standardise="none",
        target=about.target,
        encoder=None if encoder is None else encoder.name,
        encoder_args={} if encoder is None else encoder.args,
        args={name: value for name, value in about.stream_config.args.items() if name in OF_A_TASK},
    )
    if table is None:
        found = load_task(config, about.features)
    else:
        with settled():
            found = next_of_table(config, table, [info.name for info in about.tasks], _only_labels(about))
    if encoder is not None and found.encoder is not None:
        require_same(encoder, found.encoder, where)
    if known := sorted(set(found.files.values()) & set(about.data_sha256.values())):
        raise InputError(f"{where}: the bundle has learned it already (SHA-256 {known[0][:12]}). Give another task.")
    dtype = str(found.x.dtype).removeprefix("torch.")
    if (found.input_shape, dtype) != (about.input_shape, about.input_dtype):
        raise InputError(
            f"{where}: its examples must be as those of the bundle, {about.input_shape} {about.input_dtype}, but they "
            f"are {found.input_shape} {dtype}. Convert them."
        )
    if MOVED in about.data_sha256:
        raise InputError(
            f"{where}: float32 is too coarse for some columns of the bundle's examples, and the numbers by which they "
            "were standardised before are not in it. Subtract an offset from them, and train all tasks again."
        )
    return (found.refitted() if cut.refit else found).of_split(cut.split)


def _only_labels(about: Manifest) -> tuple[ClassId, ...]:
    """The labels that a next task may have, in domain-il where an output is a class that tasks share; none: any."""
    means = {info.labels for info in about.tasks}
    if about.scenario != "domain-il" or len(means) > 1:
        return ()
    return tuple(label for label in means.pop() if label is not None)


def going_on(about: Manifest, state: Mapping[str, Tensor], answers: Mapping[str, Tensor], new: Stream) -> Stream:
    """The bundle's stream with the one task of `new` behind it, standardised as the bundle's. Of the tasks before, the
    store has those examples that the bundle's `state` holds: those of rehearsals as training examples, which nothing
    but these looks at again, and those of stop rules as steering ones.

    Classes that are new are numbered after the known ones, in the order of their labels.

    Raises:
        InputError: labels are unknown in domain-il, or nobody can say what an output means.
    """
    ids, number_of = _numbered(about, new)
    x, y, learned = _kept(about, state)
    (task,) = new.tasks
    stream = Stream(
        name=about.stream,
        x=torch.cat([*x, new.x]),
        y=torch.cat([*y, number_of[new.y] if new.n_classes else new.y]),
        tasks=(*learned, _moved(task, number_of, sum(map(len, x)))),
        shift=_number(answers["shift"]),
        scale=_number(answers["scale"]),
        # In task-il each task's outputs have the same.
        unit=(answers[UNIT[0]][: new.y.shape[1]], answers[UNIT[1]][: new.y.shape[1]]) if UNIT[0] in answers else None,
        files=_files(about, new),
        target=about.target,
        scores=about.stream_config.scores,
        positive=about.stream_config.positive,
        class_weights=about.stream_config.class_weights,
        learned_weights=about.class_weights,
        class_ids=() if ids == tuple(range(len(ids))) else ids,
        standardised=about.standardised,
        features=about.features,
        validation=about.cut.validation,
        preprocessing=new.preprocessing,
        n_learned=len(about.tasks),
        encoder=about.encoder,
        augment=about.stream_config.augment,
    )
    if about.scenario == "domain-il":
        _refuse_unknown(about, stream)
    return stream


def scored_by(stream: Stream, old: Stream) -> Stream:
    """`stream`, which goes on from a bundle, with the validation examples that `old`, the stream of the bundle's tasks,
    has of these. They lie behind all others, so nothing that trains is changed by them."""
    number_of = {label: number for number, label in enumerate(stream.class_ids or range(stream.n_classes))}
    x, y, tasks, n = [stream.x], [stream.y], list(stream.tasks), len(stream.x)
    for number in range(stream.n_learned):
        examples = old.tasks[number].validation
        x.append(old.x[examples])
        y.append(_numbers(old, examples, number_of))
        tasks[number] = replace(tasks[number], validation=np.arange(n, n + len(examples)))
        n += len(examples)
    return replace(stream, x=torch.cat(x), y=torch.cat(y), tasks=tuple(tasks))


def _numbers(old: Stream, examples: Indices, number_of: Mapping[Any, int]) -> Tensor:
    """The classes of examples of `old` as another stream numbers them; amounts as they are."""
    if not old.n_classes:
        return old.y[examples]
    return torch.tensor([number_of[label] for label in old.user_labels(examples)], dtype=torch.int64)


def scored_by_kept(stream: Stream) -> Stream:
    """`stream`, which goes on from a bundle, with the examples of the bundle's tasks that a rehearsal has kept as
    validation examples, too: they are trained on, and so make a model look better than it is."""
    learned = [replace(task, validation=task.train) for task in stream.tasks[: stream.n_learned]]
    return replace(stream, tasks=(*learned, *stream.tasks[stream.n_learned :]))


def places_of(state: Mapping[str, Tensor]) -> Indices:
    """The places in the store that the bundle was written from of all examples that it has kept, ascending."""
    found = [value.numpy() for name, value in state.items() if name.endswith(PLACE)]
    return np.unique(np.concatenate([np.empty(0, np.int64), *found]))


def _kept(about: Manifest, state: Mapping[str, Tensor]) -> tuple[list[Tensor], list[Tensor], list[Task]]:
    """x and y of what is kept, each example once, in the order in which they lay; and the tasks that they are of."""
    places = places_of(state)
    x: list[Tensor] = []
    given = next((value for name, value in state.items() if name.endswith("/y")), torch.empty(0, dtype=torch.int64))
    y = given.new_empty(len(places), *given.shape[1:])
    task_of, steers = np.full(len(places), -1), np.zeros(len(places), bool)
    for name in (name.removesuffix(PLACE) for name in state if name.endswith(PLACE)):
        here = np.searchsorted(places, state[f"{name}{PLACE}"].numpy())
        x = x or [state[f"{name}/x"].new_empty(len(places), *about.input_shape)]
        x[0][here], y[here] = state[f"{name}/x"], state[f"{name}/y"]
        task_of[here], steers[here] = state[f"{name}/task"].numpy(), name == STEERING
    none = np.empty(0, np.int64)
    tasks = [
        Task(
            info.name,
            info.classes,
            np.flatnonzero((task_of == number) & ~steers),
            none,
            none,
            np.flatnonzero((task_of == number) & steers),
        )
        for number, info in enumerate(about.tasks)
    ]
    return x, [y] if x else [], tasks


def _numbered(about: Manifest, new: Stream) -> tuple[tuple[ClassId, ...], Tensor]:
    """The user's label of every class, and for each class of `new` its number among these.

    Raises:
        InputError: those of the bundle are words and those of the task whole numbers, or the other way round.
    """
    n_known = 1 + max((label for info in about.tasks for label in info.classes), default=-1)
    known: tuple[ClassId, ...] = about.class_ids or tuple(range(n_known))
    own: tuple[ClassId, ...] = new.class_ids or tuple(range(new.n_classes))
    if known and own and isinstance(known[0], str) != isinstance(own[0], str):  # the word `1` is not the number
        kinds = ("words", "whole numbers") if isinstance(known[0], str) else ("whole numbers", "words")
        raise InputError(
            f"--task {new.tasks[0].name}: labels must be {kinds[0]} as those of the bundle, but are {kinds[1]}. Write "
            "them alike."
        )
    ids = (*known, *(label for label in own if label not in known))
    return ids, torch.tensor([ids.index(label) for label in own], dtype=torch.int64)


def _moved(task: Task, number_of: Tensor, n: int) -> Task:
    """The task in a store that begins with `n` other examples, with its classes as they are numbered there."""
    classes = tuple(sorted(number_of[torch.tensor(task.classes, dtype=torch.int64)].tolist()))
    return Task(task.name, classes, **{name: part + n for name, part in task.parts.items()})


def _number(value: Tensor) -> float | Tensor:
    return float(value) if value.dim() == 0 else value


def _files(about: Manifest, new: Stream) -> dict[str, str]:
    """Those of all tasks; a name that is taken says which task it is of."""
    number = len(about.tasks)
    own = {f"{name} (task {number})" if name in about.data_sha256 else name: of for name, of in new.files.items()}
    return {**about.data_sha256, **own}


def _refuse_unknown(about: Manifest, stream: Stream) -> None:
    """
    Raises:
        InputError: the new task needs outputs that the bundle has not.
    """
    outputs = target_of(stream.target).outputs(stream, about.scenario)
    if outputs.n_outputs == about.n_outputs:
        return
    ids = stream.class_ids or tuple(range(stream.n_classes))
    known = {label for info in about.tasks for label in info.classes}
    labels = [ids[label] for label in stream.tasks[-1].classes if label not in known]
    raise InputError(
        f"--task {stream.tasks[-1].name}: in domain-il the bundle has {about.n_outputs} outputs for good, but "
        f"this task needs {outputs.n_outputs}: labels {few(labels)} are unknown to it ({outputs.meaning}). Give it a "
        "task of the labels that it knows, or train in class-il or task-il."
    )
