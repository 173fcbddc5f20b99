"""What `study.yaml` says, as a `Study` and its `Setting`s."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from cfsweep.results.reader import read_study

Root = str | Path


@dataclass(frozen=True)
class Setting:
    """One hyperparameter: its kind (`float`, `int`, `choice`), scale, bounds, and whether the sweep searched it."""

    name: str
    kind: str = "float"
    default: Any = None
    log: bool = False
    searched: bool = False
    low: float | None = None
    high: float | None = None

    @property
    def column(self) -> str:
        """Its column in the run table."""
        return f"hp_{self.name}"


@dataclass(frozen=True)
class Study:
    """A study's description; `raw` is the whole file."""

    study_id: str
    objectives: tuple[str, ...] = ("mixed",)
    settings: tuple[Setting, ...] = ()
    tasks: tuple[str, ...] = ()
    scenario: str = ""
    stream: str = ""
    trials: int | None = None
    seeds: int | None = None
    old_weight: float = 0.5
    splits: int = 1
    score: str = "accuracy"  # that steers
    score_bounds: tuple[float, float] = (0.0, 1.0)
    n_learned: int = 0  # of the tasks, those that the first weights know
    raw: Mapping[str, Any] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """Its stream and scenario, such as `split-mnist, task-il`, as far as they are known."""
        return ", ".join(part for part in (self.stream, self.scenario) if part)

    @property
    def first_row(self) -> str:
        """What the first row of a score matrix is of: the untrained network, or the weights from a file that each run
        begins with."""
        space = (self.raw.get("config") or {}).get("space") or {}
        return "first weights" if (space.get("network") or {}).get("init_sha256") else "untrained"

    @property
    def searched(self) -> tuple[Setting, ...]:
        """The hyperparameters that differ between trials by design."""
        return tuple(s for s in self.settings if s.searched)

    @property
    def third(self) -> str | None:
        """The cost that the sweep minimised beside stability and plasticity, if any."""
        return self.objectives[2] if len(self.objectives) > 2 else None

    @property
    def front_objectives(self) -> tuple[str, ...]:
        """The axes of the front: stability, plasticity, and the sweep's third objective if it had one."""
        return ("stability", "plasticity", *((self.third,) if self.third else ()))


def study(root: Root) -> Study:
    """The description of the study in `root`.

    Raises:
        InputError: `root` holds no study.
    """
    return parse_study(read_study(root))


def parse_study(raw: Mapping[str, Any]) -> Study:
    """`raw`, the mapping in `study.yaml`, as a `Study`; what is absent takes its default.

    >>> parse_study({"study_id": "a", "config": {"objective": {"name": "pareto", "third": "train_s"}}}).objectives
    ('stability', 'plasticity', 'train_s')
    """
    config = raw.get("config") or {}
    objective = config.get("objective") or {}
    stream = config.get("stream") or {}
    names: tuple[str, ...] = ("mixed",)
    if objective.get("name") == "pareto":
        names = ("stability", "plasticity", *((objective["third"],) if objective.get("third") else ()))
    score: Mapping[str, Any] = (raw.get("scores") or [{}])[0]
    low, high = score.get("bounds") or (0.0, 1.0)
    return Study(
        study_id=str(raw["study_id"]),
        objectives=names,
        settings=tuple(_setting(str(name), about or {}) for name, about in (raw.get("hypers") or {}).items()),
        tasks=tuple(str(task.get("name", number)) for number, task in enumerate(raw.get("tasks") or ())),
        scenario=str(stream.get("scenario") or ""),
        stream=str(stream.get("name") or ""),
        trials=config.get("trials"),
        seeds=config.get("seeds"),
        old_weight=float(objective.get("old_weight", 0.5)),
        splits=int(stream.get("splits", 1)),
        score=str(score.get("name", "accuracy")),
        score_bounds=(float(low), float(high)),
        n_learned=int(stream.get("learned", 0)),
        raw=raw,
    )


def _setting(name: str, about: Mapping[str, Any]) -> Setting:
    known = ("kind", "default", "log", "searched", "low", "high")
    return Setting(name, **{key: about[key] for key in known if about.get(key) is not None})


def shown_settings(about: Study, trials: pd.DataFrame) -> tuple[Setting, ...]:
    """The settings that a table or figure of `trials` shows: the searched ones, or, where `study.yaml` names none,
    those that vary."""
    if about.searched:
        return tuple(s for s in about.searched if s.column in trials.columns)
    varied = [c for c in trials.columns if c.startswith("hp_") and trials[c].nunique() > 1]
    return tuple(Setting(c.removeprefix("hp_"), _kind(trials[c]), searched=True) for c in varied)


def _kind(column: pd.Series) -> str:
    return "float" if pd.api.types.is_numeric_dtype(column) else "choice"
