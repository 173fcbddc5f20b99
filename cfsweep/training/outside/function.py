"""What a function of the user's must be to train the runs of a sweep, and how it is called."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

from cfsweep.errors import InputError
from cfsweep.hypers import Value
from cfsweep.training.plugins import current_folder_importable, imported

State = Path | bytes | None
Scores = Sequence[float] | Mapping[str, Sequence[float] | Mapping[str, float]]


class TrainFunction(Protocol):
    """Trains one task of one run.

    Its four arguments are given by place:

    - `settings`: the trial's settings by name, all that the space fixes and searches; a dict of its own in each call.
    - `seed`: of the run. All randomness is to come from it and from `task`: the same call gives the same answer.
    - `task`: the number of the task to train, from 0.
    - `state`: what the call for the task before has returned, None at task 0. A folder is a copy for this call, which
      may be changed and returned, and is removed after the call.

    It returns `(scores, state)`:

    - `scores`: after this task, on each of the T tasks, later ones too: numbers within the bounds of the study's score
      (accuracy, in [0, 1], unless `--score` names another), the higher the better. A list of T numbers,
      of validation data; or a mapping, with `validation` and, which `cfsweep confirm` needs, `test`, and perhaps the
      numbers of examples that they are of, `n_validation` and `n_test`. Each of the four is a list of T numbers, or a
      mapping from the names of the tasks, in their order, to the numbers.
    - `state`: all that the next call needs: bytes, or a folder (a `pathlib.Path`), whose files are copied. None is for
      the last task alone.

    Whatever it raises ends this run, which is then `failed` with the reason.
    """

    def __call__(self, settings: dict[str, Value], seed: int, task: int, state: State, /) -> tuple[Scores, State]: ...


def function_at(path: str) -> TrainFunction:
    """The function at `package.module:function`, looked up in the current folder, too.

    Raises:
        InputError: there is none, or it does not take four arguments.
    """
    where = f"trainer `{path}`"
    with current_folder_importable():
        found = imported(path, where)
    try:
        inspect.signature(found).bind({}, 0, 0, None)
    except TypeError as error:
        raise InputError(
            f"{where}: it is called with (settings, seed, task, state), but takes {inspect.signature(found)}. "
            "Give it these four arguments."
        ) from error
    except ValueError:  # a builtin without a signature; the first call will tell
        pass
    return cast(TrainFunction, found)


def called(function: TrainFunction, settings: Mapping[str, Value], seed: int, task: int, state: State) -> Any:
    """What the function returns, whatever that is.

    Raises:
        Exception: whatever the function raises.
        RuntimeError: it has asked Python to exit, as scripts do.
    """
    with current_folder_importable():
        try:
            return function(dict(settings), seed, task, state)
        except SystemExit as error:
            raise RuntimeError(f"the trainer ended by sys.exit({error.code!r})") from error
