"""The tables of a results folder as data frames: null where a value is missing, never NaN."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from analysis.description import Root, study
from analysis.fill_missing import fill_missing
from cfsweep.errors import InputError
from cfsweep.metrics import METRICS
from cfsweep.results.reader import read_table
from cfsweep.results.schema import runs_schema

_NULLABLE = {
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.float64(): pd.Float64Dtype(),
    pa.string(): pd.StringDtype(),
}


def load(root: Root) -> pd.DataFrame:
    """The run table: one row per run (trial x seed), its latest attempt, sorted by trial and seed.

    `root` is a folder or a URI such as `s3://bucket/folder`; the study may be unfinished. Columns are those of `runs/`
    and `val_intransigence`; dtypes are pandas' nullable ones. A missing value is `pd.NA`, its reason is in `missing`.

    Raises:
        InputError: `root` holds no study, a part of it cannot be read, or it holds runs of another study.
    """
    about = study(root)
    rows = read_table(root, "runs", study_id=about.study_id)
    if not rows.num_columns:
        kinds = {setting.name: setting.kind for setting in about.settings}
        rows = runs_schema(kinds, about.objectives, [metric.name for metric in METRICS]).empty_table()
    return fill_missing(frame(rows.sort_by([("trial", "ascending"), ("seed", "ascending")])))


def table_of(root: Root, name: str) -> pd.DataFrame:
    """A table of the study in `root`, but `runs`, as a data frame.

    Raises:
        InputError: `root` holds no study, a part of it cannot be read, or is of another study.
    """
    return frame(read_table(root, name, study_id=study(root).study_id))


def frame(rows: pa.Table) -> pd.DataFrame:
    """`rows` with nullable dtypes, and null in place of NaN.

    A missing value is null in the files of cfsweep. A NaN that another writer left there would count as a value, so it
    is replaced here, where every table passes.

    >>> frame(pa.table({"x": [1.0, float("nan"), None]}))["x"].isna().tolist()
    [False, True, True]
    """
    for position, column in enumerate(rows.schema):
        if pa.types.is_floating(column.type):
            values = rows.column(position)
            clean = pc.if_else(pc.is_nan(values), pa.scalar(None, column.type), values)
            rows = rows.set_column(position, column, clean)
    result: pd.DataFrame = rows.to_pandas(types_mapper=_NULLABLE.get)
    return result


def score_matrix(root: Root, trial: int, seed: int | None = None) -> NDArray[np.float64]:
    """Validation scores of `trial`, (T+1, T): row 0 is the untrained network, row t+1 is after task t. They are those
    of the score that steers the study: accuracy, in [0, 1], unless it names another one.

    Without `seed`, the mean over the trial's seeds. A cell that some seed lacks (its run ended early) is NaN, and so is
    one where the score has no value.

    Raises:
        InputError: no such trial, or no such seed of it.

    References:
        Lopez-Paz & Ranzato 2017, "Gradient Episodic Memory for Continual Learning", sec. 2.
    """
    return matrix_of(table_of(root, "accuracy"), trial, seed, study(root).score)


def matrix_of(rows: pd.DataFrame, trial: int, seed: int | None = None, score: str = "accuracy") -> NDArray[np.float64]:
    """`score_matrix` from rows of `accuracy/` or `test/` that were read before, in which `score` is a column."""
    chosen = rows[rows["trial"] == trial]
    if seed is not None:
        chosen = chosen[chosen["seed"] == seed]
    if chosen.empty:
        which = f"trial {trial}" + (f" with seed {seed}" if seed is not None else "")
        raise InputError(f"no scores of {which} in this study. `analysis.load` lists its trials and seeds.")
    n_tasks = int(chosen["eval_task"].max()) + 1
    seeds = sorted(set(chosen["seed"].tolist()))
    cube = np.full((len(seeds), n_tasks + 1, n_tasks), np.nan)
    place = chosen["seed"].map({value: index for index, value in enumerate(seeds)}).to_numpy(dtype=int)
    after = chosen["after_task"].to_numpy(dtype=int) + 1
    cube[place, after, chosen["eval_task"].to_numpy(dtype=int)] = numbers(chosen[score])
    mean: NDArray[np.float64] = cube.mean(axis=0)
    return mean


def curves(root: Root) -> pd.DataFrame:
    """Validation scores during training, long (trial, seed, task, step, eval_task, and the score that steers, by its
    name); may be empty."""
    return table_of(root, "curves")


def buffers(root: Root) -> pd.DataFrame:
    """What was kept for rehearsal, long (trial, seed, ingredient, after_task, task, class, n_examples); may be empty.

    One row for each class of each task of which the ingredient kept examples when `after_task` had ended. Folders
    written before there was such a table have none.
    """
    return table_of(root, "buffers")


def numbers(column: pd.Series) -> NDArray[np.float64]:
    """`column` as plain floats with NaN for null: for arithmetic inside a function, never for a result."""
    return column.to_numpy(dtype=np.float64, na_value=np.nan)
