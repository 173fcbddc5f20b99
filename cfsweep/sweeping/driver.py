"""What drives a sweep: asks for trials, hands out packs, takes reports, stops losers, writes results.

A scheduler calls `next_pack`, `take_result` and `on_pack_failure`, and `tick` between them. The driver is the only
writer of the journal and of Parquet. The results of up to `COMMIT_EVERY_S` are written together: to Parquet first, to
the journal then. What a kill leaves unwritten is trained again from the last checkpoint of its pack.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from cfsweep.config import StudyConfig
from cfsweep.errors import InputError, few
from cfsweep.hypers import Hyper
from cfsweep.results.opening import open_ledger
from cfsweep.results.schema import DEFAULT_TRIAL, model_path
from cfsweep.results.writer import PendingRows
from cfsweep.sweeping.asker import Asker
from cfsweep.sweeping.broker import Short
from cfsweep.sweeping.equal_trials import EqualTrials
from cfsweep.sweeping.folder import Folder
from cfsweep.sweeping.pack_queue import Key, PackJob, PackQueue
from cfsweep.sweeping.packing import pack_runs, trials_per_pack
from cfsweep.sweeping.resuming import pick_up
from cfsweep.sweeping.room import room_for
from cfsweep.sweeping.rows import Ended, StudyTables, objective_values
from cfsweep.sweeping.scheduler import USUAL, Endurance
from cfsweep.sweeping.stopping import stopper_for
from cfsweep.sweeping.trials import Trial, TrialBook
from cfsweep.sweeping.worker import TaskResult
from cfsweep.training.constant_answer import ConstantAnswer
from cfsweep.training.spec import Counts, PackReport, RunRecord, RunSpec, score_rows
from cfsweep.training.targets import Score

COMMIT_EVERY_S = 1.0
LOOK_FOR_ROOM_EVERY_S = 5.0
LISTEN_EVERY = 0.1  # of the time after which a worker is taken for one that hangs
HAND_ON_SHARE = 0.05  # of the driver's time, for reading the results that equal trials are handed
ASKED_AT_ONCE = 256  # trials, where all that come are equal to others, before it looks up again
MAX_DEATHS = 3  # of a pack's workers without progress; then its runs are tried one by one, and at last given up


class Driver:
    """One sweep over one folder.

    `n_examples` are the numbers of validation and test examples per task; `pack_size` the most runs in a pack;
    `constant` are the scores of the constant answer on each split of the data where the study has the reference
    `majority`, else none; `now()` gives seconds. The scheduler may set `drop(pack_id, keys)`, called for runs that have
    lost, `close(pack_id)`, called when a pack is over, `n_saved(pack_id)`, which gives the number of checkpoints that a
    pack has left so far, `short_of_room()`, which says what checkpoints and models found the disk full, and
    `end_silent(after_s)`, which kills the workers of whom nothing was heard for so long, and says how many.
    """

    def __init__(
        self,
        folder: Folder,
        config: StudyConfig,
        hypers: dict[str, Hyper],
        asker: Asker,
        scores: Sequence[Score],
        n_examples: Counts,
        workers: int,
        pack_size: int,
        constant: Sequence[ConstantAnswer] = (),
        endurance: Endurance = USUAL,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder, self.config, self.hypers, self.asker = folder, config, hypers, asker
        self.scores, self.n_examples, self.n_tasks = scores, n_examples, len(n_examples["validation"])
        self.workers, self.pack_size, self.constant, self.now = workers, pack_size, constant, now
        self.drop: Callable[[str, set[Key]], None] = lambda pack_id, keys: None
        self.close: Callable[[str], None] = lambda pack_id: None
        self.n_saved: Callable[[str], int] = lambda pack_id: 0
        self.short_of_room: Callable[[], Short] = Short
        self.end_silent: Callable[[float], int] = lambda after_s: 0
        self.looked_at = self.listened_at = now()
        self.endurance, self.n_tries = endurance, Counter[Key]()  # of runs that have failed
        self.started = now()
        self.committed_at, self.writing = now(), False
        self.tables = StudyTables(config, hypers, [score.name for score in scores], scores[0].bounds)
        self.ledger = open_ledger(folder.root, config.study_id)
        self.rows = PendingRows(folder.root, self.tables.schemas, self.ledger)
        self.equal, self.hand_on_at = EqualTrials(self.tables), now()
        self.attempt = 1  # of runs that have no row
        self.stopper = stopper_for(config, n_examples["validation"], scores[0], asker)
        self.book = TrialBook(config, asker)
        self.packs = PackQueue(folder, lambda pack_id: self.close(pack_id))
        self.interrupted = False
        self.refused: InputError | None = None  # why nothing more may be trained; it counts as interrupted then
        pick_up(self)

    # ------------------------------------------------------------------ the scheduler's side

    @property
    def out_of_time(self) -> bool:
        budget = self.config.time_budget_s
        return budget is not None and self.now() - self.started >= budget

    @property
    def complete(self) -> bool:
        """The whole budget of trials, and the references, have ended."""
        on_their_way = self.packs.in_flight or self.packs.waiting or self.equal.waiting
        return not on_their_way and self.asker.n_asked >= self.config.trials

    @property
    def finished(self) -> bool:
        """The user has interrupted it; or nothing is on its way, and nothing more is to be handed out."""
        return self.interrupted or (not self.packs.in_flight and (self.out_of_time or self.complete))

    def next_pack(self) -> PackJob | None:
        """The next pack to train, or None if there is none now."""
        if self.interrupted or self.out_of_time:
            return None
        at_most = self.asker.n_asked + ASKED_AT_ONCE
        while not self.packs.waiting and self.asker.n_asked < at_most and self._ask():
            pass
        if not self.packs.in_flight:
            self.commit()  # perhaps all that was asked for has been trained before
        if not self.packs.waiting:
            return None
        return self.packs.hand_out()

    def tick(self) -> None:
        """What can be done while the workers train: asks for as many packs as are about to be over, and writes."""
        ends = self.interrupted or self.out_of_time
        while not ends and len(self.packs.waiting) < len(self.packs.last_task) and self._ask():
            pass
        if ends or self.now() - self.committed_at >= COMMIT_EVERY_S:
            self.commit()
        if self.now() - self.looked_at >= LOOK_FOR_ROOM_EVERY_S:
            short, self.looked_at = self.short_of_room(), self.now()
            self.book.n_unsaved = short.n_checkpoints
            if short.bytes_waiting:  # of models, with which their worker waits
                room_for(self.folder.checkpoints, short.bytes_waiting)
        hang_after = self.endurance.hang_after_s
        if hang_after is not None and self.now() - self.listened_at >= hang_after * LISTEN_EVERY:
            self.book.n_hung += self.end_silent(hang_after)
            self.listened_at = self.now()

    def commit(self) -> None:
        """Writes the results taken in: Parquet first, then the ends of trials. Then hands them on to equal trials."""
        self._write()
        ready = [first for first in self.equal.waiting if first not in self.book.trials or self.book[first].reported]
        if ready and (not self.packs.in_flight or self.now() >= self.hand_on_at):
            began = self.now()
            self._hand_on(ready)
            self._write()
            self.hand_on_at = self.now() + (self.now() - began) / HAND_ON_SHARE

    def _write(self) -> None:
        if not (self.packs.over or self.rows.part or self.asker.pending):
            return
        self.writing = True  # until all of it is done
        self.asker.flush()
        self.rows.write()
        self.asker.release()
        self.packs.forget_over()
        self.committed_at, self.writing = self.now(), False

    @contextmanager
    def kept_at_the_end(self) -> Iterator[None]:
        """Within it the workers train. Whatever ends that, an error or the user's second Ctrl-C, what was finished is
        written; not what was being written when it came."""
        try:
            yield
        except (Exception, KeyboardInterrupt):
            if not self.writing:
                self.commit()
            raise

    def _hand_on(self, firsts: Iterable[int]) -> None:
        """Gives the trials that wait for one of these the rows of that one, and their end; where it failed, the next of
        them is trained."""
        failed = {n for n in firsts if n in self.book.trials and "failed" in self.book[n].states.values()}
        for first in failed:
            self.enqueue_trials(self.equal.after_failure(first))
        pairs = self.equal.pop(first for first in firsts if first not in failed)
        if not pairs:
            return
        tables = self.equal.rows(self.folder.root, pairs, self.attempt)
        self.rows.add(f"{self.packs.new_id()}-equal", tables)
        for row in tables["runs"]:
            self.book.load(row)
        for _, trial in pairs:
            self.book.report_end(trial)

    def ended_runs(self, job: PackJob) -> set[Key]:
        """The runs of a pack that is handed out again which are not to be trained on."""
        return {run.key for run in job.spec.runs if self.book.has_ended(run)} | job.gone

    def take_result(self, result: TaskResult) -> None:
        """Takes in what came of a task of a pack."""
        if result.altered:
            self.refused = InputError(
                f"{self.folder.root}: {few(result.altered)} changed while the sweep ran, and a worker that began since "
                "would run what is there now. Bring it back as it was; `cfsweep resume` goes on."
            )
            self.interrupted = True
            return
        self.book.n_damaged += result.began_anew
        if result.report is not None:
            self.take_report(result.pack_id, result.report)
        else:
            self.on_pack_failure(result.pack_id, result.error, died=False, out_of_memory=result.out_of_memory)

    def take_report(self, pack_id: str, report: PackReport) -> None:
        """Takes in what a pack says. What is known already is passed over, so a report may come twice."""
        job = self.packs.in_flight.get(pack_id)
        if job is None:
            return
        ended: list[Ended] = []
        touched: dict[int, Trial] = {}
        for record in report.records:
            trial = self.book.trials.get(record.trial)
            if trial is None or trial.reported or record.seed in trial.states or record.key in job.gone:
                continue
            touched[trial.number] = trial
            before = trial.records.get(record.seed)
            if record.tasks_done == report.task + 1 > (before.tasks_done if before else 0):
                self.book.n_tasks_trained += 1
            trial.records[record.seed] = record
            if record.failure is not None:
                ended.append(self._fail(trial, record, job))
            elif record.tasks_done == self.n_tasks and trial.was == "stopped":
                ended.append(self._end(trial, record, "stopped", job))
            elif record.tasks_done == self.n_tasks:
                if "validation" in self.config.parts:
                    self.book.finish(trial, record.seed, objective_values(record, report, self.config.objective))
                ended.append(self._end(trial, record, "done", job))
        for trial in touched.values():
            if self.should_stop_trial(trial) or self._was_dropped(trial, report):
                ended += [self._end(trial, record, "stopped", job) for record in trial.running]
        self._drop({run.record.key for run in ended if run.state == "stopped"})
        self.take_in(f"{pack_id}-a{job.attempt}-t{report.task}", report, ended)
        if len(self.ended_runs(job)) == len(job.spec.runs):
            self.packs.pop(pack_id)
            self.packs.over.append(pack_id)
        elif report.task == self.n_tasks - 2:
            self.packs.last_task.add(pack_id)
        if not self.packs.in_flight:
            self.commit()

    def on_pack_failure(self, pack_id: str, reason: str, died: bool, out_of_memory: bool = False) -> None:
        """A pack failed: its worker `died`, or its code raised, perhaps because it was `out_of_memory`.

        A dead worker's pack goes on from its last checkpoint, until `MAX_DEATHS` have died without a new one. A pack
        that raises, or dies too often, is split into packs of one run, so that one bad run cannot take its neighbours
        with it; a run alone fails with the reason. A pack that was too large for its worker's memory is halved, and
        none that is made later is larger than its halves.
        """
        if self.interrupted:  # it stays on its way: a resumed sweep goes on with it
            return
        job = self.packs.pop(pack_id)
        if job is None:
            return
        self.book.n_deaths += died
        if died:
            saved = self.n_saved(pack_id)
            job = replace(job, deaths=1 if saved > job.saved else job.deaths + 1, saved=saved)
            if job.deaths < MAX_DEATHS:
                self.packs.again(job)
                return
            reason = f"{reason} {MAX_DEATHS} times without progress"
        ended_here = self.ended_runs(job)
        left = [run for run in job.spec.runs if run.key not in ended_here]
        if out_of_memory and len(left) > 1:
            self.packs.forget(pack_id)
            half = -(-len(left) // 2)
            self.pack_size = min(self.pack_size, half)
            halves = (tuple(left[:half]), tuple(left[half:]))
            self.packs.add([replace(job.spec, runs=runs) for runs in halves], attempt=job.attempt + 1)
            return
        if out_of_memory:
            reason = f"a run alone does not fit into its worker's memory ({reason}). Take a smaller network or batch."
        elif len(job.spec.runs) > 1:
            self.packs.forget(pack_id)
            # A later attempt than all that went before, whose rows a kill may have left without their run.
            self.packs.add([replace(job.spec, runs=(run,)) for run in left], attempt=job.attempt + 1)
            return
        for run in left:
            trial = self.book[run.trial]
            record = replace(trial.records.get(run.seed) or RunRecord(run.trial, run.seed), failure=reason)
            part = f"{pack_id}-a{job.attempt}-failed"
            report = PackReport.of_failure(record, self.n_examples)
            self.take_in(part, report, [self._fail(trial, record, job)])
        self.packs.over.append(pack_id)
        if not self.packs.in_flight:
            self.commit()

    # ------------------------------------------------------------------ asking

    def _ask(self) -> bool:
        """Asks for the trials of a pack, if any are left to ask for; not while as many wait for the results of others
        as runs are trained, from which the sampler is to learn."""
        remaining = self.config.trials - self.asker.n_asked
        if remaining <= 0 or (self.packs.in_flight and self.equal.n_waiting >= len(self.packs.pack_of)):
            return False
        seeds_of_a_split = -(-self.config.seeds // self.config.stream.splits)
        wanted = trials_per_pack(self.pack_size, seeds_of_a_split, remaining, self.workers)
        self.enqueue_trials(self.book.ask(min(wanted, remaining)))
        return True

    def enqueue_trials(
        self, trials: Iterable[Trial], on_their_way: AbstractSet[Key] = frozenset(), attempt: int = 1
    ) -> None:
        """Has the runs of these trials wait for a worker, but those that are on their way or have ended, and those of a
        trial that is equal to an earlier one."""
        begun = {trial for trial, _ in on_their_way}
        trials = [t for t in trials if self.equal.admit(t, begun=t.number in begun)]
        runs = [RunSpec(t.number, seed, t.values) for t in trials for seed in self.config.seed_numbers]
        open_runs = [run for run in runs if run.key not in on_their_way and not self.book.has_ended(run)]
        self.packs.add(pack_runs(self.config, self.hypers, open_runs, self.pack_size), attempt)

    # ------------------------------------------------------------------ ending runs

    def _end(self, trial: Trial, record: RunRecord, state: str, job: PackJob) -> Ended:
        trial.states[record.seed] = state
        return self._ended(state, trial, record, job)

    def _ended(self, state: str, trial: Trial, record: RunRecord, job: PackJob) -> Ended:
        return Ended(state, record, job.spec.method, job.spec.ingredients, trial.values, job.attempt, job.started_at)

    def _fail(self, trial: Trial, record: RunRecord, job: PackJob) -> Ended:
        """A run has failed. It is tried again as often as the user has asked for: each attempt has its row, of which
        the latest one counts."""
        if self.n_tries[record.key] == self.endurance.retries:
            return self._end(trial, record, "failed", job)
        self.n_tries[record.key] += 1
        job.gone.add(record.key)
        trial.records.pop(record.seed, None)
        runs = tuple(run for run in job.spec.runs if run.key == record.key)
        self.packs.add([replace(job.spec, runs=runs)], attempt=job.attempt + 1)
        return self._ended("failed", trial, record, job)

    def should_stop_trial(self, trial: Trial) -> bool:
        """Looks at every task that all seeds of the trial have finished since last time; the default never loses."""
        if not trial.proposed or trial.reported or trial.number == DEFAULT_TRIAL or self.stopper is None:
            return False
        if not trial.running or len(trial.records) < self.config.seeds or "failed" in trial.states.values():
            return False
        loses, done = False, min(record.tasks_done for record in trial.records.values())
        seen = [score_rows(trial.records[seed].validation, self.n_tasks) for seed in sorted(trial.records)]
        matrix = np.mean([rows[1 : done + 1] for rows in seen], axis=0)
        for rung in range(trial.rung + 1, done):
            loses = self.stopper.loses(trial.number, rung, matrix[: rung + 1])
            trial.rung = rung
        return loses

    def _was_dropped(self, trial: Trial, report: PackReport) -> bool:
        """Whether the pack is done and yet has a run of the trial that goes on: a driver before this one stopped it,
        and was killed before it wrote so."""
        here = {record.key for record in report.records}
        return report.done and any(record.key in here for record in trial.running)

    def _drop(self, keys: set[Key]) -> None:
        """Has these runs trained no further. Those that are queued are left out when their pack is handed out."""
        for pack_id, here in self.packs.of_runs(keys).items():
            self.drop(pack_id, here)

    def take_in(self, part: str, report: PackReport, ended: list[Ended]) -> None:
        """Tells the asker at once, so that its next answer knows; the files are for `commit`."""
        if not ended:
            return
        models = (
            [model_path(self.folder.root, run.record.key) for run in ended] if self.config.purpose != "sweep" else []
        )
        self.rows.add(part, self.tables.rows(report, ended), [path for path in models if path.exists()])
        for number in {run.record.trial for run in ended}:
            self.book.report_end(self.book[number])
