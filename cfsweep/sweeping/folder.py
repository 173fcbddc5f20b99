"""The results folder of a study: made once, frozen, opened by one driver at a time."""

from __future__ import annotations

import fcntl
import hashlib
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from cfsweep import identity
from cfsweep.config import Choices, StudyConfig
from cfsweep.errors import InputError, not_written
from cfsweep.files import git_revision, write_atomically
from cfsweep.hypers import Hyper, Value
from cfsweep.results.reader import read_study
from cfsweep.results.status import LOCK, has_majority, trained_references
from cfsweep.sweeping.added import added_since
from cfsweep.sweeping.outside import code_of, described_tasks
from cfsweep.sweeping.parsing import parse
from cfsweep.sweeping.references import reference_settings
from cfsweep.training import networks, own_code
from cfsweep.training.constant_answer import majority_shares
from cfsweep.training.ingredients import Conventions, ingredient_class
from cfsweep.training.plugins import current_folder_importable, imported, path_of
from cfsweep.training.streams import Stream, Task
from cfsweep.training.targets import scores_of, target_of
from cfsweep.version import VERSION
from cfsweep.yaml_text import written

LOCK_TRIES = 10
_PACKAGES = ("torch", "torchvision", "pillow", "ray", "optuna", "numpy", "pyarrow", "pandas", "scikit-learn")


class Folder:
    """Where everything of one study lies."""

    def __init__(self, root: Path) -> None:
        self.root = root
        before = root / "journal.log"  # as it was called once; but rsync and git leave such names out by habit
        self.journal = before if before.exists() else root / "journal.jsonl"
        self.checkpoints = root / "checkpoints"
        self.study_file = root / "study.yaml"

    def exists(self) -> bool:
        return self.study_file.exists()

    def refuse_other_content(self) -> None:
        """Makes sure that a study can begin here.

        Raises:
            InputError: the folder holds files of something else.
        """
        if self.root.exists() and (not self.root.is_dir() or any(p.name != LOCK for p in self.root.iterdir())):
            raise InputError(f"--out {self.root}: it exists and is no study of cfsweep. Choose another folder.")

    def create(self, config: StudyConfig, hypers: Mapping[str, Hyper], stream: Stream) -> None:
        """Writes `study.yaml`."""
        self.write(describe(config, hypers, stream))

    def write(self, study: Mapping[str, Any]) -> None:
        content = written(dict(study))
        write_atomically(self.study_file, lambda file: file.write(content))

    def read(self) -> tuple[StudyConfig, dict[str, Any]]:
        """The frozen study: its config, and all of `study.yaml`.

        Raises:
            InputError: there is none, or it was changed by hand.
        """
        study = read_study(self.root)
        content = study.get("config", {})
        if isinstance(content, Mapping):
            content = {"identity_version": 0, **content}  # the first version did not write it
            content = identity.with_earlier_defaults(StudyConfig, content)
        config = parse(StudyConfig, content, str(self.study_file))
        if config.study_id != study["study_id"]:
            raise InputError(
                f"{self.study_file}: its config hashes to {config.study_id}, but it says study_id="
                f"{study['study_id']}. It was edited or is of another version; start a new study."
            )
        return config, study

    def require_journal(self) -> None:
        """Makes sure that what has been asked so far is known: without it a sweep would train all of it again.

        Raises:
            InputError: there are runs, but no journal.
        """
        if not self.journal.exists() and any((self.root / "runs").glob("*.parquet")):
            raise InputError(
                f"{self.root}: there are runs, but {self.journal.name} is missing (before: journal.log, which rsync "
                "and git leave out by habit). Bring it back, or start a new study."
            )

    def reference_settings(self) -> list[dict[str, Value]]:
        """What the references are trained with of the base hyperparameters that are searched; the default alone in a
        study that does not say so."""
        return self.read()[1].get("references") or [{}]

    def references(self, config: StudyConfig) -> list[int]:
        """The numbers of the references that are trained for the budget of `config`, which may be more than the folder
        says yet."""
        return trained_references({**self.read()[1], "config": config.model_dump(include={"references", "trials"})})

    def has_majority(self) -> bool:
        """Whether the study has the reference `majority`."""
        return has_majority(self.read()[1])

    def set_budget(self, trials: int, time_budget_s: float | None, seeds: int | None = None) -> StudyConfig:
        """Changes the budget, which is no part of the study's identity; there may be more seeds than it began with."""
        config, study = self.read()
        changed = config.grown(trials, seeds or config.seeds).model_copy(update={"time_budget_s": time_budget_s})
        self.write({**study, "config": changed.model_dump(mode="json")})
        return changed

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the folder for this driver.

        Raises:
            InputError: another driver holds it, or the folder cannot be written to.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            lock = (self.root / LOCK).open("w")
        except OSError as error:
            raise not_written(error) from error
        with lock as file:
            for left in reversed(range(LOCK_TRIES)):  # `cfsweep status` holds it for a moment
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if not left:
                        raise InputError(
                            f"{self.root}: another cfsweep is writing to this study. Wait for it, or stop it."
                        ) from error
                    time.sleep(0.05)
            yield


