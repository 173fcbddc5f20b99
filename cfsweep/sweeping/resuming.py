"""How a driver begins: with what an earlier one left, and with what takes no training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cfsweep.errors import InputError
from cfsweep.results.addresses import in_command
from cfsweep.results.schema import MAJORITY, MAJORITY_TRIAL
from cfsweep.sweeping.pack_queue import Key, PackJob
from cfsweep.sweeping.references import majority_report, reference_packs
from cfsweep.sweeping.rows import FRONT_AXES, Ended
from cfsweep.sweeping.stopping import ended_matrices
from cfsweep.sweeping.two_records import Settings, disagreement, settings_of_packs, settings_of_rows
from cfsweep.sweeping.written import Written, read_written
from cfsweep.training.spec import PackReport, PackSpec, RunRecord, RunSpec, method_of_space

if TYPE_CHECKING:
    from cfsweep.sweeping.driver import Driver


def pick_up(driver: Driver) -> None:
    """Takes up what an earlier driver left: runs written but not told, packs on their way, trials not begun, and runs
    that have ended, but whose rows are gone."""
    config, book, packs = driver.config, driver.book, driver.packs
    references = _references(driver)
    written = _written(driver)
    driver.attempt = attempt = max(written.next_attempt, driver.ledger.ledger.next_attempt)
    lost = book.take_up_lost(row["trial"] for row in written.rows)
    _refuse_contradictions(driver, settings_of_rows(written.rows, config.space.search))
    for row in sorted(written.rows, key=lambda row: int(row["trial"])):
        book.load(row)
        driver.equal.know(row)
    if driver.stopper is not None:
        repeats = {row["trial"] for row in written.rows if row.get("same_as") is not None}  # not judged themselves
        matrices = ended_matrices(driver.folder.root, config.as_begun.seeds, driver.scores[0].name)
        driver.stopper.take_in((number, matrix) for number, matrix in matrices if number not in repeats)
    _refuse_contradictions(driver, settings_of_packs((spec for _, spec, _ in packs.files.saved()), config.space.search))

    def left_of(job: PackJob) -> set[Key]:
        before = job.attempt - 1
        job.gone.update(run.key for run in job.spec.runs if written.again.get(run.key, 0) >= before)
        return {run.key for run in job.spec.runs} - driver.ended_runs(job)

    on_their_way = packs.take_up(left_of)
    _end_without_training(driver, on_their_way, written.rows)
    _end_majority(driver)
    for trial in book:
        book.report_end(trial)
    driver.commit()
    for spec in references:
        left = tuple(r for r in spec.runs if r.key not in on_their_way and not book.has_ended(r))
        packs.add([replace(spec, runs=left)] if left else [], attempt)
    left_over = [*lost, *(trial for trial in book if trial.proposed)]
    driver.enqueue_trials((trial for trial in left_over if not trial.reported), on_their_way, attempt)
    trained = {(row["trial"], row["seed"]) for row in written.rows if row["trial"] != MAJORITY_TRIAL}
    n_runs = config.trials * config.seeds + sum(len(spec.runs) for spec in references)
    book.n_runs_before, book.n_runs_going_on = len(trained), len(on_their_way)
    book.n_tasks_at_most = driver.n_tasks * max(0, n_runs - len(trained))


def _refuse_contradictions(driver: Driver, known: Mapping[int, Settings]) -> None:
    """Holds the settings of trials that were trained against those that were asked for.

    Raises:
        InputError: a trial was not asked for, or with other settings.
    """
    book, asker = driver.book, driver.asker
    ended = asker.ended([number for number in known if number in asker.numbers and number not in book.trials])
    asked = {t.number: t.values for t in book if t.number in known} | {p.number: p.values for p in ended}
    apart, root = disagreement(asked, known), driver.folder.root
    if apart.contradictions:
        raise InputError(
            f"{root}: the journal and what was trained contradict one another: {apart.contradictions[0]}. "
            f"`cfsweep repair {in_command(root)}` sets right what is damaged."
        )
    if apart.lacking:
        raise InputError(
            f"{driver.folder.journal}: it ends before trial {apart.lacking[0]}, which was trained, so it is an older "
            f"one, or cut. Bring back the one of these runs, or `cfsweep repair {in_command(root)}` makes it anew of "
            "them."
        )


def _references(driver: Driver) -> list[PackSpec]:
    """The packs of the references that are trained; the book knows all of them from now on."""
    found: list[PackSpec] = []
    if driver.config.references:
        folder, config = driver.folder, driver.config
        found = reference_packs(config, folder.reference_settings(), folder.references(config), driver.pack_size)
    for spec in found:
        for run in spec.runs:
            driver.book.add_reference(run)
    if driver.constant:
        driver.book.add_reference(RunSpec(MAJORITY_TRIAL, 0, {}))
    return found


def _written(driver: Driver) -> Written:
    """What the folder holds of runs that have ended."""
    objectives = [f"objective_{name}" for name in driver.config.objective.names]
    settings = [f"hp_{name}" for name in driver.hypers]
    columns = [*("state", "config_hash", "same_as"), *settings, *(f"val_{n}" for n in FRONT_AXES), *objectives]
    return read_written(
        driver.folder.root, driver.config.study_id, columns, driver.config.parts, driver.endurance.retries > 0
    )


def _end_without_training(driver: Driver, on_their_way: AbstractSet[Key], rows: Iterable[Mapping[str, Any]]) -> None:
    """Ends the runs with which stopped trials would grow to the seeds that the study has now."""
    added = [(t, seed) for t, seed in driver.book.added_to_stopped(rows) if (t.number, seed) not in on_their_way]
    part, ingredients = f"{driver.packs.new_id()}-stopped" if added else "", driver.config.space.ingredients
    for trial, seed in added:
        record, trial.states[seed] = RunRecord(trial.number, seed), "stopped"
        now, method = datetime.now(UTC), method_of_space(driver.config.space)
        ended = Ended("stopped", record, method, ingredients, trial.values, driver.attempt, now)
        driver.take_in(part, PackReport.of_failure(record, driver.n_examples), [ended])


def _end_majority(driver: Driver) -> None:
    """Ends the runs of the reference `majority`, one for each seed of the study, which take no training."""
    if not driver.constant:
        return
    trial, now = driver.book[MAJORITY_TRIAL], datetime.now(UTC)
    left = [seed for seed in driver.config.seed_numbers if seed not in trial.states]
    report = majority_report(driver.constant, left, driver.n_examples)
    trial.states.update(dict.fromkeys(left, "done"))
    ended = [Ended("done", record, MAJORITY, (), {}, driver.attempt, now) for record in report.records]
    driver.take_in(f"{driver.packs.new_id()}-{MAJORITY}" if left else "", report, ended)
