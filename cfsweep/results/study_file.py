"""What whoever reads `study.yaml` relies on: the types of what is in it. (`StudyConfig` says all of `config`.)"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Value = int | float | str
Counted = Annotated[int, Field(ge=0)]
_MOST = 2**53  # of a count: what more there is, none could hold


class _Part(BaseModel):
    """What is not named is somebody else's; what is absent an earlier version did not write."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class Network(_Part):
    init_sha256: str | None = None


class Space(_Part):
    description: str = ""
    network: Network | None = None
    ingredients: list[str] = []
    trainer: str | None = None
    search: dict[str, Any] = {}


class Stream(_Part):
    name: str = ""
    scenario: str = ""
    splits: Annotated[int, Field(ge=1, le=_MOST)] = 1
    learned: Counted = 0
    args: dict[str, Any] = {}
    scores: list[str] = []


class Objective(_Part):
    name: Literal["mixed", "pareto"] = "mixed"
    third: str | None = None
    old_weight: Annotated[float, Field(ge=0.0, le=1.0)] = 0.5


class Config(_Part):
    purpose: str = "sweep"
    space: Space | None = None
    stream: Stream | None = None
    objective: Objective | None = None
    seeds: Annotated[int, Field(ge=1, le=_MOST)]
    trials: Annotated[int, Field(ge=1, le=_MOST)]
    references: bool = True


class Hyper(_Part):
    kind: Literal["float", "int", "choice"]
    default: Value
    searched: bool | None = None
    log: bool | None = None
    zero: bool | None = None
    low: float | None = None
    high: float | None = None
    value: Value | None = None
    choices: list[Value] | None = None


class Score(_Part):
    name: str
    bounds: Annotated[list[float], Field(min_length=2, max_length=2)]

    @field_validator("bounds")
    @classmethod
    def _ordered(cls, bounds: list[float]) -> list[float]:
        if not bounds[0] < bounds[1]:
            raise ValueError("the lower bound comes first")
        return bounds


class Task(_Part):
    name: str | None = None
    n_train: Counted | None = None
    n_validation: Counted | None = None
    n_test: Counted | None = None
    n_steering: Counted | None = None


class Confirms(_Part):
    study_id: str
    trials: dict[int, dict[str, Value]]
    references: list[Annotated[int, Field(lt=0)]]


class Table(_Part):
    until: str | None = None


class StudyFile(_Part):
    """The whole of it."""

    study_id: Annotated[str, Field(min_length=1)]
    created_at: str | None = None
    config: Config
    hypers: dict[str, Hyper] | None = None
    references: list[dict[str, Value]] | None = None
    scores: Annotated[list[Score], Field(min_length=1)] | None = None
    majority: list[Annotated[float, Field(ge=0.0, le=1.0)]] | None = None
    conventions: str | dict[str, str | dict[str, str | list[str] | None] | None] | None = None
    outputs: dict[str, Any] | None = None
    tasks: list[Task] | None = None
    table: Table | None = None
    data_sha256: dict[str, str] | None = None
    code_sha256: dict[str, str] | None = None
    versions: dict[str, str] | None = None
    git_revision: str | None = None
    format: Counted | None = None
    layout: Counted | None = None
    defaults: dict[str, Value | bool | list[Any] | dict[str, Any] | None] | None = None
    other_files: list[str] | None = None
    changes: list[dict[str, Any]] | None = None
    confirms: Confirms | None = None

    @model_validator(mode="after")
    def _one_share_a_task(self) -> StudyFile:
        if self.majority and len(self.majority) != len(self.tasks or ()):
            raise ValueError(f"`majority` has {len(self.majority)} shares, but there are {len(self.tasks or ())} tasks")
        return self

    @model_validator(mode="after")
    def _what_is_searched_is_described(self) -> StudyFile:
        searched = self.config.space.search if self.config.space else {}
        missing = [name for name in searched if name not in (self.hypers or {})]
        if missing:
            raise ValueError(f"`hypers` says nothing of `{missing[0]}`, which is searched")
        return self
