"""How a bundle answers in MLflow, which keeps this file beside it and runs it where the model is loaded ("models from
code"): nothing is pickled, and cfsweep must be there."""

from __future__ import annotations

from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from numpy.typing import NDArray

from cfsweep.bundle import load
from cfsweep.errors import InputError, few


class Served(PythonModel):
    """The model of a bundle."""

    def load_context(self, context: PythonModelContext) -> None:
        self.model = load(context.artifacts["bundle"])

    # `model_input` may be a table or lists, too; the annotation is one that MLflow leaves alone.
    def predict(
        self,
        context: PythonModelContext,
        model_input: np.ndarray,
        params: dict[str, Any] | None = None,
    ) -> list[int | str | None]:
        """The label of each raw example (n,), as the user calls it; `params` may hold the `task`."""
        return self.model.predict(examples_of(model_input, self.model.about.features), (params or {}).get("task"))


def examples_of(given: Any, features: tuple[str, ...]) -> NDArray[np.generic]:
    """The examples (n, ...) of an array, of nested lists, or of a table: its columns by name where the model knows
    their names, else as they come.

    Raises:
        InputError: the table lacks a column.
    """
    if not isinstance(given, pd.DataFrame):
        return np.asarray(given)
    missing = [name for name in features if name not in given.columns]
    if missing:
        raise InputError(f"model: the table must have the columns of the data, but lacks {few(missing)}. Add them.")
    return (given[list(features)] if features else given).to_numpy(np.float32)


mlflow.models.set_model(Served())
