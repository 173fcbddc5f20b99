"""What is known of a trained pack of one run, as `model.json` says it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib import metadata
from typing import Any, NamedTuple

import numpy as np
import torch

from cfsweep.bundle.manifest import Cut, Manifest, TaskInfo
from cfsweep.config import StreamConfig, StudyConfig
from cfsweep.training.constant_answer import constant_answer
from cfsweep.training.pack import Pack
from cfsweep.training.streams import ClassId, Indices, Task
from cfsweep.training.targets import class_weights
from cfsweep.version import VERSION

PACKAGES = ("torch", "numpy")


class Origin(NamedTuple):
    """What a pack does not know of where its run comes from, as in `Manifest`; `test_sha256` of the tasks that were
    learned before, whose examples are not at hand."""

    study_id: str
    git_revision: str | None
    purpose: str
    stream_config: StreamConfig
    cut: Cut
    continues: str | None = None
    test_sha256: tuple[str, ...] = ()


def origin_of(pack: Pack, config: StudyConfig, about: Mapping[str, Any]) -> Origin:
    """That of a run of the study `config`, whose `study.yaml` is `about`."""
    known = {name: getattr(config.stream, name) for name in ("validation_frac", "steering_frac", "split_seed")}
    is_refit, how = config.purpose == "refit", pack.stream.validation
    cut = Cut(**known, split=pack.spec.split, refit=is_refit, validation=how)
    anywhere = config.stream.model_copy(update={"data": None, "download": False, "own_data": None})
    return Origin(str(about["study_id"]), about.get("git_revision"), config.purpose, anywhere, cut)


def manifest_of(
    pack: Pack,
    origin: Origin,
    needs_task: bool,
    with_examples: bool,
) -> Manifest:
    """All but the hashes of the other files, which it is written into one of."""
    (run,), (record,), stream = pack.spec.runs, pack.records, pack.stream
    own = range(len(origin.test_sha256), len(stream.tasks))
    hashes = (*origin.test_sha256, *map(stream.test_sha256, own))
    return Manifest(
        made_with={"cfsweep": VERSION, **{name: metadata.version(name) for name in PACKAGES}},
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        trial=run.trial,
        seed=run.seed,
        study_id=origin.study_id,
        git_revision=origin.git_revision,
        purpose=origin.purpose,
        continues=origin.continues,
        stream=stream.name,
        stream_config=origin.stream_config,
        cut=origin.cut,
        scenario=pack.spec.scenario,
        target=stream.target,
        score=pack.context.scores[0].name,
        network=pack.spec.network.model_copy(update={"init": None}),  # the weights are here
        ingredients=pack.spec.ingredients,
        settings=dict(run.values),
        joint=pack.spec.joint,
        n_outputs=pack.context.outputs.n_outputs,
        input_shape=stream.input_shape,
        input_dtype=str(stream.x.dtype).removeprefix("torch."),
        features=stream.features,
        standardised=stream.standardised,
        needs_task=needs_task,
        tasks=tuple(
            TaskInfo(name=task.name, classes=task.classes, labels=labels, test_sha256=digest)
            for task, labels, digest in zip(stream.tasks, labels_of(pack), hashes, strict=True)
        ),
        class_ids=stream.class_ids,
        class_weights=class_weights(stream),
        data_sha256=dict(stream.files),
        scores={part: tuple(map(_known, getattr(record, part))) for part in pack.spec.parts},
        constant=_constant(pack),
        has_examples=with_examples
        and any(map(len, (looked_at_again(pack), *(of[0].indices for of in pack.stack.buffers.values())))),
        files={},
        encoder=stream.encoder,
    )


def _constant(pack: Pack) -> dict[str, tuple[float | None, ...]]:
    """By part, what the constant answer comes to at the end on each task."""
    end = len(pack.stream.tasks) - 1
    found = constant_answer(pack.stream, pack.spec.scenario, pack.spec.parts, after=(end,)).steering
    return {part: _known(row) for part, (row,) in found.items()}


def _known(scores: Sequence[float]) -> tuple[float | None, ...]:
    return tuple(None if math.isnan(score) else score for score in scores)


def labels_of(pack: Pack) -> list[tuple[ClassId | None, ...]]:
    """For each task and output the user's label of the class that the output stands for, None where it is not active
    for the task after the last one, or stands for none."""
    outputs, stream = pack.context.outputs.to(torch.device("cpu")), pack.stream
    nothing: list[tuple[ClassId | None, ...]] = [(None,) * outputs.n_outputs for _ in stream.tasks]
    if not pack.context.target.has_classes:
        return nothing
    by_task = _classes_of_outputs(pack)
    everywhere: dict[int, set[int]] = {}
    for own in by_task:
        for output, label in own.items():
            everywhere.setdefault(output, set()).add(label)
    found: list[tuple[ClassId | None, ...]] = []
    for own, mask in zip(by_task, outputs.masks[len(stream.tasks) - 1].tolist(), strict=True):
        labels: list[ClassId | None] = []
        for output, active in enumerate(mask):
            known = {own[output]} if output in own else everywhere.get(output, set())
            named = [stream.class_ids[label] if stream.class_ids else label for label in known]
            labels.append(named[0] if active and len(named) == 1 else None)
        found.append(tuple(labels))
    return found


def _classes_of_outputs(pack: Pack) -> list[dict[int, int]]:
    """For each task the class that is meant by each of its outputs. The target is asked about one example of each: of a
    task that was learned elsewhere not every class has some in the store."""
    counts = [len(task.classes) for task in pack.stream.tasks]
    parts = np.split(np.arange(sum(counts)), np.cumsum(counts)[:-1])
    none = np.empty(0, np.int64)
    classes = [label for task in pack.stream.tasks for label in task.classes]
    one_of_each = replace(
        pack.stream,
        x=pack.stream.x[:1].expand(len(classes), *pack.stream.input_shape),
        y=torch.tensor(classes),
        tasks=tuple(
            Task(task.name, task.classes, part, none, none) for task, part in zip(pack.stream.tasks, parts, strict=True)
        ),
    )
    labels = pack.context.target.outputs(one_of_each, pack.spec.scenario).labels.numpy()
    return [
        dict(zip(labels[part].tolist(), task.classes, strict=True))
        for part, task in zip(parts, pack.stream.tasks, strict=True)
    ]


def looked_at_again(pack: Pack) -> Indices:
    """The examples (n,) of all tasks that a stop rule of the run will look at in the next one, too."""
    values = pack.spec.runs[0].values
    if not any(rule.looks_at_old and not rule.is_off(values) for rule in pack.context.timeline.stop_rules):
        return np.empty(0, np.int64)
    return np.concatenate([task.steering for task in pack.stream.tasks])
