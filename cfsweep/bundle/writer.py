"""Writes a trained model as a bundle: a folder that is whole or not there at all."""

from __future__ import annotations

import errno
import math
import os
import shutil
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from cfsweep.bundle.card import card
from cfsweep.bundle.manifest import NAME, STATE, Cut, Manifest, TaskInfo, sha256
from cfsweep.bundle.onnx_file import ONNX, refuse_without_packages, save_onnx
from cfsweep.bundle.program import Program
from cfsweep.config import StreamConfig, StudyConfig
from cfsweep.errors import NO_FAULT_OF_OURS, InputError, not_written
from cfsweep.training.pack import Pack
from cfsweep.training.streams import Indices, Task
from cfsweep.version import VERSION

STEERING = "steering"  # of the state: the examples that stop rules look at, by what no ingredient is called
WEIGHTS, ANSWERS, PROGRAM, CARD = (
    "weights.safetensors",
    "answers.safetensors",
    "model.pt2",
    "MODEL_CARD.md",
)
PACKAGES = ("torch", "numpy")


def write(
    pack: Pack,
    config: StudyConfig,
    about: Mapping[str, Any],
    to: Path,
    with_examples: bool = True,
    onnx: bool = False,
) -> Manifest:
    """Writes the model of a `pack` of one run, of the study `config` whose `study.yaml` is `about`, into the new folder
    `to`.

    `weights.safetensors`: its parameters and statistics by name. `answers.safetensors`: what else an answer takes (how
    examples are standardised, which outputs are active for which task, weights of a task's own, exemplars' features).
    `state.safetensors`: what its remedies and its optimizer keep for the next task, with the examples of rehearsals and
    of stop rules that look at old tasks unless `with_examples` is false. `model.pt2`: the program of all that,
    with `onnx` as `model.onnx`, too. `model.json`, `MODEL_CARD.md`: what it is.

    Raises:
        InputError: `to` exists, or the program cannot be had as ONNX.
    """
    return write_of(pack, origin_of(pack, config, about), to, with_examples, onnx=onnx)


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
    cut = Cut(**known, split=pack.spec.split, refit=config.purpose == "refit")
    anywhere = config.stream.model_copy(update={"data": None, "download": False})
    return Origin(str(about["study_id"]), about.get("git_revision"), config.purpose, anywhere, cut)


def write_of(
    pack: Pack,
    origin: Origin,
    to: Path,
    with_examples: bool = True,
    with_state: bool = True,
    beside: Mapping[str, bytes] | None = None,
    onnx: bool = False,
) -> Manifest:
    """As `write`, for a run of any `origin`; without `with_state` it can go on from its weights alone. `beside` are
    further files, by name."""
    refuse_early(to, onnx)
    scratch = _beside(to)
    try:
        program = Program(pack)
        # By way of bytes: on a full disk safetensors raises an error of its own, and torch ends the process.
        (scratch / WEIGHTS).write_bytes(save(whole(weights_of(pack))))
        (scratch / ANSWERS).write_bytes(save(whole(answers_of(program))))
        if with_state:
            (scratch / STATE).write_bytes(save(whole(_state(pack, with_examples))))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's own making
            program.save(scratch / PROGRAM, pack)
        if onnx:
            save_onnx(program, pack, scratch / ONNX)
        manifest = manifest_of(pack, origin, program.needs_task, with_examples)
        (scratch / CARD).write_text(card(manifest))
        for name, content in (beside or {}).items():
            (scratch / name).write_bytes(content)
        files = {path.name: sha256(path) for path in sorted(scratch.iterdir())}
        manifest = manifest.model_copy(update={"files": files})
        (scratch / NAME).write_text(manifest.model_dump_json(indent=2) + "\n")
        for path in scratch.iterdir():
            path.chmod(0o644)
        scratch.chmod(0o755)
        _move(scratch, to)
    except BaseException as error:
        shutil.rmtree(scratch, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in NO_FAULT_OF_OURS:
            raise _not_written(to, error) from error
        raise
    return manifest


def refuse_early(to: Path, onnx: bool, bundle: Path | None = None) -> None:
    """What can be known before anything is trained, of a `bundle` that goes on, too.

    Raises:
        InputError: there is something at `to`, it lies in the bundle, or the packages for `onnx` are not installed.
    """
    refuse_existing(to)
    if bundle is not None and bundle.resolve() in to.resolve().parents:
        raise InputError(f"--to {to}: it lies in the bundle {bundle}, which stays as it is. Choose another folder.")
    if onnx:
        refuse_without_packages()


def refuse_existing(to: Path) -> None:
    """
    Raises:
        InputError: there is something at `to`, also a link to nothing, or no folder can be made there.
    """
    if to.exists() or to.is_symlink():
        raise _exists(to)
    above = next(folder for folder in to.absolute().parents if folder.exists())
    if not above.is_dir():
        raise InputError(f"--to {to}: {above} is no folder. Choose another place.")
    if not os.access(above, os.W_OK | os.X_OK):
        raise InputError(f"--to {to}: nothing can be written in {above}. Choose another place, or change its rights.")


def _exists(to: Path) -> InputError:
    return InputError(f"--to {to}: it exists. Choose another folder, or remove it.")


def _not_written(to: Path, error: OSError) -> InputError:
    error.filename = str(to)  # what the user knows; a full disk is told without any
    return not_written(error)


def _beside(to: Path) -> Path:
    """A new folder beside `to`.

    Raises:
        InputError: there can be none.
    """
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(dir=to.parent, prefix=f".{to.name}."))
    except OSError as error:
        raise _not_written(to, error) from error


