"""What a pack is to train, and what it reports; plain data that can travel between machines."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfsweep.config import PARTS, NetworkConfig, Scenario, Space
from cfsweep.hypers import Value
from cfsweep.training.ingredients import ingredient_class

Counts = dict[str, list[int | None]]  # of examples, by part and task; None: a trainer from outside does not say


def method_of_space(space: Space) -> str:
    """What the trials of a space are called: by their ingredients, or by the trainer from outside.

    >>> method_of_space(Space(trainer="my_package.my_file:train"))
    'my_package.my_file:train'
    """
    return space.trainer or method_of(space.ingredients)


def method_of(ingredients: Iterable[str]) -> str:
    """What a trial with these ingredients is called."""
    return "+".join(ingredient_class(name).name for name in ingredients) or "naive"


@dataclass(frozen=True)
class RunSpec:
    """One run: a trial's hyperparameters (all of its set, by name) and a seed."""

    trial: int
    seed: int
    values: dict[str, Value]

    @property
    def key(self) -> tuple[int, int]:
        return (self.trial, self.seed)

    @property
    def numbers(self) -> dict[str, float]:
        """The values that are numbers."""
        return {name: float(value) for name, value in self.values.items() if not isinstance(value, str)}


@dataclass(frozen=True)
class PackSpec:
    """Runs that share their static settings and the stream's split of the number `split`. `joint` trains on the data of
    all tasks so far; `parts` are the examples that score a run: `validation`, `test`. `keep_models`: what a run has
    come to is wanted when it is done. `trainer` trains from outside, one run, without `network` and `ingredients`."""

    network: NetworkConfig
    scenario: Scenario
    ingredients: tuple[str, ...]
    runs: tuple[RunSpec, ...]
    joint: bool = False
    curve_points_per_task: int = 0
    split: int = 0
    parts: tuple[str, ...] = PARTS
    keep_models: bool = False
    trainer: str | None = None

    @property
    def method(self) -> str:
        if self.trainer is not None:
            return self.trainer
        if self.joint:
            return "joint"
        return method_of(self.ingredients)

    def to_dict(self) -> dict[str, Any]:
        """JSON-like content; inverse of `from_dict`."""
        content = asdict(self)
        content["network"] = self.network.model_dump(mode="json")
        return content

    @staticmethod
    def from_dict(content: dict[str, Any]) -> PackSpec:
        runs = tuple(RunSpec(**run) for run in content["runs"])
        return PackSpec(
            **{
                **content,
                "network": NetworkConfig(**content["network"]),
                "ingredients": tuple(content["ingredients"]),
                "parts": tuple(content.get("parts", PARTS[:1])),  # an earlier version's pack is of a sweep
                "runs": runs,
            }
        )


@dataclass
class RunRecord:
    """All that is known of one run so far.

    `validation` and `test` have one row per evaluation, the untrained network first, then after each task: the
    target's score on each of the T tasks (NaN where there are no examples of the task); none where the pack does not
    score by that part. The score is the one that steers; `further` holds the like of those that are measured beside
    it, by part and name. `curves` rows are (task, step, eval_task, score), `buffers` rows (ingredient, after_task,
    task, class, number of examples kept). `failure` says why the run ended, or is None.
    """

    trial: int
    seed: int
    validation: list[list[float]] = field(default_factory=list)
    test: list[list[float]] = field(default_factory=list)
    further: dict[str, dict[str, list[list[float]]]] = field(default_factory=dict)
    curves: list[tuple[int, int, int, float]] = field(default_factory=list)
    buffers: list[tuple[str, int, int, int, int]] = field(default_factory=list)
    train_s: float = 0.0
    steps: int = 0
    stored_bytes: int = 0
    failure: str | None = None

    @property
    def key(self) -> tuple[int, int]:
        return (self.trial, self.seed)

    @property
    def tasks_done(self) -> int:
        return max(0, len(self.validation or self.test) - 1)


@dataclass(frozen=True)
class PackReport:
    """What a pack says after each task: the records of all its runs, dropped ones included, and where it ran.

    `task` is the last one trained, -1 before the first. `n_examples` are the numbers of validation and of test examples
    per task.
    """

    task: int
    done: bool
    records: tuple[RunRecord, ...]
    n_examples: Counts
    n_parameters: int | None = None
    peak_bytes: int | None = None
    host: str | None = None
    device: str | None = None
    fisher_convention: str | None = None
    penalty_convention: str | None = None

    @staticmethod
    def of_failure(record: RunRecord, n_examples: Counts) -> PackReport:
        """The report of a run whose pack never came to report."""
        return PackReport(task=record.tasks_done - 1, done=True, records=(record,), n_examples=n_examples)


def score_rows(rows: list[list[float]], n_tasks: int) -> NDArray[np.float64]:
    """The scores of a record as (n_rows, n_tasks); row 0 is the untrained network.

    >>> score_rows([], n_tasks=3).shape
    (0, 3)
    """
    return np.asarray(rows, dtype=np.float64).reshape(-1, n_tasks)
