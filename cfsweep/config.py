"""The typed, frozen description of a study."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    FiniteFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    StrictFloat,
    StrictInt,
    StrictStr,
    StringConstraints,
    Tag,
    field_validator,
    model_validator,
)

from cfsweep import identity

StrictValue = StrictFloat | StrictInt | StrictStr  # a bare `true` is none of them, and is not taken for 1
Scenario = Literal["task-il", "domain-il", "class-il"]
SCENARIOS: tuple[Scenario, ...] = ("task-il", "domain-il", "class-il")
ThirdObjective = Literal["train_s", "stored_bytes", "n_parameters"]
MOST_SPLITS = 1_000  # each is made, and kept, when the stream is loaded
Name = Annotated[str, StringConstraints(min_length=1)]


class Frozen(BaseModel):
    """Base of every description: immutable, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")  # not as null


LEAST_BESIDE_ZERO = 1e-300  # what is drawn below it stands for 0


class Range(Frozen):
    """A continuous or whole-number range to search, ends included.

    `zero: true` adds the value 0 beside the range (the off-value of an ingredient whose knob lives on a log scale).
    `whole`: it holds whole numbers. The hyperparameters that cfsweep knows say so themselves; this is for those of a
    trainer from outside.
    """

    low: FiniteFloat
    high: FiniteFloat
    log: bool = False
    zero: bool = False
    whole: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if self.low > self.high:
            raise ValueError(f"`low <= high` must hold, but got (low={self.low}, high={self.high}). Swap the bounds.")
        if self.zero and self.low == self.high:
            raise ValueError(
                f"`low < high` must hold beside `zero: true`, but got (low={self.low}, high={self.high}). "
                f"Write `choices: [0, {self.low:g}]`."
            )
        if self.log and self.low <= 0:
            raise ValueError(
                f"`low > 0` must hold on a log scale, but got low={self.low}. "
                "Raise it, and add `zero: true` if 0 itself is wanted."
            )
        if self.log and self.zero and self.low < LEAST_BESIDE_ZERO:
            raise ValueError(
                f"`low >= {LEAST_BESIDE_ZERO:g}` must hold on a log scale beside `zero: true`, but got low={self.low}. "
                "Raise it."
            )
        if not math.isfinite(self.high - self.low):
            raise ValueError(
                f"a finite `high - low` must hold, but got (low={self.low}, high={self.high}). Bring them nearer."
            )
        if self.whole and not (self.low.is_integer() and self.high.is_integer()):
            raise ValueError(
                f"bounds that are whole numbers must hold beside `whole: true`, but got (low={self.low}, "
                f"high={self.high}). Round them, or leave `whole` out."
            )
        return self

    def n_values(self, whole: bool) -> float:
        """How many different values there are, of whole numbers (`whole`) or of any."""
        if self.low == self.high:
            return 1
        return self.high - self.low + 1 + self.zero if whole else math.inf


class Choices(Frozen):
    """A finite set of values to search."""

    choices: tuple[StrictValue, ...] = Field(min_length=1)

    def n_values(self, whole: bool) -> float:
        """How many different values there are."""
        return len(set(self.choices))


def _searched_kind(value: Any) -> str:
    """Which of the two is meant, so that an error is about that one alone."""
    return "Choices" if isinstance(value, Choices) or (isinstance(value, Mapping) and "choices" in value) else "Range"


Searched = Annotated[Annotated[Range, Tag("Range")] | Annotated[Choices, Tag("Choices")], Discriminator(_searched_kind)]


