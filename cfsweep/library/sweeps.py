"""Sweeps: begun, gone on with, and looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cfsweep.library.folders import written_in
from cfsweep.library.repeatable import repeatable
from cfsweep.library.shown import html_table
from cfsweep.library.spaces import Space, space_of
from cfsweep.sweeping.progress import Calls, Watcher
from cfsweep.sweeping.scheduler import USUAL, Endurance, Scheduler, Workers, endurance_of
from cfsweep.sweeping.schedulers import on_schedulers

if TYPE_CHECKING:  # Ray is started before they are loaded, and torch with them
    import pandas as pd

    from analysis import Front
    from cfsweep.library.gates import Gate
    from cfsweep.library.models import Confirmed
    from cfsweep.results.status import Status
    from cfsweep.sweeping.study import Outcome, Prepared
    from cfsweep.sweeping.trials import Summary

Progress = Callable[["Summary"], object]
Settings = Iterable[str] | Mapping[str, Any]


def sweep(
    space: Space,
    stream: str | Path | None = None,
    *,
    args: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    scenario: str | None = None,
    target: str | None = None,
    scores: str | Sequence[str] | None = None,
    trials: int | None = None,
    seeds: int | None = None,
    splits: int | None = None,
    objective: str | None = None,
    data: str | Path | None = None,
    download: bool = False,
    settings: Mapping[str, Any] | None = None,
    pack: int | str | None = None,
    trainer: str | None = None,
    workers: int | None = None,
    gpus_per_worker: float | None = None,
    address: str | None = None,
    insecure: bool = False,
    encoder: str | None = None,
    retries: int = 0,
    patience_s: float = 600.0,
    hang_after_s: float | None = None,
    progress: Progress | None = None,
    accept_changes: bool = False,
) -> Sweep:
    """The sweep of `space` over `stream`, which lies in the folder `out` once this returns.

    It goes on with what is there.

    `space` is a file, the name of a shipped space, or the content of one: `{"ingredients": ["ewc"], "search":
    {"ewc_lambda": {"low": 1.0, "high": 1e6, "log": True}}}`. The others are the options of `cfsweep run`, with its
    defaults; `scores` is a name or several, of which the first steers. `args` are those of the stream: of a function,
    or what a table's columns are, `{"target": "churned", "task": "month"}`. `settings` are those of its `--set`, by the
    same keys: `{"lr": 0.001, "network.args.hidden": [256]}`. `trainer`, `package.module:function`, trains from outside
    (docs/outside-trainer.md). `workers` is the number of processes (0: none but this one). A run that failed is trained
    again `retries` times, a full disk is waited for `patience_s` seconds, and a worker from which nothing was heard for
    `hang_after_s` is taken for dead (docs/sweep.md). `progress` is called with a `Summary` of the trials whenever that
    has changed.

    With `accept_changes` a study that is there goes on although what it stands on has changed (docs/sweep.md).

    Ctrl-C ends it at a place from which the same call goes on (`interrupted`); in a thread other than the first,
    nothing does but the end of the process, of which the next call takes up what is left.

    Raises:
        InputError: anything is wrong with what is asked for; nothing was written.
        NoRoomError: the disk was full for too long; the same call goes on.
    """
    options = options_of(
        stream,
        scenario,
        target,
        scores,
        trials=trials,
        seeds=seeds,
        splits=splits,
        objective=objective,
        data=data,
        download=download,
        pack=pack,
        args=args,
        encoder=encoder,
        trainer=trainer,
    )
    where = Workers(workers, address, gpus_per_worker, insecure)
    endurance = endurance_of(where, retries, patience_s, hang_after_s)
    outcome, place = begun(
        space,
        options,
        settings or {},
        out,
        where,
        Calls(progress),
        endurance=endurance,
        accept_changes=accept_changes,
    )
    return Sweep(place, outcome.interrupted, outcome.out_of_time)


def resume(
    folder: str | Path,
    *,
    more_trials: int = 0,
    seeds: int | None = None,
    workers: int | None = None,
    gpus_per_worker: float | None = None,
    address: str | None = None,
    insecure: bool = False,
    retries: int = 0,
    patience_s: float = 600.0,
    hang_after_s: float | None = None,
    progress: Progress | None = None,
    stream: str | Path | None = None,
    data: str | Path | None = None,
    accept_changes: bool = False,
) -> Sweep:
    """The sweep in `folder` once it has gone on: with `more_trials`, and with `seeds` in all for every trial that was
    not stopped. With `retries`, runs that have failed are trained again; the others are as of `sweep`. Data of one's
    own may lie at `stream` by now, and data sets in `data`. With `accept_changes` it goes on although what it stands on
    has changed, which `study.yaml` notes.

    Raises:
        InputError: there is no sweep, it has more seeds, or what it stands on has changed.
        NoRoomError: the disk was full for too long.
    """
    repeatable()
    from cfsweep.sweeping import study

    where = Workers(workers, address, gpus_per_worker, insecure)
    place = (None if stream is None else str(stream), None if data is None else str(data))
    endurance = endurance_of(where, retries, patience_s, hang_after_s)
    with written_in(folder) as here:
        outcome = study.resume(
            here, more_trials, seeds, where, Calls(progress), endurance, *place, accept_changes=accept_changes
        )
    return Sweep(folder, outcome.interrupted, outcome.out_of_time)


def options_of(
    stream: str | Path | None,
    scenario: str | None,
    target: str | None,
    scores: str | Sequence[str] | None,
    *,
    trials: int | None = None,
    seeds: int | None = None,
    splits: int | None = None,
    objective: str | None = None,
    data: str | Path | None = None,
    download: bool = False,
    pack: int | str | None = None,
    args: Mapping[str, Any] | None = None,
    encoder: str | None = None,
    trainer: str | None = None,
) -> dict[str, Any]:
    """The options by their places in a study."""
    return {
        "stream.name": None if stream is None else str(stream),
        "stream.args": dict(args) if args else None,
        "stream.scenario": scenario,
        "stream.target": target,
        "stream.scores": [scores] if isinstance(scores, str) else scores,
        "stream.data": None if data is None else str(data),
        "stream.download": download or None,
        "objective.name": objective,
        "trials": trials,
        "seeds": seeds,
        "stream.splits": splits,
        "pack_runs": pack,
        "stream.encoder": encoder,
        "space.trainer": trainer,
    }


def described(
    space: Space, options: Mapping[str, Any], settings: Settings, out: str | Path | None
) -> tuple[Prepared, Path]:
    """The study that is asked for, checked, and its folder on this machine.

    Raises:
        InputError: anything is wrong with it.
    """
    from cfsweep.sweeping.folder import Folder
    from cfsweep.sweeping.parsing import make_config
    from cfsweep.sweeping.study import prepare, standardised_as_in

    source, name = space_of(space)
    config = make_config(source, options, settings)
    folder = Path("runs") / f"{name}-{_file_name(config.stream.name)}" if out is None else Path(out)
    where = str(source) if isinstance(source, Path) else "space"
    given = "settings" if isinstance(settings, Mapping) else "--set"
    there = Folder(folder)
    begun = there.read()[1] if config.space.trainer is not None and there.exists() else None
    where = f"{where} with {given}" if settings else where
    return prepare(standardised_as_in(folder, config), where, begun), folder


def begun(
    space: Space,
    options: Mapping[str, Any],
    settings: Settings,
    out: str | Path | None,
    workers: Workers,
    watcher: Watcher,
    announce: Callable[[Prepared, Path, str | Path], object] = lambda prepared, folder, place: None,
    endurance: Endurance = USUAL,
    accept_changes: bool = False,
) -> tuple[Outcome, str | Path]:
    """How the sweep ended, and its place: its folder, or its address. Before anything is trained `announce` is told of
    the study, of the folder of this machine in which it is written, and of its place."""
    repeatable()
    announced = False

    def begin(scheduler: Scheduler, asked_for: tuple[Prepared, Path]) -> tuple[Outcome, str | Path]:
        from cfsweep.sweeping import study

        nonlocal announced
        prepared, folder = asked_for
        place = folder if out is None else out
        if not announced:
            announce(prepared, folder, place)
        announced = True
        return study.begin(prepared, folder, scheduler, watcher, endurance, accept_changes=accept_changes), place

    with nullcontext() if out is None else written_in(out) as here:
        return on_schedulers(workers, lambda: described(space, options, settings, here), begin)


def _file_name(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in Path(name).name)


@dataclass(frozen=True)
class Sweep:
    """A results folder, local or remote, looked at; `Sweep("runs/demo")` opens one.

    A notebook shows its front as a picture and a table. `interrupted`: the user ended it; `out_of_time`: its time
    budget did. What is read is read anew each time, so it may still be written to.
    """

    folder: str | Path
    interrupted: bool = False
    out_of_time: bool = False

    @property
    def status(self) -> Status:
        """How far it is, and why runs failed."""
        from cfsweep.results.status import status

        return status(self.folder)

    @property
    def trials(self) -> pd.DataFrame:
        """One row per trial and reference: settings, and means over seeds on validation data (`analysis.trials`)."""
        import analysis

        return analysis.trials(analysis.load(self.folder))

    @property
    def front(self) -> Front:
        """The trials that none dominates, in the sweep's own objectives (`analysis.front`)."""
        import analysis

        runs = analysis.load(self.folder)
        about = analysis.study(self.folder)
        return analysis.front(analysis.trials(runs), about.front_objectives, runs, about.score_bounds)

    def select(
        self, rule: str = "average_score", *, at_least: float | None = None, replace: bool = False
    ) -> dict[str, Any]:
        """The trial that `rule` chooses on validation data, put on record (`analysis.select`)."""
        import analysis

        return analysis.select(self.folder, rule, at_least, replace)

    def confirm(self, trials: str | Sequence[int] = "selected", seeds: int = 5, **others: Any) -> Confirmed:
        """These trials, trained once more with fresh seeds and tested (`cfsweep.confirm`)."""
        from cfsweep.library.models import confirm

        return confirm(self.folder, trials, seeds, **others)

    def gate(
        self,
        *,
        min_average_score: float | None = None,
        min_stability: float | None = None,
        min_plasticity: float | None = None,
        beats: str | None = None,
        margin: float = 0.0,
    ) -> Gate:
        """Whether the chosen trial is good enough on validation data (`analysis.gate`)."""
        from cfsweep.library.gates import gate_of_study

        return gate_of_study(self.folder, min_average_score, min_stability, min_plasticity, beats, margin)

    def report(self, out: Path | None = None) -> str | Path:
        """Where the HTML report was written (`analysis.report`)."""
        import analysis

        return analysis.report(self.folder, out)

    def __repr__(self) -> str:
        now = self.status
        state = "complete" if now.complete else "running" if now.running else f"`{now.goes_on_by}` goes on"
        counts = f"{now.done} done, {now.stopped} stopped, {now.failed} failed"
        return f"Sweep {now.study_id} in {self.folder}: {now.ended} of {now.trials} trials, {counts}; {state}"

    def _repr_html_(self) -> str:
        """For a notebook: the state, the picture of the front, and its table."""
        import analysis
        from analysis.description import shown_settings
        from analysis.reporting.picture import drawn, svg
        from analysis.reporting.tables import listed, table_cells

        said, found = f"<p>{escape(repr(self))}</p>", self.front
        if not len(found.table):
            return said + "".join(f"<p>{escape(note)}</p>" for note in found.notes)
        about = analysis.study(self.folder)
        heads, rows = table_cells(found, listed(found), shown_settings(about, self.trials))
        return said + svg(drawn(found, len(about.tasks))) + html_table(heads, rows)
