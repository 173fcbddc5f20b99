"""The rows of a table, answered by a bundle's model, as a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cfsweep.errors import InputError, unknown
from cfsweep.files import write_atomically
from cfsweep.library.repeatable import repeatable

if TYPE_CHECKING:
    import pandas as pd

    from cfsweep.bundle import Model

SUFFIXES = (".csv", ".parquet")


def predict(bundle: str | Path, table: str | Path, to: str | Path, *, task: str | None = None) -> pd.DataFrame:
    """What the model of a bundle answers to each row of the raw table in a file, in its order; written as `to`, too.

    The column `prediction` has the label or the amount; with classes `probability=LABEL` says how likely each label is.
    The table has the columns that the model was trained on, and may have more; `to` is a new .csv or .parquet file.
    `task` is the name of the task that all rows are of, where the model must be told.

    Raises:
        InputError: there is no bundle, or one that was trained on no table; the table does not fit; the task is missing
            or unknown; or `to` exists or is to be of another kind.
    """
    repeatable()
    from cfsweep.bundle import load

    path = Path(to)
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"--to {to}: a {' or '.join(SUFFIXES)} file is written. Call it so.")
    if path.exists():
        raise InputError(f"--to {to}: it exists. Choose another file, or remove it.")
    model = load(bundle)
    if model.preprocessing is None:
        raise InputError(
            f"{bundle}: it was not trained on a table. Ask it about arrays from Python, `cfsweep.load(...).predict(x)`."
        )
    found = _answers(model, table, _number(model, task))
    if path.suffix.lower() == ".csv":
        write_atomically(path, lambda file: found.to_csv(file, index=False))
    else:
        write_atomically(path, lambda file: found.to_parquet(file, index=False))
    return found


def _number(model: Model, task: str | None) -> int | None:
    names = model.about.task_names
    if task is None or task in names:
        return None if task is None else names.index(task)
    raise unknown("--task", "task", task, names)


def _answers(model: Model, table: str | Path, task: int | None) -> pd.DataFrame:
    import pandas as pd

    x = model.features(table, task)
    found = pd.DataFrame({"prediction": model.predict(x, task, encoded=True)})
    if not model.target.has_classes:
        return found
    return found.join(model.probabilities(x, task, encoded=True).add_prefix("probability="))
