"""The commands of a sweep: describe a study, begin it, go on with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cfsweep import identity
from cfsweep.config import MOST_SEEDS, MOST_TRIALS, StreamConfig, StudyConfig
from cfsweep.errors import InputError, few
from cfsweep.files import read_bounded
from cfsweep.hypers import Hyper
from cfsweep.results.addresses import in_command
from cfsweep.results.status import Status, status
from cfsweep.sweeping import outside
from cfsweep.sweeping.added import news_of
from cfsweep.sweeping.asker import Asker
from cfsweep.sweeping.driver import Driver
from cfsweep.sweeping.folder import Folder, describe, described_hypers
from cfsweep.sweeping.ground import accepted, check_ground, data_digest
from cfsweep.sweeping.learned import check_learned
from cfsweep.sweeping.notes import notes
from cfsweep.sweeping.progress import Watcher
from cfsweep.sweeping.room import Waiting
from cfsweep.sweeping.scheduler import USUAL, Endurance, Scheduler, SweepPlan, Workers
from cfsweep.sweeping.schedulers import on_schedulers
from cfsweep.sweeping.search.limits import history_note
from cfsweep.sweeping.space import check_ingredients, check_space, check_study, layers_named, with_steering
from cfsweep.sweeping.try_out import try_out
from cfsweep.sweeping.working_files import tidy, tidy_complete
from cfsweep.sweeping.written import read_written
from cfsweep.training.constant_answer import ConstantAnswer, constant_answer
from cfsweep.training.ingredients import check_layers
from cfsweep.training.networks import build, noted
from cfsweep.training.pack import example_counts, single_run_reason
from cfsweep.training.plugins import by_files_alone
from cfsweep.training.streams import Stream, function_of, load_stream, place_of
from cfsweep.training.targets import Outputs, scores_of, target_of
from cfsweep.visible import tell


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
        said = [*outside.outside_notes(config, hypers, stream), history_note(config.trials), own_code_note(config)]
        return Prepared(config, stream, hypers, None, tuple(filter(None, said)))
    target = target_of(config.stream.target, where)
    check_ingredients(config, where)  # before examples are read, which an encoder may take minutes for
    wanted = with_steering(config.space, config.stream)
    stream = load_stream(wanted)
    # Noted as what it has come to, so that no later default can change what a study goes on with.
    own_data = None if place_of(wanted) is None else data_digest(stream)
    as_found = wanted.model_copy(update={"standardise": stream.standardised, "own_data": own_data})
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
    said = [*notes(config, hypers, stream), history_note(config.trials), own_code_note(config)]
    return Prepared(config, stream, hypers, outputs, (*(unliftable if reason else ()), *filter(None, [first, *said])))


def own_code_note(config: StudyConfig) -> str | None:
    """Which code runs because a file names it, as it lies in the working folder, or its user trusts the file."""
    space, stream = config.space, config.stream
    asked = (space.network.name, *space.ingredients, space.trainer, stream.target, *stream.scores, *stream.augment)
    paths = by_files_alone([*asked, stream.encoder, function_of(stream)])
    paths = [path for path in paths if not path.startswith("torchvision:")]
    return f"code runs that a file names: {few(paths)}" if paths else None


def standardised_as_in(out: Path, config: StudyConfig) -> StudyConfig:
    """The study, its data standardised as the one in the folder `out` if one is there and nothing else is said."""
    folder = Folder(out)
    if config.stream.standardise is not None or not folder.exists():
        return config
    stream = config.stream.model_copy(update={"standardise": folder.read()[0].stream.standardise})
    return config.model_copy(update={"stream": stream})


def with_identity_version_of(out: Path, prepared: Prepared) -> Prepared:
    """The study by the id that it has in the folder `out`, if one is there: a study keeps the identity version that it
    began with, and what it knew its data by then: if these have changed, the ground will tell."""
    folder = Folder(out)
    if not folder.exists():
        return prepared
    (there, study), config = folder.read(), prepared.config
    own_data = config.stream.own_data
    if there.stream.name == config.stream.name or study.get("data_sha256") == prepared.stream.files:
        own_data = there.stream.own_data
    stream = config.stream.model_copy(update={"own_data": own_data})
    return replace(
        prepared, config=config.model_copy(update={"identity_version": there.identity_version, "stream": stream})
    )


def begin(
    prepared: Prepared,
    out: Path,
    scheduler: Scheduler,
    watcher: Watcher,
    endurance: Endurance = USUAL,
    accept_changes: bool = False,
) -> Outcome:
    """Sweeps into the folder `out`; goes on with the study that is there, if it is this one, on another ground than it
    began with if its user will `accept_changes`.

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
                remedy = f"`cfsweep resume {in_command(out)} --seeds {config.seeds}` adds seeds to it."
            raise InputError(
                f"--out {out}: it holds another study ({there.study_id}, not {config.study_id}), which differs in "
                f"{few(different)}. {remedy}"
            )
        described = described_hypers(config, prepared.hypers)
        changed = check_ground(config, described, prepared.stream, study, folder.study_file, accept_changes)
        folder.require_journal()
        trials = max(config.trials, there.trials)
        now = status(out)
        if trials <= now.trials and is_whole(folder, there, endurance):
            tidy_complete(folder)
            return Outcome(now, nothing_to_do=True)
        with folder.locked():
            # The same weights and data may lie elsewhere by now.
            place: dict[str, Any] = {"space": there.space.model_copy(update={"network": config.space.network})}
            place["stream"] = at_place_of(there.stream, config.stream)
            with waiting_for(scheduler, endurance).on():
                _note(folder, prepared, there.model_copy(update=place), changed)
            budget = {"time_budget_s": config.time_budget_s, "pack_runs": config.pack_runs}
            config = there.grown(trials, there.seeds).model_copy(update={**budget, **place})
            return sweep(folder, config, prepared, scheduler, watcher, endurance=endurance)
    folder.refuse_other_content()
    with folder.locked():
        with waiting_for(scheduler, endurance).on():
            folder.create(config, prepared.hypers, prepared.stream)
        return sweep(folder, config, prepared, scheduler, watcher, endurance=endurance)


