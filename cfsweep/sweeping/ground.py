"""What a study stands on: data, code of one's own, defaults, versions of libraries. It goes on with what it began with,
or with changes that its user has accepted, which `study.yaml` notes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from cfsweep import identity
from cfsweep.config import StudyConfig
from cfsweep.errors import InputError, few
from cfsweep.results.changes import CHANGES
from cfsweep.results.reader import read_table
from cfsweep.sweeping.added import added_since
from cfsweep.sweeping.defaults import defaults_of
from cfsweep.sweeping.outside import code_of
from cfsweep.training import networks, own_code
from cfsweep.training.ingredients import ingredient_class
from cfsweep.training.plugins import current_folder_importable, imported, path_of
from cfsweep.training.streams import Stream, Task, function_of, is_image, place_of
from cfsweep.training.targets import target_of

FORMAT = 2  # of `study.yaml`: one that says so has all of `REQUIRED`; before, it said nothing of its format
REQUIRED = ("config", "hypers", "data_sha256", "other_files", "code_sha256", "defaults", "versions")
NUMBERS = ("torch", "torchvision", "numpy", "scipy", "scikit-learn", "pillow", "pandas")  # packages that act on numbers
_NAMED_FILES = 200  # unread ones beyond are told by one hash of their names
_AS_BEGUN = ("study_id", "created_at", "config", "references", "majority")  # also where the user has accepted changes
_RESULTS = ("study.yaml", "model.json")  # a folder with one of these is a results folder or a bundle


def ground_of(config: StudyConfig, stream: Stream) -> dict[str, Any]:
    """What `study.yaml` says of the ground of a study, but for its hyperparameters."""
    return {
        "data_sha256": dict(stream.files),
        "other_files": _other_files(config, stream),
        "code_sha256": _own_code(config, stream, with_stream=True),
        "defaults": defaults_of(config.space),
    }


def refuse_incomplete(study: Mapping[str, Any], where: Path) -> None:
    """
    Raises:
        InputError: a key of this format is missing, without which a change of the ground would pass unseen; or a later
            version wrote the file.
    """
    told = study.get("format", 1)
    if not isinstance(told, int) or told > FORMAT:
        raise InputError(
            f"{where}: its format, {told!r}, is newer than {FORMAT}, which this cfsweep reads. Upgrade it."
        )
    missing = [key for key in REQUIRED if key not in study] if told == FORMAT else []
    if missing:
        raise InputError(f"{where}: `{missing[0]}` is missing: the file was cut or edited. Restore it from a copy.")


def data_digest(stream: Stream) -> str:
    """The SHA-256 of the names and contents of the files that a stream was read from."""
    return identity.content_hash(stream.files)


def changes_of(
    config: StudyConfig, hypers: Mapping[str, Mapping[str, Any]] | None, stream: Stream, study: Mapping[str, Any]
) -> list[str]:
    """What of the ground is not as `study.yaml` says, such as `momentum 0.9 (here 0.5)`; `hypers` are described as
    there, None where nothing is to be trained: data and code matter then. Of what an older study does not say
    nothing is known."""
    is_old, here = study.get("format", 1) < FORMAT, ground_of(config, stream)
    data = _changed_files(study.get("data_sha256", {}), here["data_sha256"])
    code = _own_code(config, stream, with_stream=not is_old)
    data += _changed_files(study.get("code_sha256", code), code)
    if is_old:
        return data
    before, now = study["other_files"], here["other_files"]
    versions = (study["versions"], {name: metadata.version(name) for name in NUMBERS})
    data += [f"{name} in the folder of its data (here none)" for name in before if name not in now]
    data += [f"no {name} in the folder of its data (here one)" for name in now if name not in before]
    if hypers is None:
        return data
    return [
        *data,
        *(said for name, told in study["hypers"].items() for said in _changed_hyper(name, told, hypers.get(name))),
        *_differences(study["defaults"], {name: here["defaults"].get(name) for name in study["defaults"]}),
        *_differences(
            *({name: _release(of[name]) for name in NUMBERS if name in study["versions"]} for of in versions)
        ),
    ]


def accepted(study: Mapping[str, Any], changed: list[str], now: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """`study.yaml` as it goes on from what it would say `now`, with a note of what has changed, and from when on: how
    many runs had ended, and the first number of the trials that came after."""
    trials = read_table(root, "runs", ())
    numbers = trials["trial"].to_pylist() if "trial" in trials.column_names else []
    note = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "runs_before": len(numbers),
        "from_trial": max((number + 1 for number in numbers if number >= 0), default=0),
        "changed": changed,
    }
    grown = {key: value for key, value in now.items() if key not in _AS_BEGUN}
    return {**study, **grown, CHANGES: [*study.get(CHANGES, ()), note]}


def check_ground(
    config: StudyConfig,
    hypers: Mapping[str, Mapping[str, Any]] | None,
    stream: Stream,
    study: Mapping[str, Any],
    where: Path,
    accept: bool = False,
) -> list[str]:
    """Holds what is there now against what `study.yaml` says that the study began with: data and what they are for,
    code of one's own, defaults, versions, and what the outputs mean. The changes, which are empty unless `accept`.
    `hypers` as for `changes_of`.

    Raises:
        InputError: something of it has changed and is not accepted, a task has come to the data, or cfsweep cut the
            data or numbered the outputs otherwise then, which nobody can accept.
    """
    if news := added_since(config, stream, study):
        raise InputError(f"{where}: {news} To go on with the study, take it away until then.")
    changed = changes_of(config, hypers, stream, study)
    if changed and not accept:
        raise InputError(
            f"{where}: the study began with {few(changed)}. Bring it back as it was, start a new study, or go on all "
            "the same with --accept-changes, which the study notes."
        )
    if config.space.trainer is None:  # else all else is the trainer's
        _refuse_other_tasks(config, stream, study, where, is_accepted=bool(changed))
    return changed


def _refuse_other_tasks(
    config: StudyConfig, stream: Stream, study: Mapping[str, Any], where: Path, is_accepted: bool
) -> None:
    """
    Raises:
        InputError: tasks or outputs are others than they were; where other data are accepted these may differ in
            numbers of examples and in their labels.
    """
    told_tasks, remedy = study.get("tasks", ()), "Start a new study."
    if is_accepted and [task.name for task in stream.tasks] != [task.get("name") for task in told_tasks]:
        raise InputError(f"{where}: the data have other tasks than those that the study began with. {remedy}")
    for task, told in zip(stream.tasks, told_tasks, strict=False):
        counts, then = counts_of(task), {key: n for key, n in told.items() if key.startswith("n_")}
        if then and counts != then and not is_accepted:
            raise InputError(
                f"{where}: the study began with {_in_words(then)} examples of task `{task.name}`, but this version of "
                f"cfsweep makes that {_in_words(counts)}. {remedy}"
            )
    now, before = outputs_of(config, stream), study.get("outputs")
    no_matter = ("meaning", "labels_sha256") if is_accepted else ("meaning",)
    told = {key: value for key, value in (before or {}).items() if key not in no_matter}
    if any(now.get(key) != value for key, value in told.items()) if before else not _as_before(config, stream, study):
        raise InputError(
            f"{where}: the study began with other outputs than this version of cfsweep would give it now "
            f"({now['number']}: {now['meaning']}). {remedy}"
        )


def counts_of(task: Task) -> dict[str, int]:
    """How many examples each part of a task has, in all splits; no word of steering examples where there are none."""
    return {f"n_{part}": len(indices) for part, indices in task.parts.items() if part != "steering" or len(indices)}


def outputs_of(config: StudyConfig, stream: Stream) -> dict[str, Any]:
    """How many outputs the network has, what one means, which label each example has in terms of them (a hash), and the
    user's labels of the classes where they are others."""
    found = target_of(stream.target).outputs(stream, config.stream.scenario)
    own = {"class_ids": list(stream.class_ids)} if stream.class_ids else {}
    labels = hashlib.sha256(found.labels.numpy().tobytes()).hexdigest()
    return {"number": found.n_outputs, "meaning": found.meaning, "labels_sha256": labels, **own}


