"""A score of one's own: a function by import path."""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np

from cfsweep.errors import InputError, first_line
from cfsweep.training.plugins import contained, current_folder_importable, imported
from cfsweep.training.targets._base import Score
from cfsweep.training.targets._scores import INFINITY, Values, by_row


def own_score(path: str, where: str) -> Score:
    """The score that the function at `path`, `package.module:function`, gives, called by its name.

    The function takes the labels and the answers of the n examples of a task, as NumPy arrays, and returns a number,
    the higher the better, or NaN where there is none. The answers are predictions, or, where the function has an
    attribute `by_probability = True`, probabilities (n, k) of the active outputs; a label is the place of its output
    among these then. An attribute `bounds = (low, high)` says between what its values lie.

    Raises:
        InputError: there is no such function, or it takes something else.
    """
    with current_folder_importable():
        function = imported(path, where)
    try:
        inspect.signature(function).bind(None, None)
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: it is called with (labels, answers), but these do not fit ({error}).") from error
    bounds = getattr(function, "bounds", (-INFINITY, INFINITY))
    if not (isinstance(bounds, tuple) and len(bounds) == 2 and bounds[0] < bounds[1]):
        raise InputError(f"{where}: its `bounds` must be a pair (low, high), but are {bounds!r}. Change them.")

    def of_one(labels: Values, answers: Values) -> float:
        try:
            with contained():
                found: Any = function(labels, answers)
                value = float(found)
        except Exception as error:  # the user's function may raise anything
            raise InputError(f"{where}: it failed ({first_line(error)}). Call it to see more.") from error
        if math.isinf(value) or not (np.isnan(value) or bounds[0] <= value <= bounds[1]):
            raise InputError(f"{where}: it must lie within {bounds} or be NaN, but is {value:g}. Change `bounds`.")
        return value

    name = path.rpartition(":")[2].rpartition(".")[2]
    by_probability = bool(getattr(function, "by_probability", False))
    return Score(name, by_row(of_one), bounds, by_probability, "the function gives NaN")
