"""The Optuna study behind a sweep, in a journal file that survives a crash of its writer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import optuna

from cfsweep.config import StudyConfig
from cfsweep.errors import InputError, first_line
from cfsweep.files import read_bounded
from cfsweep.hypers import Hyper
from cfsweep.sweeping.search.lines import BrokenJournal
from cfsweep.sweeping.search.pruner import RunningMedian
from cfsweep.sweeping.search.sampler import BoundedTPE
from cfsweep.sweeping.search.storage import Journal
from cfsweep.sweeping.stopping import STARTUP_TRIALS as TRIALS_BEFORE_STOPPING
from cfsweep.sweeping.suggest import default_params

STARTUP_TRIALS = 10  # TPE draws at random until so many trials have finished


def open_study(journal: Path, config: StudyConfig, hypers: Mapping[str, Hyper]) -> optuna.Study:
    """The study in `journal`, made if it is not there; its first trial has the defaults of the `hypers`."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if journal.exists():
        repair(journal)
    study = optuna.create_study(
        storage=opened_journal(journal),
        study_name=config.study_id,
        directions=list(config.objective.directions),
        sampler=_sampler(config, n_past=0),
        pruner=RunningMedian(n_startup_trials=TRIALS_BEFORE_STOPPING),
        load_if_exists=True,
    )
    study.sampler = _sampler(config, n_past=len(study.get_trials(deepcopy=False)))
    if not study.get_trials(deepcopy=False):
        study.enqueue_trial(default_params(config.space, hypers))
    return study


def opened_journal(journal: Path) -> Journal:
    """The storage in a file, which is made if it is not there.

    Raises:
        InputError: a line of it is damaged.
    """
    try:
        return Journal(journal)
    except (InputError, OSError):
        raise
    except Exception as error:  # whatever Optuna makes of an operation that nobody has written
        raise BrokenJournal(journal, f"it is damaged ({first_line(error)})") from error


def _sampler(config: StudyConfig, n_past: int) -> BoundedTPE:
    # A resumed sampler must not draw the same random numbers again, so its seed moves on with the study.
    return BoundedTPE(seed=(config.sampler_seed * 1_000_003 + n_past) % 2**32, n_startup_trials=STARTUP_TRIALS)


def repair(journal: Path) -> None:
    """Cuts a torn last line, which a killed writer may leave, and removes its lock.

    A torn line would break every later opening, and a stale lock costs half a minute. The caller holds the folder's
    own lock, so no other driver is writing.
    """
    content = read_bounded(journal)
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with journal.open("r+b") as file:
            file.truncate(whole)
    for lock in journal.parent.glob(f"{journal.name}.lock*"):  # also what Optuna renames it to when it lets go
        lock.unlink(missing_ok=True)