def _in_words(counts: Mapping[str, int]) -> str:
    """
    >>> _in_words({"n_train": 9, "n_test": 2})
    '9 train, 2 test'
    """
    return ", ".join(f"{n} {part.removeprefix('n_')}" for part, n in counts.items())


def _changed_files(before: Mapping[str, str], here: Mapping[str, str]) -> list[str]:
    """What has become of files by their hashes; one whose hash is there by another name was renamed.

    >>> _changed_files({"a": "1" * 64, "b": "2" * 64, "d": "4" * 64}, {"a": "3" * 64, "c": "2" * 64})
    ['a of SHA-256 111111111111 (here 333333333333)', 'b (here c)', 'd of SHA-256 444444444444 (here none)']
    """
    new = {name: digest for name, digest in here.items() if name not in before}
    found = []
    for name in sorted(before):
        digest = before[name]
        if here.get(name) == digest:
            continue
        now = next((other for other, of in new.items() if of == digest), None) if name not in here else None
        if now is not None:
            del new[now]
            found.append(f"{name} (here {now})")
        else:
            found.append(f"{name} of SHA-256 {digest[:12]} (here {here.get(name, 'none')[:12]})")
    return [*found, *(f"no {name} (here of SHA-256 {new[name][:12]})" for name in sorted(new))]