def differences(there: StudyConfig, here: StudyConfig) -> list[str]:
    """The settings that make two studies different ones, with both values, in the order of `study.yaml`."""

    def flat(content: Any, key: str = "") -> dict[str, Any]:
        if not isinstance(content, dict) or not content:
            return {key: content}
        return {k: v for name, value in content.items() for k, v in flat(value, f"{key}.{name}".lstrip(".")).items()}

    one, other = (flat(config.model_dump(mode="json", exclude=config.no_part_of_identity)) for config in (there, here))
    names = [name for name in dict.fromkeys((*one, *other)) if one.get(name) != other.get(name)]
    return [f"{name} ({one.get(name, 'absent')}, here {other.get(name, 'absent')})" for name in names]


def at_place_of(stream: StreamConfig, other: StreamConfig) -> StreamConfig:
    """The stream, its data where those of the other one lie."""
    place: dict[str, Any] = {"data": other.data, "download": other.download}
    return stream.model_copy(update={**place, **({} if stream.own_data is None else {"name": other.name})})


def _note(folder: Folder, prepared: Prepared, config: StudyConfig, changed: list[str]) -> None:
    """Writes down where things lie by now, and the changes of its ground that the user has accepted."""
    there, study = folder.read()
    config = config.grown(there.trials, there.seeds)  # which an earlier scheduler may have begun to train
    if config == there and not changed:
        return
    if changed:
        study = accepted(study, changed, describe(config, prepared.hypers, prepared.stream), folder.root)
        folder.forget_packs()
    folder.write({**study, "config": config.model_dump(mode="json")})


def _moved(config: StudyConfig, stream: str | None, data: str | None, out: Path) -> StudyConfig:
    """The study with its own data at `stream`, and data sets in `data`, where these are given.

    Raises:
        InputError: the place of its data is part of what it is.
    """
    place: dict[str, Any] = {}
    if stream is not None:
        if config.stream.own_data is None or config.identity_version < identity.BY_DATA:
            raise InputError(
                f"--stream {stream}: the study in {out} knows its stream by its name, `{config.stream.name}`. Bring "
                "its data back there; a link will do."
            )
        place["name"] = str(Path(stream).expanduser().absolute())
    if data is not None:
        place["data"] = str(Path(data).expanduser().absolute())
    return config.model_copy(update={"stream": config.stream.model_copy(update=place)})