class NetworkConfig(Frozen):
    """A registered network, `torchvision:NAME` or `package.module:function`, and the arguments of its factory.

    `init` is a file of weights that every run begins with (safetensors, or torch's of a `state_dict`), `init_sha256`
    its SHA-256, which cfsweep notes, so that it is told from another file. Parameters whose name matches a pattern of
    `freeze` never move.

    What follows is for networks that fill a device by themselves, and trains runs one at a time. `compile` has
    `torch.compile` make one kernel of many; `channels_last` lays images out as convolutions of a GPU like them;
    `micro_batch` is how many examples pass through the network at once, where a whole batch would not fit
    (`training.engine.execution`).
    """

    name: Name = "mlp"
    args: dict[str, Any] = {}
    init: Name | None = None
    init_sha256: str | None = None
    freeze: tuple[Name, ...] = ()
    compile: bool = False
    channels_last: bool = False
    micro_batch: Annotated[StrictInt, Field(ge=1)] | None = None

    @property
    def execution(self) -> dict[str, Any]:
        """How it is executed, by name: the settings of `training.engine.execution` that are asked for."""
        asked = {"compile": self.compile, "channels_last": self.channels_last, "micro_batch": self.micro_batch}
        return {name: value for name, value in asked.items() if value}


class Space(Frozen):
    """What a trial is made of: the ingredients, the values held fixed, the values searched, the network.

    `trainer`, `package.module:function`, trains from outside (`training.outside`), on data, with networks and remedies
    of its own. Then the values are its settings, whatever they are called; a range whose two bounds are written as
    whole numbers holds whole numbers.
    """

    description: str = ""
    scenario: Scenario | None = None  # what the space was written for; `--scenario` overrides it
    network: NetworkConfig = NetworkConfig()
    ingredients: tuple[Name, ...] = ()
    fixed: dict[str, StrictValue] = {}
    search: dict[str, Searched] = {}
    trainer: Name | None = None

    @model_validator(mode="before")
    @classmethod
    def _whole_as_written(cls, content: Any) -> Any:
        """No hyperparameter says of which kind the settings of a trainer from outside are; how they are written does.
        (It is noted in the range, as its bounds are kept as floats.)"""
        if not isinstance(content, Mapping) or content.get("trainer") is None:
            return content
        search = content.get("search")
        if not isinstance(search, Mapping):
            return content
        return {**content, "search": {name: _with_whole(searched) for name, searched in search.items()}}


def _with_whole(searched: Any) -> Any:
    """
    >>> _with_whole({"low": 1, "high": 8}), _with_whole({"low": 0.0, "high": 1})
    ({'whole': True, 'low': 1, 'high': 8}, {'low': 0.0, 'high': 1})
    """
    bounds = [searched.get("low"), searched.get("high")] if isinstance(searched, Mapping) else [None]
    whole = all(isinstance(bound, int) and not isinstance(bound, bool) for bound in bounds)
    return {"whole": True, **searched} if whole else searched


