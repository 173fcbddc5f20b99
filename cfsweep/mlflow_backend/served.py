"""How a bundle answers in MLflow, which keeps this file beside it and runs it where the model is loaded ("models from
code"): nothing is pickled, and cfsweep must be there."""

from __future__ import annotations

from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from cfsweep.bundle import load
from cfsweep.training.plugins import trusting


class Served(PythonModel):
    """The model of a bundle."""

    def load_context(self, context: PythonModelContext) -> None:
        with trusting():  # whoever loads from MLflow runs this file, too
            self.model = load(context.artifacts["bundle"])

    # `model_input` may be a table or lists, too; the annotation is one that MLflow leaves alone.
    def predict(
        self,
        context: PythonModelContext,
        model_input: np.ndarray,
        params: dict[str, Any] | None = None,
    ) -> list[int | str | None]:
        """The label of each raw example (n,), as the user calls it; `params` may hold the `task`."""
        given: Any = model_input
        examples = given if isinstance(given, pd.DataFrame) else np.asarray(given)
        return self.model.predict(examples, (params or {}).get("task"))


mlflow.models.set_model(Served())