def describe(config: StudyConfig, hypers: Mapping[str, Hyper], stream: Stream) -> dict[str, Any]:
    """The content of `study.yaml`."""
    outside = config.space.trainer is not None
    return {
        "study_id": config.study_id,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "config": config.model_dump(mode="json"),
        "hypers": {name: _describe_hyper(hyper, config) for name, hyper in hypers.items()},
        "references": reference_settings(config.space) if config.references else [],
        "scores": [{"name": score.name, "bounds": list(score.bounds)} for score in scores_of(stream)],
        **({"tasks": described_tasks(stream)} if outside else _of_examples(config, hypers, stream)),
        "data_sha256": dict(stream.files),
        "code_sha256": _own_code(config, stream),
        "versions": {
            "cfsweep": VERSION,
            **{name: metadata.version(name) for name in _PACKAGES},
        },
        "git_revision": git_revision(Path(__file__).parent),
    }


def _of_examples(config: StudyConfig, hypers: Mapping[str, Hyper], stream: Stream) -> dict[str, Any]:
    """What follows from the examples, and from what is done with them."""
    return {
        "majority": majority_shares(stream) if target_of(stream.target).has_classes else [],
        "conventions": _conventions(config, hypers),
        "outputs": _outputs(config, stream),
        "tasks": [{"name": task.name, "classes": list(task.classes), **_counts(task)} for task in stream.tasks],
        **({"table": stream.preprocessing.described()} if stream.preprocessing else {}),
    }


def _counts(task: Task) -> dict[str, int]:
    """How many examples each part of a task has, in all splits; no word of steering examples where there are none."""
    return {f"n_{part}": len(indices) for part, indices in task.parts.items() if part != "steering" or len(indices)}


def _in_words(counts: Mapping[str, int]) -> str:
    """
    >>> _in_words({"n_train": 9, "n_test": 2})
    '9 train, 2 test'
    """
    return ", ".join(f"{n} {part.removeprefix('n_')}" for part, n in counts.items())


def _outputs(config: StudyConfig, stream: Stream) -> dict[str, Any]:
    """How many outputs the network has, what one means, which label each example has in terms of them (a hash), and the
    user's labels of the classes where they are others."""
    found = target_of(stream.target).outputs(stream, config.stream.scenario)
    own = {"class_ids": list(stream.class_ids)} if stream.class_ids else {}
    labels = hashlib.sha256(found.labels.numpy().tobytes()).hexdigest()
    return {"number": found.n_outputs, "meaning": found.meaning, "labels_sha256": labels, **own}


def _own_code(config: StudyConfig, stream: Stream) -> dict[str, str]:
    """The SHA-256 of each file that the network, the ingredients, the target, the scores and transforms of one's own
    are made of, cfsweep's own aside, and of the encoder with its weights; or the trainer from outside."""
    if config.space.trainer is not None:
        return code_of(config.space.trainer)
    kinds = [*map(ingredient_class, config.space.ingredients), type(target_of(stream.target))]
    named = [networks.own_path(config.space.network.name), *(path_of("scores", name) for name in stream.scores)]
    paths = [path for path in (*named, *stream.augment) if path is not None and ":" in path]
    with current_folder_importable():
        for path in paths:
            imported(path, f"study {config.study_id}")  # which files it is made of is known of what is loaded
    modules = [*(module for kind in kinds for module in own_code.modules_of(kind)), *own_code.modules_named(paths)]
    encoder = {f"encoder {stream.encoder.name}": stream.encoder.sha256} if stream.encoder else {}
    own = {file: digest for file, digest in own_code.digests(modules).items() if digest is not None}
    return {**own, **encoder}