class StreamConfig(Frozen):
    """Which tasks, in which order, seen how.

    `name` is a registered stream, a directory with one `.npz` or `.parquet` file per task or with images, a table (a
    `.csv`, `.tsv` or `.parquet` file, or a directory of its parts), `hf:` and a data set of Hugging Face's, or
    `package.module:function`. `class_order` permutes the classes before they are split into tasks: `fixed` keeps the
    data set's order, a whole number is the seed of a random order. `target` is what is learned of the labels, and
    `scores` what is measured; the first one steers: it is what objectives, stop rules and choices are about. Without
    any it is the target's own. `positive` is the class that ROC AUC and its like are about where a task has two.
    `class_weights` say how much an example of each class counts in the loss: by the user's labels, or `balanced`,
    inversely to how often the class occurs where it comes first. `validation_frac` and `steering_frac` are the shares
    of a task's training data that become validation data and what stop rules look at; None is none of the latter, or,
    where the space has a stop rule, as much as `validation_frac`. The run of seed s is trained on split s modulo
    `splits` into training, steering and validation examples. The first `learned` tasks are known to the weights that
    the network begins with: they are evaluated and not trained. `validation`: which of a task's training data are held
    out: a `random` share of each class, or the `latest`, by the order of the examples: those to train on come first,
    then steering, validation and, where the data name none, test examples. None is `latest` for a table with a column
    `date`, else `random`. A trainer from outside has data of its own: then `name` is the trainer's, and `n_tasks` and
    `scenario` alone mean something. `standardise`: by what the examples are brought to mean 0 and deviation 1; None is
    `feature` for flat data and `scalar`, one mean and deviation of all, for images. `unit` divides the bytes of images
    by 255, `imagenet` standardises these by ImageNet's mean and deviation, too. A table is standardised by its own
    preprocessing, and `none`. `args` are those of a function, or what a table says of its columns
    (`training.streams.TableSettings`). `encoder`, `package.module:function` called with `encoder_args`, returns what
    makes features (n, d) of the examples, once for all, which are the stream's x then. `augment`: what makes other
    pictures of images in training, `crop`, `flip` or `package.module:function`, in this order. `own_data` is a hash of
    the names and contents of the user's files, which cfsweep notes: wherever they lie, they are the same data.
    """

    name: Name = "split-digits"
    scenario: Scenario = "task-il"
    data: str | None = None
    download: bool = False
    class_order: Literal["fixed"] | int = "fixed"
    n_tasks: PositiveInt | None = None
    validation_frac: float = Field(default=0.1, gt=0.0, lt=1.0)
    steering_frac: float | None = Field(default=None, gt=0.0, lt=1.0)
    split_seed: int = 0
    splits: int = Field(default=1, ge=1, le=MOST_SPLITS)
    learned: NonNegativeInt = 0
    validation: Literal["random", "latest"] | None = None
    target: Name = "classification"
    scores: tuple[Name, ...] = ()
    positive: StrictStr | StrictInt | None = None
    class_weights: Literal["balanced"] | dict[str, Annotated[float, Field(gt=0.0, allow_inf_nan=False)]] | None = None
    standardise: Literal["feature", "channel", "scalar", "unit", "imagenet", "none"] | None = None
    augment: tuple[Name, ...] = ()
    args: dict[str, Any] = {}
    encoder: Name | None = None
    encoder_args: dict[str, Any] = {}
    own_data: str | None = None

    @field_validator("augment", mode="before")
    @classmethod
    def _one_alone(cls, given: Any) -> Any:
        return (given,) if isinstance(given, str) else given

    @field_validator("class_weights", mode="before")
    @classmethod
    def _labels_as_text(cls, given: Any) -> Any:
        return {str(label): weight for label, weight in given.items()} if isinstance(given, Mapping) else given

    def split_of(self, seed: int) -> int:
        """The number of the split on which the runs of a seed are trained.

        >>> [StreamConfig(splits=2).split_of(seed) for seed in range(4)]
        [0, 1, 0, 1]
        """
        return seed % self.splits