def resume(
    out: Path,
    more_trials: int,
    seeds: int | None,
    workers: Workers,
    watcher: Watcher,
    endurance: Endurance = USUAL,
    stream: str | None = None,
    data: str | None = None,
    accept_changes: bool = False,
) -> Outcome:
    """Goes on with the study in `out`, with `more_trials` added to its budget, and as many `seeds` for each trial; its
    own data may lie at `stream` by now, and data sets in `data`. On another ground than it began with it goes on if
    its user will `accept_changes`.

    Raises:
        InputError: there is no sweep, it has more seeds, its ground has changed, or the workers cannot be reached.
    """
    folder = Folder(out)
    config, study = folder.read()
    if "confirms" in study:
        raise InputError(f"{out}: it confirms trials of a sweep. `{status(out).goes_on_by}` goes on.")
    folder.require_journal()
    there, config = config, _moved(config, stream, data, out)
    trials, now, seeds = config.trials + more_trials, status(out), seeds or config.seeds
    if not config.seeds <= seeds <= MOST_SEEDS:
        raise InputError(
            f"--seeds {seeds}: the study has {config.seeds} seeds already, none is taken away, and {MOST_SEEDS} are "
            "the most. Give a number between."
        )
    if trials > MOST_TRIALS:
        raise InputError(f"--trials +{more_trials}: {MOST_TRIALS} trials in all are the most. Give a smaller number.")
    if (trials, seeds, there) == (config.trials, config.seeds, config) and is_whole(folder, config, endurance):
        tidy_complete(folder)
        return Outcome(now, nothing_to_do=True, news=news_of(config, study))

    changed: list[str] = []

    def prepare_again() -> Prepared:
        if config.stream.own_data is not None and place_of(config.stream) is None:
            raise InputError(
                f"{config.stream.name}: there is nothing any more. `--stream` names the place where the study's data "
                "lie now."
            )
        prepared = prepare(config, str(folder.study_file), study)
        described = described_hypers(config, prepared.hypers)
        changed[:] = check_ground(config, described, prepared.stream, study, folder.study_file, accept_changes)
        return prepared

    def go_on(scheduler: Scheduler, prepared: Prepared) -> Outcome:
        with waiting_for(scheduler, endurance).on():
            _note(folder, prepared, config, changed)
        changed.clear()  # noted once, though other schedulers may follow
        return sweep(folder, config.grown(trials, seeds), prepared, scheduler, watcher, endurance=endurance)

    with folder.locked():
        return on_schedulers(workers, prepare_again, go_on)


def is_whole(folder: Folder, config: StudyConfig, endurance: Endurance) -> bool:
    """Whether nothing is left to do: all trials have ended, their rows and matrices are there, none of those that
    failed is to be tried again, and the journal knows of all ends.

    Raises:
        BrokenJournal: the journal is damaged.
    """
    written = read_written(folder.root, config.study_id, (), config.parts, endurance.retries > 0)
    return status(folder.root).complete and written.whole and _journal_is_whole(folder, config)


def _journal_is_whole(folder: Folder, config: StudyConfig) -> bool:
    """Not where the driver was killed just before, or the journal was made anew. A listed study has none."""
    if config.purpose != "sweep":
        return True
    from cfsweep.sweeping.search.history import asked_in  # loads Optuna

    asked = asked_in(read_bounded(folder.journal), config.study_id) if folder.journal.exists() else None
    return asked is not None and len(asked) >= config.trials and all(trial.ended for trial in asked.values())


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
    endurance: Endurance = USUAL,
) -> Outcome:
    """Trains the trials of `asker`, by default of the study's Optuna, until the budget is spent or the user interrupts
    it. The caller holds the folder's lock.

    Raises:
        NoRoomError: the disk was full for too long.
        InputError: code of the user's own was edited meanwhile, and a new worker would run it.
    """
    waiting = waiting_for(scheduler, endurance)
    try:
        with waiting.on():
            for line in tidy(folder.root):
                tell(line)
            return _sweep(folder, config, prepared, scheduler, watcher, asker, endurance)
    except Exception as error:  # a scheduler may make one of its own of it
        if waiting.gave_up is not None and waiting.gave_up is not error:
            raise waiting.gave_up from error
        raise


def waiting_for(scheduler: Scheduler, endurance: Endurance) -> Waiting:
    """What waits for room on a full disk, until the user ends it."""
    return Waiting(endurance.patience_s, lambda: scheduler.interrupted)


def _sweep(
    folder: Folder,
    config: StudyConfig,
    prepared: Prepared,
    scheduler: Scheduler,
    watcher: Watcher,
    asker: Asker | None,
    endurance: Endurance,
) -> Outcome:
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
        endurance,
    )
    folder.set_budget(config.trials, config.time_budget_s, config.seeds)  # now that all has been read without a fault
    with watcher:
        watcher.show(driver.book.summary())
        scheduler.run(plan, driver, lambda: watcher.show(driver.book.summary()))
        watcher.show(driver.book.summary())
    if driver.refused is not None:
        raise driver.refused
    return Outcome(status(folder.root), scheduler.interrupted, out_of_time=driver.out_of_time)
