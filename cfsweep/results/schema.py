"""What the Parquet tables of a results folder hold.

`runs/` has one row per run; `accuracy/` and `test/` hold the score matrices in long form, with a column for each score
that is measured; `curves/` holds the validation scores during training, of the score that steers; `buffers/` says
which examples were kept for rehearsal. A missing value is null, and `missing` says why.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa

SCHEMA_VERSION = 2
# Columns of version 1, when accuracy was the only score, by what they are called now.
RENAMED = {
    "val_average_accuracy": "val_average_score",
    "val_average_incremental_accuracy": "val_average_incremental_score",
    "val_accuracy_over_time": "val_score_over_time",
    "val_average_minimum_accuracy": "val_average_minimum_score",
    "val_worst_case_accuracy": "val_worst_case_score",
}
METADATA = {b"cfsweep_schema_version": str(SCHEMA_VERSION).encode()}

# The references are runs without an Optuna trial; with the default settings they carry these numbers in the `trial`
# column, naive and joint with others -3, -5 ... and -4, -6 ..., which never come near that of majority.
NAIVE, JOINT, MAJORITY = "naive", "joint", "majority"
TRIALS_PER_SETTING = 6
WORKER_DIED = "the worker died"  # how the `failure` of a run begins that was given up for that
NAIVE_TRIAL, JOINT_TRIAL, DEFAULT_TRIAL, MAJORITY_TRIAL = -1, -2, 0, -1000

TABLES = ("runs", "accuracy", "test", "curves", "buffers")
MODELS = "models"
TABLE_OF = {"validation": "accuracy", "test": "test"}  # by what scores a run

_HYPER_TYPES = {"float": pa.float64(), "int": pa.int64(), "choice": pa.string()}


def reference_trial(method: str, k: int = 0) -> int:
    """The number of the reference `method` (`naive` or `joint`) with the k-th of its settings.

    >>> [reference_trial(method, k) for k in range(2) for method in ("naive", "joint")]
    [-1, -2, -3, -4]
    """
    return (NAIVE_TRIAL if method == NAIVE else JOINT_TRIAL) - 2 * k


def n_reference_settings(known: int, trials: int) -> int:
    """With how many of the `known` settings each reference is trained beside so many trials: one for each
    `TRIALS_PER_SETTING`, so that the references do not outweigh the trials.

    >>> [n_reference_settings(4, trials) for trials in (1, 12, 48)]
    [1, 2, 4]
    """
    return max(1, min(known, trials // TRIALS_PER_SETTING))


def reference_method(trial: int) -> str | None:
    """Which reference has this number; None for a trial.

    >>> [reference_method(trial) for trial in (0, -1, -2, -5, -1000)]
    [None, 'naive', 'joint', 'naive', 'majority']
    """
    if trial >= 0:
        return None
    return MAJORITY if trial == MAJORITY_TRIAL else NAIVE if trial % 2 else JOINT


def _schema(fields: Iterable[tuple[str, pa.DataType]]) -> pa.Schema:
    return pa.schema([pa.field(name, kind) for name, kind in fields], metadata=METADATA)


def runs_schema(hypers: Mapping[str, str], objectives: Iterable[str], metrics: Iterable[str]) -> pa.Schema:
    """The schema of `runs/`: `hypers` maps each hyperparameter to its kind (`float`, `int`, `choice`).

    `method` names the trial's ingredients joined by `+`, or `naive`, `joint` or `majority`. `missing` is a JSON object
    from the name of a null column to the reason, or null. A setting (`hp_`) that could not act is null too: that of an
    ingredient that is off, say. `config_hash` is equal for trials that differ in such settings alone; only the first of
    them is trained, and `same_as` of the others names the trial whose results theirs are.

    `train_s` are the seconds that training the run's weights took: their share of the pack that they were trained in,
    all weights in training there sharing its seconds evenly. A first task that runs share counts in full for each of
    them, wherever and whenever it was trained. So it is a cost of the method, which does not depend on who else made
    use of it; and the seconds of all runs may add up to more than the sweep took.
    """
    return _schema(
        [
            ("study_id", pa.string()),
            ("trial", pa.int32()),
            ("seed", pa.int32()),
            ("config_hash", pa.string()),
            ("same_as", pa.int32()),
            ("method", pa.string()),
            ("scenario", pa.string()),
            ("stream", pa.string()),
            ("state", pa.string()),
            *((f"hp_{name}", _HYPER_TYPES[kind]) for name, kind in hypers.items()),
            *((f"objective_{name}", pa.float64()) for name in objectives),
            *((f"val_{name}", pa.float64()) for name in metrics),
            ("missing", pa.string()),
            ("tasks_done", pa.int32()),
            ("train_s", pa.float64()),
            ("steps", pa.int64()),
            ("peak_bytes", pa.int64()),
            ("stored_bytes", pa.int64()),
            ("n_parameters", pa.int64()),
            ("fisher_convention", pa.string()),
            ("penalty_convention", pa.string()),
            ("started_at", pa.timestamp("us", tz="UTC")),
            ("host", pa.string()),
            ("device", pa.string()),
            ("attempt", pa.int32()),
            ("failure", pa.string()),
        ]
    )


def scores_schema(scores: Iterable[str]) -> pa.Schema:
    """The schema of `accuracy/` (validation) and `test/`, with a column for each of the `scores` of the study's target.

    after_task -1 is the untrained network; eval_task counts from 0.
    """
    return _schema(
        [
            ("study_id", pa.string()),
            ("trial", pa.int32()),
            ("seed", pa.int32()),
            ("attempt", pa.int32()),
            ("after_task", pa.int32()),
            ("eval_task", pa.int32()),
            *((score, pa.float64()) for score in scores),
            ("n_examples", pa.int64()),
        ]
    )


def curves_schema(scores: Iterable[str]) -> pa.Schema:
    """The schema of `curves/`: validation scores on eval_task after `step` steps of `task`."""
    return _schema(
        [
            ("study_id", pa.string()),
            ("trial", pa.int32()),
            ("seed", pa.int32()),
            ("attempt", pa.int32()),
            ("task", pa.int32()),
            ("step", pa.int64()),
            ("eval_task", pa.int32()),
            *((score, pa.float64()) for score in scores),
        ]
    )


# Of the target `classification`.
ACCURACY_SCHEMA, CURVES_SCHEMA = scores_schema(("accuracy",)), curves_schema(("accuracy",))

# `buffers/`: how many examples of `task` that are of `class` the ingredient keeps after `after_task`; none, no row.
BUFFERS_SCHEMA = _schema(
    [
        ("study_id", pa.string()),
        ("trial", pa.int32()),
        ("seed", pa.int32()),
        ("attempt", pa.int32()),
        ("ingredient", pa.string()),
        ("after_task", pa.int32()),
        ("task", pa.int32()),
        ("class", pa.int32()),
        ("n_examples", pa.int64()),
    ]
)


def model_path(root: Path, key: tuple[int, int]) -> Path:
    """Where in the results folder `root` the model of a run, by trial and seed, lies, if the study keeps models.

    >>> model_path(Path("confirmed"), (7, 10000)).as_posix()
    'confirmed/models/trial7-seed10000.pt'
    """
    return root / MODELS / f"trial{key[0]}-seed{key[1]}.pt"