class ObjectiveConfig(Frozen):
    """What a sweep maximises, on validation data alone.

    `mixed` is one number; `pareto` is (stability, plasticity) and, if `third` is set, a cost to minimise.
    """

    name: Literal["mixed", "pareto"] = "mixed"
    old_weight: float = Field(default=0.5, ge=0.0, le=1.0)
    third: ThirdObjective | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The objectives in the order in which the sampler sees them."""
        if self.name == "mixed":
            return ("mixed",)
        return ("stability", "plasticity") + ((self.third,) if self.third else ())

    @property
    def directions(self) -> tuple[Literal["maximize", "minimize"], ...]:
        """`maximize` or `minimize`, one for each of `names`."""
        return tuple("maximize" if n in ("mixed", "stability", "plasticity") else "minimize" for n in self.names)

    @model_validator(mode="after")
    def _third_needs_pareto(self) -> ObjectiveConfig:
        if self.third and self.name != "pareto":
            raise ValueError(
                f"a third objective needs `--objective pareto`, but got name={self.name!r}, third={self.third!r}."
            )
        return self


MOST_SEEDS = 10_000  # more are a slip of the finger
MOST_TRIALS = 10_000_000
MOST_CURVE_POINTS = 100_000
FRESH = MOST_SEEDS  # the first of the seeds that confirm: a sweep never comes so far
PARTS = ("validation", "test")  # of a task's examples: what can score a run


class StudyConfig(Frozen):
    """A whole sweep. Everything but the budget, and what changes no result, is the study's identity.

    A study that is to `confirm` trains trials of a sweep with other seeds, from `first_seed` on, keeps the models, and
    is the one to be scored by test data; one that is to `refit` trains them on the validation data, too, which then
    score nothing. `identity_version` says how the id is made; a study keeps the one that it began with.
    """

    purpose: Literal["sweep", "confirm", "refit"] = "sweep"
    space: Space
    stream: StreamConfig = StreamConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    seeds: int = Field(default=1, ge=1, le=MOST_SEEDS)
    first_seed: NonNegativeInt = 0
    seeds_at_start: PositiveInt | None = None  # where there were fewer, before some were added
    trials: int = Field(default=48, gt=0, le=MOST_TRIALS)
    time_budget_s: PositiveFloat | None = None
    sampler_seed: NonNegativeInt = 0
    stop_trials: bool = True  # those that lose, between tasks
    references: bool = True
    pack_runs: PositiveInt | Literal["auto"] = "auto"  # of runs trained together; `auto`: as many as suit the workers
    share_prefix: bool = True  # runs that are equal so far are trained once; no result depends on it
    curve_points_per_task: int = Field(default=0, ge=0, le=MOST_CURVE_POINTS)
    identity_version: int = Field(default=identity.VERSION, ge=0, le=identity.VERSION)

    @model_validator(mode="after")
    def _seeds_only_grow(self) -> StudyConfig:
        if self.seeds_at_start is not None and self.seeds_at_start > self.seeds:
            raise ValueError(f"`seeds_at_start <= seeds` must hold, but got ({self.seeds_at_start}, {self.seeds}).")
        return self

    @model_validator(mode="before")
    @classmethod
    def _rename_old_keys(cls, content: Any) -> Any:
        if not isinstance(content, Mapping):
            return content
        for then, now in RENAMED.items():
            if then in content and now in content:
                raise ValueError(f"`{then}` is the old name of `{now}`, but got both. Remove `{then}`.")
        return {RENAMED.get(key, key): value for key, value in content.items()}

    @property
    def study_id(self) -> str:
        """12 hexadecimal digits; equal for equal studies, whatever their budget and wherever their data lies.

        (That the data is the same is held by the SHA-256 of each file.)
        """
        return identity.study_id(self.as_begun, self.identity_version, self.no_part_of_identity)

    @property
    def no_part_of_identity(self) -> dict[str, Any]:
        """What does not make it another study, as for `model_dump(exclude=)`: data of one's own are told by their hash,
        in a study of before by their place."""
        by_data = self.identity_version >= identity.BY_DATA and self.stream.own_data is not None
        of_stream = {**NO_PART_OF_IDENTITY["stream"], "name" if by_data else "own_data": True}
        return {**NO_PART_OF_IDENTITY, "stream": of_stream}

    @property
    def seed_numbers(self) -> range:
        """The seeds of each trial."""
        return range(self.first_seed, self.first_seed + self.seeds)

    @property
    def parts(self) -> tuple[str, ...]:
        """What scores the runs, of `PARTS`."""
        return {"sweep": PARTS[:1], "confirm": PARTS, "refit": PARTS[1:]}[self.purpose]

    def grown(self, trials: int, seeds: int) -> StudyConfig:
        """The study with another budget of trials, and perhaps more seeds than it has."""
        begun = self.seeds_at_start if seeds == self.seeds else self.as_begun.seeds
        return self.model_copy(update={"trials": trials, "seeds": seeds, "seeds_at_start": begun})

    @property
    def as_begun(self) -> StudyConfig:
        """The study with the seeds that it began with."""
        return self.model_copy(update={"seeds": self.seeds_at_start}) if self.seeds_at_start else self


NO_PART_OF_IDENTITY: Mapping[str, Any] = {
    **dict.fromkeys(
        ("seeds_at_start", "trials", "time_budget_s", "pack_runs", "share_prefix", "identity_version"), True
    ),
    "stream": dict.fromkeys(("data", "download"), True),
    "space": {"network": {"init": True}},
}
RENAMED = {"early_stopping": "stop_trials"}  # keys of older studies and scripts, which still read
