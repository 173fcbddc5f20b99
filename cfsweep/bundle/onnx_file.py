"""`model.onnx` of a bundle: the program as onnxruntime runs it, held against the program before anyone gets it."""

from __future__ import annotations

import importlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cfsweep.bundle.program import Program
from cfsweep.errors import InputError, first_line
from cfsweep.training.pack import Pack

if TYPE_CHECKING:
    from torch.onnx import ONNXProgram

ONNX = "model.onnx"
PACKAGES = ("onnx", "onnxscript", "onnxruntime")  # imported where they are needed, and only there
INPUTS = ("x", "task")  # the second one only where it must be told
ROUNDING = 1e-4  # of the largest output, or of 1 where that is more
N_CHECKED = 32  # examples of each task


def refuse_without_packages() -> None:
    """
    Raises:
        InputError: a package that writes or runs ONNX cannot be imported.
    """
    for name in PACKAGES:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise InputError(
                f'--onnx: package `{name}` is needed ({first_line(error)}). `pip install "cfsweep[onnx]"` brings it.'
            ) from error


def save_onnx(program: Program, pack: Pack, path: Path) -> None:
    """Writes the `program` of a `pack` as ONNX, for one example or more, and holds onnxruntime's outputs for real
    examples against the program's: where these are the same, so are the labels, unless two outputs tie within rounding.

    `x` and, where it must be told, `task` go in; `outputs` come out. One file of ONNX may hold 2 GB: above 1.5
    GB torch puts the weights beside it, in `model.onnx.data`.

    Raises:
        InputError: ONNX lacks what the network does, onnxruntime cannot run it, or its outputs are others.
    """
    with _quiet():
        written = _converted(program, pack)
        written.save(path)
        check_answers(program, pack, path)


def check_answers(program: Program, pack: Pack, path: Path) -> None:
    """Holds the ONNX file at `path` against the `program` of a `pack`, on up to `N_CHECKED` examples of each task.

    Raises:
        InputError: onnxruntime cannot run it, or its outputs are others by more than `ROUNDING`.
    """
    questions = [(task, question) for task in range(len(pack.stream.tasks)) for question in _asked(program, pack, task)]
    try:
        found = _answers(path, [question for _, question in questions])
    except Exception as error:  # onnxruntime's own have no base of their own
        raise _cannot(pack, "be run by onnxruntime", error) from error
    for (task, question), outputs in zip(questions, found, strict=True):
        expected = program(*question).numpy()
        allowed = ROUNDING * max(1.0, float(np.abs(expected[np.isfinite(expected)]).max(initial=0.0)))
        if not (distance := apart(outputs, expected)) <= allowed:
            raise InputError(
                f"--onnx: for {len(question[0])} examples of task `{pack.stream.tasks[task].name}` onnxruntime's "
                f"outputs must be those of the program within {allowed:.2g}, but are {distance:.2g} apart. Leave "
                "--onnx out; model.pt2 is right."
            )


def apart(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """The largest difference between two arrays of outputs, which must be infinite, or no numbers, in the same places.

    >>> outputs = np.array([1.0, -np.inf])
    >>> apart(outputs + 0.5, outputs), apart(np.array([1.0, 2.0]), outputs), apart(np.zeros(1), np.zeros(2))
    (0.5, inf, inf)
    """
    if found.shape != expected.shape:
        return float("inf")
    same = np.isclose(found, expected, rtol=0, atol=0, equal_nan=True)
    return float(np.abs(np.where(same, 0, found) - np.where(same, 0, expected)).max(initial=0.0))


def _asked(program: Program, pack: Pack, task: int) -> list[tuple[Tensor, ...]]:
    """One example of the task, and up to `N_CHECKED`. Of a task that was learned elsewhere there may be none at hand:
    those of the last one ask for its weights as well."""
    stream = pack.stream
    parts = (np.concatenate(list(stream.tasks[number].parts.values())) for number in (task, -1))
    x = stream.x[torch.from_numpy(next(part for part in parts if len(part))[:N_CHECKED])]
    return [(some, torch.tensor(task)) if program.needs_task else (some,) for some in (x[:1], x)]


def _answers(path: Path, questions: Sequence[tuple[Tensor, ...]]) -> list[NDArray[Any]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # more would be bound to cores that a container may not have, with complaints
    options.log_severity_level = 3  # errors alone
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return [session.run(None, dict(zip(INPUTS, map(Tensor.numpy, parts), strict=False)))[0] for parts in questions]


def _converted(program: Program, pack: Pack) -> ONNXProgram:
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    traced = program.traced(pack)
    shapes = ({0: "n"}, None) if program.needs_task else ({0: "n"},)
    try:
        written = torch.onnx.export(
            traced,
            dynamo=True,
            verbose=False,
            input_names=INPUTS[: len(shapes)],
            output_names=("outputs",),
            dynamic_shapes=shapes,
        )
    except Exception as error:  # beside torch.onnx's own, anything that its parts raise
        raise _cannot(pack, "be written as ONNX", error) from error
    assert written is not None
    ClearMetadataAndDocStringPass()(written.model)  # stack traces, with the paths of this machine
    return written


def _cannot(pack: Pack, what: str, error: BaseException) -> InputError:
    """With the first cause: torch.onnx says last what was wrong, and before it what one may do as its author."""
    while error.__cause__ is not None:
        error = error.__cause__
    said = first_line(error).split(". ")[0].rstrip(".")
    return InputError(f"--onnx: network `{pack.spec.network.name}` cannot {what} ({said}). Leave --onnx out.")


@contextmanager
def _quiet() -> Iterator[None]:
    """Where all that torch.onnx and what it calls have to say is dropped; the errors are raised."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
