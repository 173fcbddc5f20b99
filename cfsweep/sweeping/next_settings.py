"""The settings of a bundle's next task, searched: each trial goes on from the bundle, and is scored by validation data
of the old tasks and of the new one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from cfsweep.bundle.continued import Opened, opened, sizes_of
from cfsweep.bundle.next_task import scored_by, scored_by_kept
from cfsweep.bundle.own_stream import stream_of
from cfsweep.config import Choices, Searched, Space, StudyConfig
from cfsweep.errors import InputError, few
from cfsweep.hypers import Hyper, Value
from cfsweep.sweeping.folder import Folder
from cfsweep.sweeping.next_trials import Progress, Search, search
from cfsweep.sweeping.parsing import make_config, settings_of
from cfsweep.sweeping.space import check_space
from cfsweep.training.ingredients import ingredient_class
from cfsweep.training.streams import Stream

FILE = "search.parquet"  # in the bundle
# What of a study's settings a search goes by, or looks at by itself (the stream).
OF_A_SEARCH = ("space", "stream", "trials", "seeds", "sampler_seed", "objective", "identity_version")


def search_settings(
    bundle: Path,
    task: Path,
    space: Path | Mapping[str, Any],
    options: Mapping[str, Any],
    settings: Iterable[str] | Mapping[str, Any],
    old: str | None,
    data: str | None,
    kept: Folder,
    progress: Progress = lambda done, trials: None,
) -> Search:
    """Searches what `space` does, beside it with the bundle's own settings, for the model in `bundle` to learn `task`:
    `w * mean_old + (1 - w) * new` on validation data, `w` the `objective.old_weight`, mean over seeds.

    The old tasks' validation data are those of the stream `old`, cut as the bundle's was; without it the examples that
    the bundle has kept score, which flatter, as they are trained on. `options` and `settings` as for `make_config`: of
    a study's, the `trials`, `seeds`, `sampler_seed` and `objective.old_weight`. The first trial has the bundle's own
    settings, or what the space has nearest to them; network and scenario are the bundle's, whatever the space was
    written for. Runs are trained in this process. What has been tried is in the folder `kept`, and the
    same search goes on from there. `progress` is called with the number of trials that have ended, and of all.

    Raises:
        InputError: there is nothing to search, or something is asked for that cannot be had; or the bundle cannot go
            on with the task.
    """
    start = opened(bundle)
    asked = settings_of(settings)
    if named := [key for key in asked if key.partition(".")[0] in ("network", "scenario", "ingredients")]:
        raise InputError(f"--set {named[0]}: network, scenario and remedies are the bundle's. Leave it out.")
    config, hypers = _described(start, make_config(space, options, asked))
    stream = _scored(start, start.stream(task), old, data)
    scored = [number for number in range(stream.n_learned) if len(stream.tasks[number].validation)]
    if not scored:
        raise InputError(
            f"{bundle}: no example of its tasks is in it to score a trial by. Name their stream with `--old`."
        )
    with kept.locked():
        return search(start, config, hypers, stream, old is None, kept, progress)


# ------------------------------------------------------------------------------------------------ what is searched


def _described(start: Opened, config: StudyConfig) -> tuple[StudyConfig, dict[str, Hyper]]:
    """The search as a study whose trials have the bundle's settings where the space says nothing; and the
    hyperparameters, whose defaults are these.

    Raises:
        InputError: the space is not for this bundle.
    """
    about, given = start.about, config.space
    _refuse_what_is_not_of_a_search(config)
    if strange := [name for name in given.ingredients if name not in about.ingredients]:
        there = few(about.ingredients) if about.ingredients else "none"
        raise InputError(
            f"--sweep: `ingredients <= {{{there}}}` must hold, but got {few(strange)}: the bundle has kept nothing for "
            "it. Search the settings of its own remedies."
        )
    own = {name: value for name, value in about.settings.items() if name not in given.search}
    search = {name: _within_kept(start, name, searched) for name, searched in given.search.items()}
    space = Space(ingredients=about.ingredients, network=about.network, fixed={**own, **given.fixed}, search=search)
    hypers = check_space(space, "--sweep")
    if not space.search:
        raise InputError("--sweep: the space searches nothing. Name ranges or choices below `search`.")
    try:
        start.changed(space.fixed)
        for name, searched in space.search.items():
            for value in _ends(searched):
                start.changed({**given.fixed, name: value})
    except InputError as error:
        raise InputError(str(error).replace("--set", "--sweep:", 1).replace("::", ":", 1)) from error
    hypers = {name: replace(hyper, default=about.settings[name]) for name, hyper in hypers.items()}
    stream = about.stream_config.model_copy(update={"splits": 1})
    return config.model_copy(update={"space": space, "stream": stream}), hypers


def _within_kept(start: Opened, name: str, searched: Searched) -> Searched:
    """What is searched of a setting, but no larger buffer than the bundle has: it cannot grow. What is larger in every
    case is left, to be refused."""
    about = start.about
    if not any(name in sizes_of(kind) for kind in map(ingredient_class, about.ingredients)):
        return searched
    most = float(about.settings[name])
    if isinstance(searched, Choices):
        fits = tuple(value for value in searched.choices if not isinstance(value, str) and value <= most)
        return Choices(choices=fits) if fits else searched
    return searched if searched.low > most else searched.model_copy(update={"high": min(searched.high, most)})


def _refuse_what_is_not_of_a_search(config: StudyConfig) -> None:
    usual = StudyConfig(space=config.space)
    for name in StudyConfig.model_fields:
        if name not in OF_A_SEARCH and getattr(config, name) != getattr(usual, name):
            raise InputError(f"--set {name}: it is of a sweep over a whole stream. Leave it out.")
    stream = config.stream.model_copy(update={"data": None, "scenario": usual.stream.scenario})
    if stream != usual.stream:
        raise InputError("--set stream: the stream is the bundle's, and `--task`. Leave it out.")
    if config.objective.name != "mixed":
        raise InputError("--set objective.name: it must be mixed, as one model comes out. Leave it out.")


def _ends(searched: Searched) -> tuple[Value, ...]:
    """Values of which all hold if each of what is searched does: those of a list, the ends of a range."""
    if isinstance(searched, Choices):
        return searched.choices
    return (searched.low, searched.high, *((0,) if searched.zero else ()))


def _scored(start: Opened, stream: Stream, old: str | None, data: str | None) -> Stream:
    """`stream` with what scores the old tasks.

    Raises:
        InputError: the validation data were trained on, or are not those of the bundle's tasks.
    """
    about = start.about
    if about.cut.refit:
        raise InputError(
            f"{start.bundle}: it was trained on the validation data, too (`--refit`), so nothing is left to score a "
            "trial by. Search from the bundle of a model that was not."
        )
    if old is None:
        return scored_by_kept(stream)
    found = stream_of(about, data, old, "--old", start.table)
    if missing := [name for name, digest in about.data_sha256.items() if digest not in found.files.values()]:
        raise InputError(
            f"--old {old}: it must have the data that the bundle was trained on, but {missing[0]} of SHA-256 "
            f"{about.data_sha256[missing[0]][:12]} is not among it. Bring it back as it was, or name its place."
        )
    return scored_by(stream, found.of_split(about.cut.split))
