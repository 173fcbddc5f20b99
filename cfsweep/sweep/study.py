"""The commands of a sweep: describe a study, begin it, go on with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from cfsweep.config import Space, StudyConfig
from cfsweep.errors import InputError, unknown
from cfsweep.hypers import Hyper
from cfsweep.results.status import Status, status
from cfsweep.sweep.cluster import Up, Workers, connected_beside
from cfsweep.sweep.folder import Folder, check_data
from cfsweep.sweep.parsing import parse, parse_yaml
from cfsweep.sweep.progress import Display
from cfsweep.sweep.remarks import remarks
from cfsweep.sweep.space import check_study, layers_named, load_space
from cfsweep.training import streams
from cfsweep.training.ingredients import check_layers, hypers_of, registry
from cfsweep.training.networks import build, unliftable_reason
from cfsweep.training.outputs import outputs_for


@dataclass(frozen=True)
class Prepared:
    """A study that has passed every check that can be made before training."""

    config: StudyConfig
    stream: streams.Stream
    hypers: dict[str, Hyper]
    remarks: tuple[str, ...] = ()  # what the user should know, though it is no error


@dataclass(frozen=True)
class Outcome:
    """How a sweep ended. `nothing_to_do`: it was complete before it began."""

    status: Status
    interrupted: bool
    nothing_to_do: bool


def make_config(space_file: Path, settings: Mapping[str, Any], assignments: Iterable[str]) -> StudyConfig:
    """The study that a space file, the command line's options and its `--set key=value` describe.

    `settings` maps dotted keys of `StudyConfig` to values; None is passed over.

    Raises:
        InputError: anything is wrong with them.
    """
    space = load_space(space_file)
    content: dict[str, Any] = {"space": space.model_dump(mode="json", exclude_unset=True)}
    options = [key for key, value in settings.items() if value is not None]
    if space.scenario:
        _assign(content, "stream.scenario", space.scenario)
    for key, value in settings.items():
        if value is not None:
            _assign(content, key, value)
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key:
            raise InputError(f"--set {assignment}: `key=value` is needed, such as `--set lr=0.001`.")
        _set(content, key, parse_yaml(text, f"--set {key}"))

    def origin(key: str) -> str:
        name = "pack" if key == "pack_runs" else key.removesuffix(".name").split(".")[-1]
        return f"--{name}" if key in options else "--set"

    return _with_absolute_paths(parse(StudyConfig, content, origin))


def prepare(config: StudyConfig, where: str) -> Prepared:
    """Loads the stream, and checks the study against it.

    Raises:
        InputError: the stream cannot be loaded, the network cannot be built, or they do not fit the ingredients.
    """
    stream = streams.load_stream(config.stream)
    hypers = check_study(config, len(stream.tasks), where)
    n_outputs = outputs_for(stream, config.stream.scenario).n_outputs
    network = build(config.space.network, stream.input_shape, n_outputs)
    for values in layers_named(config.space, hypers):
        check_layers(hypers, values, network, where)
    reason = unliftable_reason(network, stream.input_shape)
    unliftable = (f"network `{config.space.network.name}`: {reason}; its runs are trained one at a time",)
    about_ingredients = remarks(config, hypers, len(stream.tasks))
    return Prepared(config, stream, hypers, (*(unliftable if reason else ()), *about_ingredients))


def begin(prepared: Prepared, out: Path, workers: Workers, up: Up, console: Console) -> Outcome:
    """Sweeps into the folder `out`; goes on with the study that is there, if it is this one.

    Raises:
        InputError: `out` is something else.
    """
    folder, config = Folder(out), prepared.config
    if folder.exists():
        there, study = folder.read()
        if there.study_id != config.study_id:
            raise InputError(
                f"--out {out}: it holds another study ({there.study_id}, not {config.study_id}). Choose another "
                "folder, or run with the settings in its study.yaml."
            )
        check_data(prepared.stream, study, folder.study_file)
        trials = max(config.trials, there.trials)
        now = status(out)
        if now.complete and trials <= now.trials:
            return Outcome(now, interrupted=False, nothing_to_do=True)
        with folder.locked():
            budgeted = folder.set_budget(trials, config.time_budget_s)
            config = budgeted.model_copy(update={"pack_runs": config.pack_runs})  # it may differ from time to time
            return _sweep(folder, config, prepared, workers, up, console)
    folder.refuse_other_content()
    with folder.locked():
        folder.create(config, prepared.hypers, prepared.stream)
        return _sweep(folder, config, prepared, workers, up, console)


def resume(out: Path, more_trials: int, workers: Workers, console: Console) -> Outcome:
    """Goes on with the study in `out`, with `more_trials` added to its budget.

    Raises:
        InputError: there is no study, its data has changed, or Ray cannot be reached.
    """
    folder = Folder(out)
    config, study = folder.read()
    trials, now = config.trials + more_trials, status(out)
    if now.complete and trials <= now.trials:
        return Outcome(now, interrupted=False, nothing_to_do=True)

    def prepare_again() -> Prepared:
        prepared = prepare(config, str(folder.study_file))
        check_data(prepared.stream, study, folder.study_file)
        return prepared

    with folder.locked(), connected_beside(workers, prepare_again) as (up, prepared):
        return _sweep(folder, folder.set_budget(trials, config.time_budget_s), prepared, workers, up, console)


def _sweep(
    folder: Folder, config: StudyConfig, prepared: Prepared, workers: Workers, up: Up, console: Console
) -> Outcome:
    from cfsweep.sweep import launch  # Tune, which is slow to load, and not needed for a study that is only described

    interrupted = launch.sweep(folder, config, prepared.hypers, prepared.stream, workers, Display(console), up)
    return Outcome(status(folder.root), interrupted, nothing_to_do=False)


def _set(content: dict[str, Any], key: str, value: Any) -> None:
    """`lr=0.01` fixes a hyperparameter; `stream.n_tasks=2` and `network.args.hidden=[64]` go by their place."""
    known = {hyper.name for kind in registry.values() for hyper in kind.hypers} | set(hypers_of(()))
    first, *rest = key.split(".")
    if key in known:
        content["space"].get("search", {}).pop(key, None)
        key = f"space.fixed.{key}"
    elif first in Space.model_fields:
        if first == "search" and rest:
            content["space"].get("fixed", {}).pop(rest[0], None)
        key = f"space.{key}"
    elif first not in StudyConfig.model_fields:
        raise unknown("--set", "key", key, [*StudyConfig.model_fields, *Space.model_fields, *known])
    if key == "space.network.name":
        content["space"]["network"] = {}  # the arguments of one factory are not those of another
    _assign(content, key, value)


def _assign(content: dict[str, Any], key: str, value: Any) -> None:
    *path, last = key.split(".")
    for part in path:
        content = content.setdefault(part, {})
        if not isinstance(content, dict):
            raise InputError(f"--set {key}: `{part}` holds a single value, so nothing lies below it.")
    content[last] = value


def _with_absolute_paths(config: StudyConfig) -> StudyConfig:
    """So that a study can be resumed from another folder, and without the environment it began in."""
    stream, changes = config.stream, {}
    root = stream.data or streams.default_data_root()
    if root is not None:
        changes["data"] = str(Path(root).expanduser().absolute())
    if stream.name not in streams.registry and Path(stream.name).expanduser().is_dir():
        changes["name"] = str(Path(stream.name).expanduser().absolute())
    return config.model_copy(update={"stream": stream.model_copy(update=changes)})
