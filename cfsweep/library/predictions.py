"""The rows of a table, or the images of a folder, answered by a bundle's model, as a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cfsweep.errors import InputError, unknown
from cfsweep.files import write_atomically
from cfsweep.library.repeatable import repeatable

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray
    from torch import Tensor

    from cfsweep.bundle import Model

SUFFIXES = (".csv", ".parquet")


def predict(bundle: str | Path, table: str | Path, to: str | Path, *, task: str | None = None) -> pd.DataFrame:
    """What the model of a bundle answers to each row of the raw table in a file, in its order, or to each image in a
    folder and those within it, in natural order; written as `to`, too.

    The column `prediction` has the label or the amount; with classes `probability=LABEL` says how likely each label is.
    Of images, `file` before it is the path in the folder. The table has the columns that the model was trained on, and
    may have more; images, PNG or JPEG, are read as the bundle's were. `to` is a new .csv or .parquet file. `task` is
    the name of the task that all are of, where the model must be told.

    Raises:
        InputError: there is no bundle, or one that was trained on neither table nor images; table or images do not fit;
            the task is missing or unknown; or `to` exists or is to be of another kind.
    """
    repeatable()
    from cfsweep.bundle import load

    path = Path(to)
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"--to {to}: a {' or '.join(SUFFIXES)} file is written. Call it so.")
    if path.exists():
        raise InputError(f"--to {to}: it exists. Choose another file, or remove it.")
    model = load(bundle)
    number = _number(model, task)
    if model.preprocessing is not None:
        found = _answers(model, model.features(table, number), number)
    elif model.about.image_shape is not None:
        found = _of_images(model, Path(table), number)
    else:
        raise InputError(
            f"{bundle}: it was trained neither on a table nor on images. Ask it about arrays from Python, "
            "`cfsweep.load(...).predict(x)`."
        )
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


def _of_images(model: Model, folder: Path, task: int | None) -> pd.DataFrame:
    """Those of the images in a folder, a block at a time, so that they need not fit into memory."""
    import pandas as pd

    from cfsweep.training.streams import pixels_below

    if not folder.is_dir():
        raise InputError(f"{folder}: the model was trained on images, so a folder of images is needed. Name one.")
    assert model.about.image_shape is not None
    found = []
    for files, pixels in pixels_below(folder, model.about.image_shape, model.about.stream_config.args):
        answers = _answers(model, model.features(pixels, task), task)
        answers.insert(0, "file", files)
        found.append(answers)
    return pd.concat(found, ignore_index=True)


def _answers(model: Model, x: Tensor | NDArray[np.generic], task: int | None) -> pd.DataFrame:
    import pandas as pd

    found = pd.DataFrame({"prediction": model.predict(x, task, encoded=True)})
    if not model.target.has_classes:
        return found
    return found.join(model.probabilities(x, task, encoded=True).add_prefix("probability="))