def _move(scratch: Path, to: Path) -> None:
    """
    Raises:
        InputError: another process has written `to` meanwhile.
    """
    try:
        scratch.rename(to)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise
        raise _exists(to) from error


def weights_of(pack: Pack) -> dict[str, Tensor]:
    """The parameters of the only run by name, those that are held still too, and the statistics."""
    module = pack.context.lifted.module
    own = pack.context.layout.unflatten(pack.stack.theta[0])
    still = {name: p.detach() for name, p in module.named_parameters() if name not in own}
    return {**own, **still, **dict(module.named_buffers())}


def answers_of(program: Program) -> dict[str, Tensor]:
    """What an answer takes beside the weights, by name."""
    found = {name: getattr(program, name) for name in ("shift", "scale", "masks", "which")}
    if len(set(program.which.tolist())) > 1:
        for number, name in enumerate(program.names):
            found[f"weights/{name}"] = getattr(program, f"weight{number}")
    if program.answerer is not None:
        found |= {"held/features": program.answerer.held.features, "held/labels": program.answerer.held.labels}
    return found


def _state(pack: Pack, with_examples: bool) -> dict[str, Tensor]:
    """What the next task needs beside the weights, by `ingredient/entry`. Of examples x, y (as in the stream), their
    task, and their place in the store, by whose order some remedies go."""
    stack = pack.stack
    found = {f"optimizer/{name}": value[0] for name, value in stack.optimizer.items()}
    found["optimizer_steps"] = torch.tensor(stack.optimizer_steps)
    for name, state in stack.states.items():
        found |= {f"{name}/state/{entry}": value[0] for entry, value in state.items()}
    for name, buffers in stack.buffers.items():
        buffer = buffers[0]
        if not buffer.offered and not len(buffer.indices):
            continue
        found[f"{name}/buffer/offered"] = torch.tensor(buffer.offered)
        found[f"{name}/buffer/n"] = torch.tensor(len(buffer.indices))
        if buffer.logits is not None:
            found[f"{name}/buffer/logits"] = torch.from_numpy(buffer.logits)
        if buffer.offered_by_class is not None:
            found[f"{name}/buffer/offered_by_class"] = torch.from_numpy(buffer.offered_by_class)
        if with_examples:
            found |= _examples(pack, f"{name}/buffer", buffer.indices)
    if with_examples and len(steering := looked_at_again(pack)):
        found |= _examples(pack, STEERING, steering)
    return found


def looked_at_again(pack: Pack) -> Indices:
    """The examples (n,) of all tasks that a stop rule of the run will look at in the next one, too."""
    values = pack.spec.runs[0].values
    if not any(rule.looks_at_old and not rule.is_off(values) for rule in pack.context.timeline.stop_rules):
        return np.empty(0, np.int64)
    return np.concatenate([task.steering for task in pack.stream.tasks])


def _examples(pack: Pack, name: str, indices: Indices) -> dict[str, Tensor]:
    places = torch.from_numpy(indices)
    stream, task_of = pack.stream, pack.context.outputs.task_of.cpu()
    parts = {"x": stream.x[places], "y": stream.y[places], "task": task_of[places], "place": places}
    return {f"{name}/{part}": value for part, value in parts.items()}


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
        score=pack.context.target.score.name,
        network=pack.spec.network,
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
        data_sha256=dict(stream.files),
        scores={part: tuple(map(_known, getattr(record, part))) for part in pack.spec.parts},
        has_examples=with_examples
        and any(map(len, (looked_at_again(pack), *(of[0].indices for of in pack.stack.buffers.values())))),
        files={},
    )


def _known(scores: Sequence[float]) -> tuple[float | None, ...]:
    return tuple(None if math.isnan(score) else score for score in scores)


def labels_of(pack: Pack) -> list[tuple[int | None, ...]]:
    """For each task and output the user's label of the class that the output stands for, None where it is not active
    for the task after the last one, or stands for none."""
    outputs, stream = pack.context.outputs.to(torch.device("cpu")), pack.stream
    nothing: list[tuple[int | None, ...]] = [(None,) * outputs.n_outputs for _ in stream.tasks]
    if not pack.context.target.has_classes:
        return nothing
    by_task = _classes_of_outputs(pack)
    everywhere: dict[int, set[int]] = {}
    for own in by_task:
        for output, label in own.items():
            everywhere.setdefault(output, set()).add(label)
    found: list[tuple[int | None, ...]] = []
    for own, mask in zip(by_task, outputs.masks[len(stream.tasks) - 1].tolist(), strict=True):
        labels: list[int | None] = []
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


def whole(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """As safetensors takes them: on the CPU, contiguous, none a view of another."""
    return {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
