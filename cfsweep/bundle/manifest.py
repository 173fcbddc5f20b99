"""`model.json` of a bundle: all that is known of a model but its numbers, and the hash of every file beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from cfsweep.config import PARTS, Frozen, NetworkConfig, Scenario, StreamConfig
from cfsweep.errors import InputError, first_line
from cfsweep.hypers import Value
from cfsweep.reading import read_text
from cfsweep.texts import held_against, note_on_tasks
from cfsweep.training.streams import EncoderInfo

FORMAT = 1
NAME = "model.json"
STATE = "state.safetensors"  # the one file that a bundle may lack: without it the model answers, but goes on cold
MOST_CLASSES = 2**20  # of a stream; what is sized by their number fits in memory
ADOPTED = "adopted"  # the purpose of a model that was trained elsewhere
Matrix = tuple[tuple[float | None, ...], ...]


class TaskInfo(Frozen):
    """A task that the model has learned: its classes as they are numbered in the stream, and for each output of the
    network the user's label, a whole number or a word, or None where the output is not active for an example of this
    task. `test_sha256` is `Stream.test_sha256`."""

    name: str
    classes: tuple[int, ...]
    labels: tuple[int | str | None, ...]
    test_sha256: str


class Cut(Frozen):
    """How the training data of each task were cut, so that the next task's are cut alike: the shares and the seed of
    the stream and how they were chosen (`StreamConfig`), and the number of the split. `refit`: the validation examples
    are trained on, too."""

    validation_frac: float
    steering_frac: float | None
    split_seed: int
    split: int
    refit: bool
    validation: Literal["random", "latest"] = "random"


class Manifest(Frozen):
    """What a bundle says of its model.

    `needs_task`: which task an example is of must be told, as its outputs or the weights depend on it. `scores` holds
    by part (`validation`, `test`) the score matrix R[t, i], the untrained network first, (T + 1, T); None where nobody
    measured it, as the examples were not at hand. `constant` is what the constant answer scores at the end, by part and
    task: it goes by the training labels that are at hand. `has_examples`: the examples that a remedy kept are in the
    bundle. `class_weights` is how much each class counted in the loss, empty where all did alike. `class_ids` are the
    user's labels of the classes, empty where they are the classes' numbers; `features` the names of the columns
    of flat data. `stream_config` loads the stream again, from data sets that may lie anywhere, without the tasks that
    were continued with. `continues` is the SHA-256 of the `model.json` that the last task was begun with,
    None where all were trained as one stream. `files` maps each other file to its SHA-256. `encoder` is what makes of
    the user's examples those that the model sees, which alone `input_shape` is about; None where nothing does.
    """

    format: int = FORMAT
    made_with: dict[str, str]
    created_at: str
    study_id: str
    git_revision: str | None
    trial: int
    seed: int
    purpose: str
    stream: str
    stream_config: StreamConfig
    scenario: Scenario
    target: str
    score: str
    network: NetworkConfig
    ingredients: tuple[str, ...]
    settings: dict[str, Value]
    joint: bool
    n_outputs: int
    input_shape: tuple[int, ...]
    input_dtype: str
    features: tuple[str, ...]
    standardised: str
    needs_task: bool
    tasks: tuple[TaskInfo, ...]
    class_weights: tuple[float, ...] = ()
    class_ids: tuple[int | str, ...]
    cut: Cut
    data_sha256: dict[str, str]
    scores: dict[str, Matrix]
    constant: dict[str, tuple[float | None, ...]] = {}
    has_examples: bool
    continues: str | None
    files: dict[str, str]
    encoder: EncoderInfo | None = None

    @property
    def task_names(self) -> tuple[str, ...]:
        """What the tasks are called, with their numbers where two are called alike."""
        names = tuple(task.name for task in self.tasks)
        if len(set(names)) == len(names):
            return names
        return tuple(f"{number}: {name}" for number, name in enumerate(names))

    @property
    def image_shape(self) -> tuple[int, ...] | None:
        """(channels, height, width) of the images of 8 bits a value that the model, or its encoder, is asked about;
        None where it is asked about something else."""
        asked = self if self.encoder is None else self.encoder
        shape = asked.input_shape
        is_image = asked.input_dtype == "uint8" and shape is not None and len(shape) == 3 and shape[0] in (1, 3)
        return shape if is_image else None

    @property
    def behind_constant(self) -> dict[str, str]:
        """By part, a line that names the tasks on which the model is no better at the end than the constant answer;
        without the parts in which it is better on each."""
        found = {
            part: note_on_tasks(self.scores[part][-1], held_against(constant, self.scenario), self.task_names)
            for part, constant in self.constant.items()
            if self.scores[part]
        }
        return {part: note for part, note in found.items() if note is not None}

    @property
    def average(self) -> dict[str, float]:
        """By part, the mean score over all tasks at the end; without the parts in which that of a task is missing."""
        last = {part: [x for x in rows[-1] if x is not None] for part, rows in self.scores.items() if rows}
        return {part: sum(known) / len(known) for part, known in last.items() if len(known) == len(self.tasks)}


def read_manifest(folder: Path) -> Manifest:
    """That of the bundle in `folder`, after every file was held against its hash; `STATE` may be missing.

    Raises:
        InputError: there is no bundle, a later version wrote it, or a file is missing or was changed.
    """
    path = folder / NAME
    if not path.is_file():
        raise InputError(f"{folder}: no {NAME} there, so it is no bundle. Give the folder that `cfsweep export` wrote.")
    text = read_text(path)
    version = _format_of(text)
    if version is not None and version > FORMAT:  # also where every key is known: it may mean something else
        raise InputError(f"{path}: format {version} is newer than {FORMAT}, which this cfsweep reads. Upgrade it.")
    try:
        found = Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "its content"
        raise InputError(f"{path}: `{where}` is wrong ({first['msg']}). Export the model again.") from error
    if (wrong := _contradiction(found)) is not None:
        raise InputError(f"{path}: {wrong}. Export the model again.")
    for name, digest in found.files.items():
        if name == STATE and not (folder / name).exists():
            continue
        if not (folder / name).is_file():
            raise InputError(f"{folder}: {name} is missing from the bundle. Copy it again, or export the model again.")
        if sha256(folder / name) != digest:
            raise InputError(f"{folder / name}: it was changed since the bundle was written. Export the model again.")
    return found


def _contradiction(about: Manifest) -> str | None:
    """In what a manifest contradicts itself, None where it does not."""
    n_tasks = len(about.tasks)
    if not n_tasks or about.n_outputs < 1 or not about.input_shape or min(about.input_shape) < 1:
        return "a model has tasks, outputs and an input, but it has none"
    for task in about.tasks:
        if len(task.labels) != about.n_outputs:
            return f"task `{task.name}` has {len(task.labels)} labels for {about.n_outputs} outputs"
        if (wrong := _fault_of_classes(about, task)) is not None:
            return wrong
    for part, rows in about.scores.items():
        if rows and (len(rows) != n_tasks + 1 or any(len(row) != n_tasks for row in rows)):
            return f"`scores.{part}` is no matrix of {n_tasks + 1} x {n_tasks}"
    for part, scores in about.constant.items():
        if len(scores) != n_tasks or part not in about.scores:
            return f"`constant.{part}` does not fit the {n_tasks} tasks and their scores"
    for name in (*about.scores, *about.constant):
        if name not in PARTS:
            return f"`{name}` is no part of the data"
    for file in about.files:
        if Path(file).name != file:
            return f"`files` names {file}, which is not in the bundle"
    return None


def _fault_of_classes(about: Manifest, task: TaskInfo) -> str | None:
    """What is wrong with the numbers of a task's classes."""
    n = len(about.class_ids) or MOST_CLASSES
    if about.target == "classification" and about.scenario != "domain-il":  # an output each
        n = min(n, about.n_outputs)
    if beyond := [label for label in task.classes if not 0 <= label < n]:
        return f"task `{task.name}` has class {beyond[0]}, where classes are numbered from 0 to {n - 1}"
    if len(set(task.classes)) < len(task.classes):
        return f"task `{task.name}` has a class twice"
    return None


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors in a file of a bundle.

    Raises:
        InputError: it is damaged.
    """
    try:
        return load_file(path)
    except (SafetensorError, ValueError, OSError, KeyError, RuntimeError) as error:
        raise InputError(f"{path}: it holds no tensors ({first_line(error)}). Export the model again.") from error


def _format_of(text: str) -> int | None:
    try:
        content: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    version = content.get("format") if isinstance(content, Mapping) else None
    return version if isinstance(version, int) else None


def sha256(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
