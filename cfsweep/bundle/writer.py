"""Writes a trained model as a bundle: a folder that is whole or not there at all."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from cfsweep.bundle.card import card
from cfsweep.bundle.described import Origin, looked_at_again, manifest_of, origin_of
from cfsweep.bundle.manifest import NAME, STATE, Manifest, sha256
from cfsweep.bundle.onnx_file import ONNX, refuse_without_packages, save_onnx
from cfsweep.bundle.program import UNIT, Program
from cfsweep.bundle.table import PREPROCESSING, written
from cfsweep.config import StudyConfig
from cfsweep.errors import NO_FAULT_OF_OURS, InputError, not_written
from cfsweep.training.pack import Pack
from cfsweep.training.streams import Indices

HELD = "held/"  # how the names of what answers in place of the output layer begin
STEERING = "steering"  # of the state: the examples that stop rules look at, by what no ingredient is called
WEIGHTS, ANSWERS, PROGRAM, CARD = (
    "weights.safetensors",
    "answers.safetensors",
    "model.pt2",
    "MODEL_CARD.md",
)


def write(
    pack: Pack,
    config: StudyConfig,
    about: Mapping[str, Any],
    to: Path,
    with_examples: bool = True,
    onnx: bool = False,
    compared: Mapping[str, Sequence[str]] | None = None,
) -> Manifest:
    """Writes the model of a `pack` of one run, of the study `config` whose `study.yaml` is `about`, into the new folder
    `to`.

    `weights.safetensors`: its parameters and statistics by name. `answers.safetensors`: what else an answer takes (how
    examples are standardised, which outputs are active for which task, weights of a task's own, exemplars' features).
    `state.safetensors`: what its remedies and its optimizer keep for the next task, with the examples of rehearsals and
    of stop rules that look at old tasks unless `with_examples` is false. `model.pt2`: the program of all that,
    with `onnx` as `model.onnx`, too. `preprocessing.json`: what makes an example of a table's row, where the data are
    one. `model.json`, `MODEL_CARD.md`: what it is; the card has the scores of what it is `compared` with (`card`), too.

    Raises:
        InputError: `to` exists, or the program cannot be had as ONNX.
    """
    return write_of(pack, origin_of(pack, config, about), to, with_examples, onnx=onnx, compared=compared)


def write_of(
    pack: Pack,
    origin: Origin,
    to: Path,
    with_examples: bool = True,
    with_state: bool = True,
    beside: Mapping[str, bytes] | None = None,
    onnx: bool = False,
    compared: Mapping[str, Sequence[str]] | None = None,
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
        table = pack.stream.preprocessing
        if table is not None:
            (scratch / PREPROCESSING).write_bytes(written(table))
        (scratch / CARD).write_text(card(manifest, table, compared))
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
    if program.unit is not None:
        found |= dict(zip(UNIT, program.unit, strict=True))
    if len(set(program.which.tolist())) > 1:
        for number, name in enumerate(program.names):
            found[f"weights/{name}"] = getattr(program, f"weight{number}")
    if program.answerer is not None:
        found |= {f"{HELD}{name}": value for name, value in program.answerer.tensors.items()}
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


def _examples(pack: Pack, name: str, indices: Indices) -> dict[str, Tensor]:
    places = torch.from_numpy(indices)
    stream, task_of = pack.stream, pack.context.outputs.task_of.cpu()
    parts = {"x": stream.x[places], "y": stream.y[places], "task": task_of[places], "place": places}
    return {f"{name}/{part}": value for part, value in parts.items()}


def whole(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """As safetensors takes them: on the CPU, contiguous, none a view of another."""
    return {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