def _changed_hyper(name: str, told: Mapping[str, Any], here: Mapping[str, Any] | None) -> list[str]:
    """What is told of a hyperparameter and is otherwise now. Its default matters where it is what is trained with."""
    if here is None:
        return [f"the setting {name} (here none)"]
    keys = [key for key in told if key != "default" or "value" not in told]
    changed = {key: (told[key], here.get(key)) for key in keys if told[key] != here.get(key)}
    labels = {key: name if key == "value" else f"{name} of {key}" for key in changed}
    return [f"{labels[key]} {then} (here {now})" for key, (then, now) in changed.items()]


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """
    >>> _differences({"torch": "2.1", "numpy": "2.4"}, {"torch": "2.2", "numpy": "2.4"})
    ['torch 2.1 (here 2.2)']
    """
    return [f"{name} {before[name]} (here {now[name]})" for name in before if before[name] != now[name]]


def _release(version: str) -> str:
    """A version without what says for which device it was built.

    >>> _release("2.15.0+cu128")
    '2.15.0'
    """
    return version.partition("+")[0]


def _other_files(config: StudyConfig, stream: Stream) -> list[str]:
    """What lies in the folder of the user's data beside the files that were read, by path; of very many one hash of
    their names. Hidden files are no data, nor are results folders and bundles."""
    place = place_of(config.stream)
    if place is None or not place.is_dir():
        return []
    found = []
    for folder, inside, names in os.walk(place):
        here = Path(folder)
        inside[:] = sorted(name for name in inside if name[0] not in "._" and not _holds_results(here / name))
        found += [str((here / name).relative_to(place)) for name in sorted(names) if name[0] not in "._"]
    images = ("images of ", "pixels as read")  # whose names are in the hashes
    if any(name.startswith(images) for name in stream.files):
        found = [name for name in found if not is_image(Path(name))]
    left = [name for name in found if name not in stream.files]
    if len(left) <= _NAMED_FILES:
        return left
    return [f"{len(left)} files, whose names are of SHA-256 {hashlib.sha256(chr(0).join(left).encode()).hexdigest()}"]


def _holds_results(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _RESULTS)


def _own_code(config: StudyConfig, stream: Stream, with_stream: bool) -> dict[str, str]:
    """The SHA-256 of each file that network, ingredients, target, scores, transforms and (`with_stream`,
    which was not noted once) the stream of one's own are made of, cfsweep's own aside, and of the encoder with its
    weights; or the trainer from outside."""
    if config.space.trainer is not None:
        return code_of(config.space.trainer)
    kinds = [*map(ingredient_class, config.space.ingredients), type(target_of(stream.target))]
    named = [networks.own_path(config.space.network.name), *(path_of("scores", name) for name in stream.scores)]
    if with_stream:
        named.append(function_of(config.stream))
    paths = [path for path in (*named, *stream.augment) if path is not None and ":" in path]
    with current_folder_importable():
        for path in paths:
            imported(path, f"study {config.study_id}")  # which files it is made of is known of what is loaded
    modules = [*(module for kind in kinds for module in own_code.modules_of(kind)), *own_code.modules_named(paths)]
    encoder = {f"encoder {stream.encoder.name}": stream.encoder.sha256} if stream.encoder else {}
    own = {file: digest for file, digest in own_code.digests(modules).items() if digest is not None}
    return {**own, **encoder}


def _as_before(config: StudyConfig, stream: Stream, study: Mapping[str, Any]) -> bool:
    """Whether a study that says nothing of its outputs, as older ones did, had those of today: an output was a label,
    and in domain-il a class's place within its task."""
    if [list(task.classes) for task in stream.tasks] != [task["classes"] for task in study["tasks"]]:
        return False
    labels, y = target_of(stream.target).outputs(stream, config.stream.scenario).labels.numpy(), stream.y.numpy()
    return config.stream.scenario != "domain-il" or all(
        np.array_equal(labels[task.train], np.searchsorted(task.classes, y[task.train])) for task in stream.tasks
    )