def _conventions(config: StudyConfig, hypers: Mapping[str, Hyper]) -> dict[str, dict[str, str | list[str]]]:
    """By ingredient, what its strength means: one text, or a list where a searched setting decides."""
    found: dict[str, dict[str, str | list[str]]] = {}
    static = {name: _values(hyper, config) for name, hyper in hypers.items() if hyper.static}
    first = {name: values[0] for name, values in static.items()}
    for kind in map(ingredient_class, config.space.ingredients):
        # All that its own settings can be together, and each of the others by itself: all of all may be millions.
        own = {hyper.name: static[hyper.name] for hyper in kind.hypers if hyper.static}
        changes = [dict(zip(own, chosen, strict=True)) for chosen in product(*own.values())]
        changes += [{name: value} for name in static if name not in own for value in static[name][1:]]
        said = [kind.conventions({**first, **change}) for change in changes]
        texts = {
            key: list(dict.fromkeys(filter(None, of)))
            for key, of in zip(Conventions._fields, zip(*said, strict=True), strict=True)
        }
        found[kind.name] = {key: of[0] if len(of) == 1 else of for key, of in texts.items() if of}
    return {name: of for name, of in found.items() if of}


def _values(hyper: Hyper, config: StudyConfig) -> list[Value]:
    """The values that a static hyperparameter can have in the trials of a study; its default where it has a range."""
    searched = config.space.search.get(hyper.name)
    if searched is None:
        return [config.space.fixed.get(hyper.name, hyper.default)]
    return list(searched.choices) if isinstance(searched, Choices) else [hyper.default]


def _describe_hyper(hyper: Hyper, config: StudyConfig) -> dict[str, Any]:
    searched = config.space.search.get(hyper.name)
    described: dict[str, Any] = {"kind": hyper.kind, "default": hyper.default, "searched": searched is not None}
    if searched is None:
        return {**described, "value": config.space.fixed.get(hyper.name, hyper.default)}
    if isinstance(searched, Choices):
        return {**described, "choices": list(searched.choices)}
    return {**described, **searched.model_dump(mode="json", exclude={"whole"})}  # which the kind says


def check_ground(config: StudyConfig, stream: Stream, study: Mapping[str, Any], where: Path) -> None:
    """Holds what is there now against what `study.yaml` says that the study began with: data and what they are for,
    code of one's own, and what the outputs mean.

    Raises:
        InputError: a file is not the one that it was, a task has come to the data, or cfsweep cut the data or numbered
            the outputs otherwise then.
    """
    code = _own_code(config, stream)
    if news := added_since(config, stream, study):
        raise InputError(f"{where}: {news} To go on with the study, take it away until then.")
    for before, here in ((study.get("data_sha256", {}), stream.files), (study.get("code_sha256", code), code)):
        for name in sorted(before.keys() | here.keys()):
            if before.get(name) != here.get(name):
                raise InputError(
                    f"{where}: the study began with {name} of SHA-256 {before.get(name, '(none)')[:12]}, but got "
                    f"{here.get(name, '(none)')[:12]}. Bring it back as it was, or start a new study."
                )
    if config.space.trainer is not None:
        return  # all else is the trainer's
    for task, told in zip(stream.tasks, study.get("tasks", ()), strict=False):
        counts, then = _counts(task), {key: n for key, n in told.items() if key.startswith("n_")}
        if then and counts != then:
            raise InputError(
                f"{where}: the study began with {_in_words(then)} examples of task `{task.name}`, but this version of "
                f"cfsweep makes that {_in_words(counts)}. Start a new study."
            )
    now = _outputs(config, stream)
    before = study.get("outputs")
    told = {key: value for key, value in (before or {}).items() if key != "meaning"}
    if any(now.get(key) != value for key, value in told.items()) if before else not _as_before(config, stream, study):
        raise InputError(
            f"{where}: the study began with other outputs than this version of cfsweep would give it now "
            f"({now['number']}: {now['meaning']}). Start a new study."
        )


def _as_before(config: StudyConfig, stream: Stream, study: Mapping[str, Any]) -> bool:
    """Whether a study that says nothing of its outputs, as older ones did, had those of today: an output was a label,
    and in domain-il a class's place within its task."""
    if [list(task.classes) for task in stream.tasks] != [task["classes"] for task in study["tasks"]]:
        return False
    labels, y = target_of(stream.target).outputs(stream, config.stream.scenario).labels.numpy(), stream.y.numpy()
    return config.stream.scenario != "domain-il" or all(
        np.array_equal(labels[task.train], np.searchsorted(task.classes, y[task.train])) for task in stream.tasks
    )
