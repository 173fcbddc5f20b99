"""From a sweep to a model: trials confirmed with fresh seeds, one as a bundle, and on from there."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cfsweep.errors import InputError
from cfsweep.library.folders import read_in, written_in
from cfsweep.library.repeatable import repeatable
from cfsweep.library.shown import html_table, text_table
from cfsweep.library.spaces import Space, space_of
from cfsweep.library.sweeps import Progress
from cfsweep.sweeping.progress import Calls, Watcher
from cfsweep.sweeping.scheduler import USUAL, Endurance, Workers, endurance_of

if TYPE_CHECKING:
    from analysis import Confirmation
    from cfsweep.bundle import Manifest, Model
    from cfsweep.mlflow_backend.log import Logged
    from cfsweep.sweeping.next_trials import Search
    from cfsweep.sweeping.study import Outcome


def confirm(
    folder: str | Path,
    trials: str | Sequence[int] = "selected",
    seeds: int = 5,
    *,
    refit: bool = False,
    workers: int | None = None,
    gpus_per_worker: float | None = None,
    address: str | None = None,
    insecure: bool = False,
    retries: int = 0,
    patience_s: float = 600.0,
    hang_after_s: float | None = None,
    progress: Progress | None = None,
    accept_changes: bool = False,
) -> Confirmed:
    """What fresh seeds and test data say of trials of the sweep in `folder`, which are trained once more.

    `trials`: `selected` (with the default and the references that were best), `front`, or numbers. They are trained
    with `seeds` seeds that the sweep did not use, tested, and their models kept, below `folder`; with `refit` on the
    validation data, too. Whatever is there already is not trained again. `retries`, `patience_s` and `hang_after_s`
    are as of `sweep`. With `accept_changes` they are trained although what the sweep stands on has changed, which their
    `study.yaml` notes.

    Raises:
        InputError: no trial was selected yet, one was not trained to its end, or what the sweep stands on has changed.
    """
    which = trials if isinstance(trials, str) else ",".join(map(str, trials))
    where = Workers(workers, address, gpus_per_worker, insecure)
    endurance = endurance_of(where, retries, patience_s, hang_after_s)
    outcome = confirmed(folder, which, seeds, refit, where, Calls(progress), endurance, accept_changes=accept_changes)
    return Confirmed(folder, outcome.interrupted)


def confirmed(
    folder: str | Path,
    trials: str,
    seeds: int,
    refit: bool,
    workers: Workers,
    watcher: Watcher,
    endurance: Endurance = USUAL,
    accept_changes: bool = False,
) -> Outcome:
    """How the confirmation ended."""
    repeatable()
    from analysis.confirmation import to_confirm
    from cfsweep.sweeping.confirm import Purpose
    from cfsweep.sweeping.confirm import confirm as confirm_trials

    purpose: Purpose = "refit" if refit else "confirm"
    with written_in(folder) as here:
        numbers, references = to_confirm(here, trials)
        return confirm_trials(
            here, numbers, references, seeds, purpose, workers, watcher, endurance, accept_changes=accept_changes
        )


def export(
    folder: str | Path,
    to: str | Path,
    *,
    trial: int | str = "selected",
    seed: int | str = "best",
    refit: bool = False,
    with_data: bool = True,
    onnx: bool = False,
) -> Model:
    """The model of a confirmed run, written as a bundle into the new folder `to`.

    `trial` is a number, or the `selected` one; `seed` one of those that confirmed it, or the `best` of them on
    validation data. `refit` takes a model that was trained on the validation data, too. Without `with_data` the
    examples that a rehearsal keeps are left out. With `onnx` the program is there as `model.onnx`, too.

    Raises:
        InputError: it was not confirmed, the data has changed, `to` exists, or the program cannot be had as ONNX.
    """
    from cfsweep.bundle import load

    exported(folder, to, trial, seed, refit=refit, with_data=with_data, onnx=onnx)
    return load(to)


def exported(
    folder: str | Path, to: str | Path, trial: int | str, seed: int | str, *, refit: bool, with_data: bool, onnx: bool
) -> tuple[int, Manifest]:
    """The number of the trial whose model was written, and what is known of it."""
    repeatable()
    from analysis.choice import selection
    from analysis.confirmation import columns, confirmation, confirmed_in
    from cfsweep.bundle.places import delivered
    from cfsweep.sweeping.confirm import FOLDERS, Purpose
    from cfsweep.sweeping.export import export as export_model

    with read_in(folder) as root:
        number = _trial(root, trial)
        purpose: Purpose = "refit" if refit else "confirm"
        # Where nothing is to be had, `export_model` says what is missing.
        is_there = confirmed_in(root, FOLDERS[purpose]) is not None and selection(root) is not None
        compared = columns(confirmation(root)) if is_there else None
        with delivered(to) as here:
            return number, export_model(root, number, seed, here, purpose, with_data, onnx, compared)


def export_state(
    folder: str | Path, to: str | Path, *, trial: int | str = "selected", seed: int | str = "best"
) -> dict[str, Any]:
    """What is known of a confirmed run that a trainer from outside has trained: its settings and scores, and more.

    It is written into the new folder `to` as `run.json`, beside the trainer's last `state`, a file or a folder, as it
    was returned. `trial` and `seed` are as in `export`.

    Raises:
        InputError: it was not confirmed, its trainer has returned no last state, or `to` exists.
    """
    from cfsweep.sweeping.export_state import export_state as export_it

    with read_in(folder) as root:
        return export_it(root, _trial(root, trial), seed, Path(to))


def trained_outside(folder: str | Path) -> bool:
    """Whether a trainer from outside has trained the sweep in `folder`."""
    from cfsweep.results.reader import read_study

    space = (read_study(folder).get("config") or {}).get("space") or {}
    return space.get("trainer") is not None


def _trial(root: Path, trial: int | str) -> int:
    """
    Raises:
        InputError: it is neither a number nor `selected`, or nothing was selected.
    """
    from analysis.confirmation import selected

    if trial != "selected" and not str(trial).lstrip("-").isdigit():
        raise InputError(f"--trial {trial}: `selected` or a number is needed. Write one of these.")
    return selected(root) if trial == "selected" else int(trial)


def continue_(
    bundle: str | Path,
    task: str | Path,
    to: str | Path,
    *,
    settings: Mapping[str, Any] | None = None,
    space: Space | None = None,
    old: str | Path | None = None,
    data: str | Path | None = None,
    trials: int | None = None,
    seeds: int | None = None,
    onnx: bool = False,
    progress: Callable[[int, int], object] | None = None,
) -> Model:
    """The model of `bundle` after one more task, written as a bundle into the new folder `to`.

    `task` is an `.npz` or `.parquet` file, or a folder of parts or of images. `settings` are other ones for this task,
    by name. With `onnx` the program is there as `model.onnx`, too.

    With a `space` its settings are searched first: `trials` (default: 48) go on from the bundle with `seeds` each
    (default: 1), scored by validation data of the new task and of the old ones in the stream `old`, data sets of which
    lie in `data`; without `old` by the examples that the bundle has kept. The bundle in `to` is that of the best, and
    has all of them in `search.parquet`. `settings` may name `objective.old_weight` and `sampler_seed`, too. `progress`
    is called with the number of trials that have ended, and of all.

    Raises:
        InputError: the task or the space does not fit the bundle, a setting cannot be changed, what a remedy needs is
            not in the bundle, `to` exists, or the program cannot be had as ONNX.
    """
    from cfsweep.bundle import load

    continued(
        bundle,
        Path(task),
        to,
        settings or {},
        space=space,
        old=None if old is None else str(old),
        data=None if data is None else str(data),
        trials=trials,
        seeds=seeds,
        onnx=onnx,
        progress=progress,
    )
    return load(to)


def continued(
    bundle: str | Path,
    task: Path,
    to: str | Path,
    settings: Iterable[str] | Mapping[str, Any],
    *,
    space: Space | None,
    old: str | None,
    data: str | None,
    trials: int | None,
    seeds: int | None,
    onnx: bool,
    progress: Callable[[int, int], object] | None,
) -> tuple[Manifest, Search | None]:
    """What is known of the model that was written, and how its settings were found, if they were searched."""
    repeatable()
    from cfsweep.bundle import continue_ as train_next
    from cfsweep.bundle.continued import written_after
    from cfsweep.bundle.places import delivered, fetched
    from cfsweep.bundle.writer import refuse_early
    from cfsweep.sweeping.parsing import settings_of

    if space is None:
        for option, value in (("--old", old), ("--data", data), ("--trials", trials), ("--seeds", seeds)):
            if value is not None:
                raise InputError(f"{option} {value}: it is of a search. Name the space with --sweep, or leave it out.")
        with fetched(bundle) as begun, delivered(to) as here:
            return train_next(begun, task, settings_of(settings), here, onnx=onnx), None

    from cfsweep.sweeping.folder import Folder
    from cfsweep.sweeping.next_settings import FILE, search_settings
    from cfsweep.sweeping.next_trials import forget

    source, _ = space_of(space)
    options = {"trials": trials, "seeds": seeds}
    said = progress or (lambda done, total: None)
    with fetched(bundle) as begun, delivered(to) as here:
        refuse_early(here, onnx, begun)
        kept = Folder(here.parent / f".{here.name}.search")
        found = search_settings(begun, task, source, options, settings, old, data, kept, said)
        values, beside = found.best.values, {FILE: found.parquet()}
        about = written_after(found.train_best, begun, task, values, here, beside, onnx)
        forget(kept)
        return about, found


def log(
    bundle: str | Path, name: str, *, alias: str | None = None, uri: str | None = None, experiment: str | None = None
) -> Logged:
    """The version of the registered model `name` in MLflow that is the bundle, logged now unless there is one.

    All of the bundle is logged as a model that MLflow loads and serves, with its settings as parameters and its scores
    as metrics of one run of the `experiment`. `alias`, such as `champion`, is moved to the version when all else is
    done. `uri` is that of the tracking server (default: MLflow's own, $MLFLOW_TRACKING_URI).

    Raises:
        InputError: MLflow is not installed, does not answer, or refuses something; or there is no bundle, or a file of
            it was changed.
    """
    repeatable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MLflow warns of its own classes while it is imported
            from cfsweep.mlflow_backend.log import log_bundle
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "mlflow":
            raise
        raise InputError('log: MLflow is not installed. Run `pip install "cfsweep[mlflow]"`.') from error
    from cfsweep.bundle.places import fetched

    with fetched(bundle) as here:
        return log_bundle(here, name, alias, uri, experiment)


@dataclass(frozen=True)
class Confirmed:
    """The trials of the sweep in `folder` that were confirmed; a notebook shows them side by side."""

    folder: str | Path
    interrupted: bool = False

    @property
    def trials(self) -> list[Confirmation]:
        """Of each trial and reference the averages by which it was chosen, with fresh seeds, and on test data."""
        import analysis

        return analysis.confirmation(self.folder)

    @property
    def luck(self) -> str:
        """How much of the choice was luck, in one line; empty where nothing can be said."""
        from analysis.confirmation import luck

        return luck(self.trials)

    @property
    def known(self) -> str:
        """How far tasks that the first weights know have fallen on test data, in one line; empty without any."""
        from analysis.confirmation import known_on_test

        return known_on_test(self.folder) or ""

    def export(self, to: str | Path, **others: Any) -> Model:
        """One of the models, as a bundle (`cfsweep.export`)."""
        return export(self.folder, to, **others)

    def _columns(self) -> dict[str, list[str]]:
        from analysis.confirmation import columns

        return columns(self.trials)

    def __repr__(self) -> str:
        cells = self._columns()
        table = text_table(list(cells), zip(*cells.values(), strict=True))
        return "\n".join([table, *filter(None, [self.luck, self.known])])

    def _repr_html_(self) -> str:
        cells = self._columns()
        said = "".join(f"<p>{escape(line)}</p>" for line in (self.luck, self.known) if line)
        return html_table(list(cells), zip(*cells.values(), strict=True)) + said
