"""The commands of a sweep: describe a study, begin it, go on with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cfsweep.config import MOST_SEEDS, MOST_TRIALS, NO_PART_OF_IDENTITY, StudyConfig
from cfsweep.errors import InputError, few
from cfsweep.hypers import Hyper
from cfsweep.results.status import Status, status
from cfsweep.sweeping import outside
from cfsweep.sweeping.added import news_of
from cfsweep.sweeping.asker import Asker
from cfsweep.sweeping.driver import Driver
from cfsweep.sweeping.folder import Folder, check_ground
from cfsweep.sweeping.learned import check_learned
from cfsweep.sweeping.notes import notes
from cfsweep.sweeping.progress import Watcher
from cfsweep.sweeping.scheduler import Scheduler, SweepPlan, Workers
from cfsweep.sweeping.schedulers import open_scheduler
from cfsweep.sweeping.search.limits import history_note
from cfsweep.sweeping.space import check_space, check_study, layers_named, with_steering
from cfsweep.sweeping.try_out import try_out
from cfsweep.sweeping.written import read_written
from cfsweep.training.constant_answer import ConstantAnswer, constant_answer
from cfsweep.training.ingredients import check_layers
from cfsweep.training.networks import build, noted
from cfsweep.training.pack import example_counts, single_run_reason
from cfsweep.training.streams import Stream, load_stream
from cfsweep.training.targets import Outputs, scores_of, target_of


@dataclass(frozen=True)
class Prepared:
    """A study that has passed every check that can be made before training."""

    config: StudyConfig
    stream: Stream
    hypers: dict[str, Hyper]
    outputs: Outputs | None  # None of a trainer from outside
    notes: tuple[str, ...] = ()  # what the user should know, though it is no error


@dataclass(frozen=True)
class Outcome:
    """How a sweep ended: the user `interrupted` it, or it was `out_of_time`, or it is complete. `nothing_to_do`: it was
    complete before it began; `news` has come to its data since."""

    status: Status
    interrupted: bool = False
    nothing_to_do: bool = False
    news: str | None = None
    out_of_time: bool = False


def prepare(config: StudyConfig, where: str, begun: Mapping[str, Any] | None = None) -> Prepared:
    """Loads the stream, and checks the study against it. `begun` is the `study.yaml` of a study that is there already:
    a trainer from outside that is the same as in it is not tried out again.

    Raises:
        InputError: the stream cannot be loaded, the network cannot be built, or they do not fit the ingredients; or the
            trainer from outside is none.
    """
    hypers = check_space(config.space, where)
    if config.space.trainer is not None:
        config = outside.checked(config, where)
        stream = outside.tasks_of(config, hypers, where, begun)
        as_found = config.stream.model_copy(update={"n_tasks": len(stream.tasks)})
        config = config.model_copy(update={"stream": as_found})
        said = [*outside.outside_notes(config, hypers, stream), history_note(config.trials)]
        return Prepared(config, stream, hypers, None, tuple(filter(None, said)))
    target = target_of(config.stream.target, where)
    wanted = with_steering(config.space, config.stream)
    stream = load_stream(wanted)
    # Noted as what it has come to, so that no later default can change what a study goes on with.
    as_found = wanted.model_copy(update={"standardise": stream.standardised})
    space = config.space.model_copy(update={"network": noted(config.space.network)})
    config = config.model_copy(update={"stream": as_found, "space": space})
    check_study(config, stream, where)
    outputs = target.outputs(stream, config.stream.scenario)
    network = build(config.space.network, stream.input_shape, outputs.n_outputs)
    for values in layers_named(config.space, hypers):
        check_layers(hypers, values, network, where)
    try_out(config, hypers, stream, network, where)
    first = check_learned(config, hypers, stream, network, outputs, where)
    reason = single_run_reason(config.space.network, stream, config.stream.scenario)
    unliftable = (f"network `{config.space.network.name}`: {reason}; its runs are trained one at a time",)
    said = [*notes(config, hypers, stream), history_note(config.trials)]
    return Prepared(config, stream, hypers, outputs, (*(unliftable if reason else ()), *filter(None, [first, *said])))


def standardised_as_in(out: Path, config: StudyConfig) -> StudyConfig:
    """The study, its data standardised as the one in the folder `out` if one is there and nothing else is said."""
    folder = Folder(out)
    if config.stream.standardise is not None or not folder.exists():
        return config
    stream = config.stream.model_copy(update={"standardise": folder.read()[0].stream.standardise})
    return config.model_copy(update={"stream": stream})


def with_identity_version_of(out: Path, prepared: Prepared) -> Prepared:
    """The study by the id that it has in the folder `out`, if one is there: a study keeps the identity version that it
    began with."""
    folder = Folder(out)
    if not folder.exists():
        return prepared
    version = folder.read()[0].identity_version
    return replace(prepared, config=prepared.config.model_copy(update={"identity_version": version}))


def begin(prepared: Prepared, out: Path, scheduler: Scheduler, watcher: Watcher) -> Outcome:
    """Sweeps into the folder `out`; goes on with the study that is there, if it is this one.

    Raises:
        InputError: `out` is something else.
    """
    folder, config = Folder(out), with_identity_version_of(out, prepared).config
    if folder.exists():
        there, study = folder.read()
        if config.seeds == there.seeds:  # as many as it has by now are those of the same study
            config = config.model_copy(update={"seeds_at_start": there.seeds_at_start})
        if there.study_id != config.study_id:
            different = differences(there, config)
            remedy = "Choose another folder, or run with the settings in its study.yaml."
            if len(different) == 1 and config.seeds > there.seeds:
                remedy = f"`cfsweep resume {out} --seeds {config.seeds}` adds seeds to it."
            raise InputError(
                f"--out {out}: it holds another study ({there.study_id}, not {config.study_id}), which differs in "
                f"{few(different)}. {remedy}"
            )
        check_ground(config, prepared.stream, study, folder.study_file)
        folder.require_journal()
        trials = max(config.trials, there.trials)
        now = status(out)
        if trials <= now.trials and is_whole(folder, there):
            return Outcome(now, nothing_to_do=True)
        with folder.locked():
            changed: dict[str, Any] = {"time_budget_s": config.time_budget_s, "pack_runs": config.pack_runs}
            # The same weights may lie elsewhere by now.
            changed["space"] = there.space.model_copy(update={"network": config.space.network})
            config = there.grown(trials, there.seeds).model_copy(update=changed)
            return sweep(folder, config, prepared, scheduler, watcher)
    folder.refuse_other_content()
    with folder.locked():
        folder.create(config, prepared.hypers, prepared.stream)
        return sweep(folder, config, prepared, scheduler, watcher)


def differences(there: StudyConfig, here: StudyConfig) -> list[str]:
    """The settings that make two studies different ones, with both values, in the order of `study.yaml`."""

    def flat(content: Any, key: str = "") -> dict[str, Any]:
        if not isinstance(content, dict) or not content:
            return {key: content}
        return {k: v for name, value in content.items() for k, v in flat(value, f"{key}.{name}".lstrip(".")).items()}

    one, other = (flat(config.model_dump(mode="json", exclude=NO_PART_OF_IDENTITY)) for config in (there, here))
    names = [name for name in dict.fromkeys((*one, *other)) if one.get(name) != other.get(name)]
    return [f"{name} ({one.get(name, 'absent')}, here {other.get(name, 'absent')})" for name in names]


def resume(out: Path, more_trials: int, seeds: int | None, workers: Workers, watcher: Watcher) -> Outcome:
    """Goes on with the study in `out`, with `more_trials` added to its budget, and as many `seeds` for each trial.

    Raises:
        InputError: there is no sweep, it has more seeds, its data has changed, or the workers cannot be reached.
    """
    folder = Folder(out)
    config, study = folder.read()
    if "confirms" in study:
        raise InputError(f"{out}: it confirms trials of a sweep. `{status(out).goes_on_by}` goes on.")
    folder.require_journal()
    trials, now, seeds = config.trials + more_trials, status(out), seeds or config.seeds
    if not config.seeds <= seeds <= MOST_SEEDS:
        raise InputError(
            f"--seeds {seeds}: the study has {config.seeds} seeds already, none is taken away, and {MOST_SEEDS} are "
            "the most. Give a number between."
        )
    if trials > MOST_TRIALS:
        raise InputError(f"--trials +{more_trials}: {MOST_TRIALS} trials in all are the most. Give a smaller number.")
    if (trials, seeds) == (config.trials, config.seeds) and is_whole(folder, config):
        return Outcome(now, nothing_to_do=True, news=news_of(config, study))

    def prepare_again() -> Prepared:
        prepared = prepare(config, str(folder.study_file), study)
        check_ground(config, prepared.stream, study, folder.study_file)
        return prepared

    with folder.locked(), open_scheduler(workers, prepare_again) as (scheduler, prepared):
        return sweep(folder, config.grown(trials, seeds), prepared, scheduler, watcher)


def is_whole(folder: Folder, config: StudyConfig) -> bool:
    """Whether nothing is left to train: all trials have ended, and their rows and matrices are there."""
    return status(folder.root).complete and not read_written(folder.root, config.study_id, (), config.parts).torn


def _constant_answers(config: StudyConfig, prepared: Prepared) -> list[ConstantAnswer]:
    """The scores of the constant answer on each split of the data."""
    splits = range(config.stream.splits)
    scenario, parts = config.stream.scenario, config.parts
    return [constant_answer(prepared.stream.of_split(split), scenario, parts) for split in splits]


def sweep(
    folder: Folder,
    config: StudyConfig,
    prepared: Prepared,
    scheduler: Scheduler,
    watcher: Watcher,
    asker: Asker | None = None,
) -> Outcome:
    """Trains the trials of `asker`, by default of the study's Optuna, until the budget is spent or the user interrupts
    it. The caller holds the folder's lock."""
    if asker is None:
        # Loads Optuna, which a study that is only described does not need.
        from cfsweep.sweeping.search.asker import open_asker

        asker = open_asker(folder.journal, config, prepared.hypers)
    folder.checkpoints.mkdir(parents=True, exist_ok=True)
    plan = SweepPlan(config, prepared.hypers, prepared.stream, folder.checkpoints)
    capacity = scheduler.capacity(plan)
    driver = Driver(
        folder,
        config,
        prepared.hypers,
        asker,
        scores_of(prepared.stream),
        example_counts(prepared.stream),
        capacity.workers,
        capacity.pack_size,
        _constant_answers(config, prepared) if folder.has_majority() else (),
    )
    folder.set_budget(config.trials, config.time_budget_s, config.seeds)  # now that all has been read without a fault
    with watcher:
        watcher.show(driver.book.summary())
        scheduler.run(plan, driver, lambda: watcher.show(driver.book.summary()))
        watcher.show(driver.book.summary())
    return Outcome(status(folder.root), scheduler.interrupted, out_of_time=driver.out_of_time)
