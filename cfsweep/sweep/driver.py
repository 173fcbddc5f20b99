"""What drives a sweep: asks Optuna, hands out packs, takes reports, stops losers, writes results.

It knows nothing of Ray: a scheduler calls `next_pack`, `take_report` and `lose`, and `tick` between them. It is the
only writer of the journal and of Parquet. The results of up to `COMMIT_EVERY_S` are written together: to Parquet first,
to the journal then. What a kill leaves unwritten is trained again from the last checkpoint of its pack.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import numpy as np
import optuna

from cfsweep.config import StudyConfig
from cfsweep.hypers import Hyper
from cfsweep.results.reader import read_table
from cfsweep.results.schema import DEFAULT_TRIAL
from cfsweep.results.writer import Batch
from cfsweep.sweep.folder import Folder
from cfsweep.sweep.pack_files import PackFiles
from cfsweep.sweep.packing import pack_runs, reference_packs, trials_per_pack
from cfsweep.sweep.rows import PLANE, Ended, objective_values, schemas, tables
from cfsweep.sweep.stopping import ended_matrices, stopper_for
from cfsweep.sweep.trials import Trial, TrialBook
from cfsweep.training.spec import PackReport, PackSpec, RunRecord, RunSpec, accuracy_rows

Key = tuple[int, int]
COMMIT_EVERY_S = 1.0
MAX_DEATHS = 3  # of a pack's workers; then its runs are tried one by one, and at last given up


@dataclass
class Issued:
    """A pack on its way: what it is, which attempt, how many workers died under it in this session, when it began."""

    pack_id: str
    spec: PackSpec
    attempt: int = 1
    deaths: int = 0
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))


class Driver:
    """One sweep over one folder.

    `counts` are the numbers of validation and test examples per task; `pack_size` the most runs in a pack;
    `now()` gives seconds. The scheduler may set `drop(pack_id, keys)`, called for runs that have lost, and
    `close(pack_id)`, called when a pack is over.
    """

    def __init__(
        self,
        folder: Folder,
        config: StudyConfig,
        hypers: dict[str, Hyper],
        study: optuna.Study,
        counts: dict[str, list[int]],
        workers: int,
        pack_size: int,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder, self.config, self.hypers, self.counts = folder, config, hypers, counts
        self.workers, self.pack_size, self.now = workers, pack_size, now
        self.drop: Callable[[str, set[Key]], None] = lambda pack_id, keys: None
        self.close: Callable[[str], None] = lambda pack_id: None
        self.started = now()
        self.committed_at = now()
        self.schemas = schemas(config, hypers)
        self.batch, self.files = Batch(folder.root, self.schemas), PackFiles(folder)
        self.stopper = stopper_for(config.objective, counts["validation"]) if config.early_stopping else None
        self.book = TrialBook(config, hypers, study)
        self.queue: list[Issued] = []
        self.in_flight: dict[str, Issued] = {}
        self.pack_of: dict[Key, str] = {}  # of the runs in flight
        self.last_task: set[str] = set()  # the packs in flight that train it
        self.over: list[str] = []  # packs to forget once their results are written
        self.n_packs = self.files.first_free()
        self.interrupted = False
        self._pick_up()

    # ------------------------------------------------------------------ the scheduler's side

    @property
    def out_of_time(self) -> bool:
        budget = self.config.time_budget_s
        return budget is not None and self.now() - self.started >= budget

    @property
    def complete(self) -> bool:
        """The whole budget of trials, and the references, have ended."""
        return not self.in_flight and not self.queue and self.book.n_asked >= self.config.trials

    @property
    def finished(self) -> bool:
        """Nothing is on its way, and nothing more is to be handed out."""
        return not self.in_flight and (self.interrupted or self.out_of_time or self.complete)

    def next_pack(self) -> Issued | None:
        """The next pack to train, or None if there is none now."""
        if self.interrupted or self.out_of_time:
            return None
        if not self.queue:
            self._ask()
        if not self.queue:
            return None
        issued = replace(self.queue.pop(0), started_at=datetime.now(UTC))
        self.files.save(issued.pack_id, issued.spec, issued.attempt)
        self.in_flight[issued.pack_id] = issued
        self.pack_of.update((run.key, issued.pack_id) for run in issued.spec.runs)
        return issued

    def tick(self) -> None:
        """What can be done while the workers train: asks for as many packs as are about to be over, and writes."""
        ends = self.interrupted or self.out_of_time
        while not ends and len(self.queue) < len(self.last_task) and self.book.n_asked < self.config.trials:
            self._ask()
        if ends or self.now() - self.committed_at >= COMMIT_EVERY_S:
            self.commit()

    def commit(self) -> None:
        """Writes the results taken in: Parquet first, `runs` last of it, so that a run is there once its row is."""
        if not (self.over or self.batch.part or self.book.journal.pending):
            return
        self.book.journal.flush()
        self.batch.write()
        self.book.journal.release()
        for pack_id in self.over:
            self._forget(pack_id)
        self.over.clear()
        self.committed_at = self.now()

    def ended_runs(self, issued: Issued) -> set[Key]:
        """The runs of a pack that is issued again which are not to be trained on."""
        return {run.key for run in issued.spec.runs if self.book.has_ended(run)}

    def take_report(self, pack_id: str, report: PackReport) -> None:
        """Takes in what a pack says. What is known already is passed over, so a report may come twice."""
        issued = self.in_flight.get(pack_id)
        if issued is None:
            return
        ended: list[Ended] = []
        touched: dict[int, Trial] = {}
        for record in report.records:
            trial = self.book.trials.get(record.trial)
            if trial is None or trial.told or record.seed in trial.states:
                continue
            touched[trial.number] = trial
            trial.records[record.seed] = record
            if record.failure is not None:
                ended.append(self._end(trial, record, "failed", issued))
            elif record.tasks_done == len(self.counts["validation"]):
                self.book.finish(trial, record.seed, objective_values(record, report, self.config.objective))
                ended.append(self._end(trial, record, "done", issued))
        for trial in touched.values():
            if self._loses(trial) or self._was_dropped(trial, report):
                ended += [self._end(trial, record, "stopped", issued) for record in trial.running]
        self._drop({run.record.key for run in ended if run.state == "stopped"})
        self._take_in(f"{pack_id}-a{issued.attempt}-t{report.task}", report, ended)
        if all(self.book.has_ended(run) for run in issued.spec.runs):
            self._land(pack_id)
            self.over.append(pack_id)
        elif report.task == len(self.counts["validation"]) - 2:
            self.last_task.add(pack_id)
        if not self.in_flight:
            self.commit()

    def lose(self, pack_id: str, reason: str, died: bool, out_of_memory: bool = False) -> None:
        """A pack came to grief: its worker `died`, or its code raised, perhaps because it was `out_of_memory`.

        A dead worker's pack goes on from its last checkpoint, until it has died `MAX_DEATHS` times. A pack that raises,
        or dies too often, is split into packs of one run, so that one bad run cannot take its neighbours with it; a
        run alone fails with the reason. A pack that was too large for its worker's memory is halved, and no later one
        is larger than its halves.
        """
        issued = self._land(pack_id)
        if issued is None or self.interrupted:
            return
        deaths = issued.deaths + died
        if died and deaths < MAX_DEATHS:
            self.queue.insert(0, replace(issued, attempt=issued.attempt + 1, deaths=deaths))
            return
        left = [run for run in issued.spec.runs if not self.book.has_ended(run)]
        if out_of_memory and len(left) > 1:
            self._forget(pack_id)
            half = -(-len(left) // 2)
            self.pack_size = min(self.pack_size, half)
            halves = (tuple(left[:half]), tuple(left[half:]))
            self._enqueue([replace(issued.spec, runs=runs) for runs in halves], attempt=issued.attempt + 1)
            return
        if out_of_memory:
            reason = f"a run alone does not fit into its worker's memory ({reason}). Take a smaller network or batch."
        elif len(issued.spec.runs) > 1:
            self._forget(pack_id)
            # A later attempt than all that went before, whose rows a kill may have left without their run.
            self._enqueue([replace(issued.spec, runs=(run,)) for run in left], attempt=issued.attempt + 1)
            return
        for run in left:
            trial = self.book[run.trial]
            record = replace(trial.records.get(run.seed) or RunRecord(run.trial, run.seed), failure=reason)
            part = f"{pack_id}-a{issued.attempt}-failed"
            self._take_in(
                part, PackReport.of_failure(record, self.counts), [self._end(trial, record, "failed", issued)]
            )
        self.over.append(pack_id)
        if not self.in_flight:
            self.commit()

    # ------------------------------------------------------------------ asking

    def _ask(self) -> None:
        remaining = self.config.trials - self.book.n_asked
        if remaining > 0:
            wanted = trials_per_pack(self.pack_size, self.config.seeds, remaining, self.workers)
            self._enqueue_trials(self.book.ask(min(wanted, remaining)))

    def _enqueue_trials(self, trials: Iterable[Trial], on_their_way: AbstractSet[Key] = frozenset()) -> None:
        runs = [RunSpec(t.number, seed, t.values) for t in trials for seed in range(self.config.seeds)]
        open_runs = [run for run in runs if run.key not in on_their_way and not self.book.has_ended(run)]
        self._enqueue(pack_runs(self.config, self.hypers, open_runs, self.pack_size))

    def _enqueue(self, specs: Iterable[PackSpec], attempt: int = 1) -> None:
        for spec in specs:
            self.queue.append(Issued(f"pack{self.n_packs:06d}", spec, attempt))
            self.n_packs += 1

    # ------------------------------------------------------------------ resuming

    def _pick_up(self) -> None:
        """Takes up what an earlier driver left: runs written but not told, packs on their way, trials not begun."""
        references = reference_packs(self.config, self.pack_size) if self.config.references else []
        for spec in references:
            for run in spec.runs:
                self.book.add_reference(run)
        names = ["state", *(f"val_{name}" for name in PLANE), *(f"objective_{n}" for n in self.config.objective.names)]
        for row in read_table(self.folder.root, "runs", names).to_pylist():
            self.book.load(row)
        if self.stopper is not None:
            self.stopper.recall(ended_matrices(self.folder.root, self.config.seeds))
        for trial in self.book:
            self.book.tell(trial)
        self.book.journal.release()
        on_their_way = self._pick_up_packs()
        for spec in references:
            left = tuple(r for r in spec.runs if r.key not in on_their_way and not self.book.has_ended(r))
            self._enqueue([replace(spec, runs=left)] if left else [])
        self._enqueue_trials((t for t in self.book if t.asked is not None), on_their_way)

    def _pick_up_packs(self) -> set[Key]:
        """Queues the packs that an earlier driver had on their way; returns their runs that have not ended."""
        found: set[Key] = set()
        for pack_id, spec, attempt in self.files.saved():
            issued = Issued(pack_id, spec, attempt + 1)
            left = {run.key for run in issued.spec.runs} - self.ended_runs(issued)
            if left:
                self.queue.append(issued)
            else:
                self._forget(pack_id)
            found |= left
        return found

    # ------------------------------------------------------------------ ending runs

    def _end(self, trial: Trial, record: RunRecord, state: str, issued: Issued) -> Ended:
        trial.states[record.seed] = state
        return Ended(state, record, issued.spec.method, trial.values, issued.attempt, issued.started_at)

    def _loses(self, trial: Trial) -> bool:
        """Looks at every task that all seeds of the trial have finished since last time; the default never loses."""
        if trial.asked is None or trial.number == DEFAULT_TRIAL or self.stopper is None:
            return False
        if not trial.running or len(trial.records) < self.config.seeds or "failed" in trial.states.values():
            return False
        loses, done = False, min(record.tasks_done for record in trial.records.values())
        seen = [
            accuracy_rows(trial.records[seed].validation, self.counts["validation"]) for seed in sorted(trial.records)
        ]
        matrix = np.mean([rows[1 : done + 1] for rows in seen], axis=0)
        for rung in range(trial.rung + 1, done):
            loses = self.stopper.stops(trial.asked, rung, matrix[: rung + 1])
            trial.rung = rung
        return loses

    def _was_dropped(self, trial: Trial, report: PackReport) -> bool:
        """Whether the pack is done and yet has a run of the trial that goes on: a driver before this one stopped it,
        and was killed before it wrote so."""
        here = {record.key for record in report.records}
        return report.done and any(record.key in here for record in trial.running)

    def _drop(self, keys: set[Key]) -> None:
        by_pack: dict[str, set[Key]] = {}
        for key in keys:
            by_pack.setdefault(self.pack_of[key], set()).add(key)
        for pack_id, here in by_pack.items():
            self.drop(pack_id, here)

    def _take_in(self, part: str, report: PackReport, ended: list[Ended]) -> None:
        """Tells the study at once, so that the next answer of Optuna knows; the files are for `commit`."""
        if not ended:
            return
        self.batch.add(part, tables(self.config, report, ended))
        for number in {run.record.trial for run in ended}:
            self.book.tell(self.book[number])

    def _land(self, pack_id: str) -> Issued | None:
        """Takes the pack out of those in flight."""
        issued = self.in_flight.pop(pack_id, None)
        self.last_task.discard(pack_id)
        for run in issued.spec.runs if issued else ():
            self.pack_of.pop(run.key, None)
        return issued

    def _forget(self, pack_id: str) -> None:
        self.close(pack_id)
        self.files.remove(pack_id)
