"""What a hyperparameter is: its name, kind, legal values, default, and when it first takes effect."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Literal, get_args

from cfsweep.errors import InputError, short

MOST_WHOLE = 2**53  # floats, in which samplers reckon, have all whole numbers up to it
Value = float | int | str
Kind = Literal["float", "int", "choice"]
TakesEffect = Literal["start", "cut", "later", "answers"]


@dataclass(frozen=True)
class Hyper:
    """One hyperparameter.

    `static` ones split packs, because they change the shape of the computation; all others are one number per run.
    `takes_effect` is the first moment at which the value can change a run: from the first step of task 0 (`start`),
    from the cut within task 0 (`cut`, see `Cut`), not before task 0 has ended (`later`), or, but for its `off`, never
    in training (`answers`). Runs that agree on all that can have taken effect so far share their computation.
    `off` is the value that makes the ingredient plain training, its other hyperparameters being at their defaults; None
    where no value does. `layers`: the value names layers, separated by commas. `only_with`: another hyperparameter
    of the trial, a choice, and the value of it without which this one changes nothing (its own `off` always does).

    Raises:
        ValueError: these contradict one another, or one of them is none of its legal values.
    """

    name: str
    kind: Kind
    default: Value
    doc: str
    low: float | None = None
    high: float | None = None
    high_open: bool = False
    low_open: bool = False
    choices: tuple[str, ...] = ()
    static: bool = False
    takes_effect: TakesEffect = "start"
    off: float | None = None
    layers: bool = False
    only_with: tuple[str, str] | None = None

    def __post_init__(self) -> None:
        where = f"Hyper `{self.name}`"
        for name, literal in (("kind", Kind), ("takes_effect", TakesEffect)):
            if getattr(self, name) not in get_args(literal):
                known = ", ".join(get_args(literal))
                raise ValueError(f"{where}: `{name}` must be one of {known}, but got {getattr(self, name)!r}")
        if (self.kind == "choice") != bool(self.choices or self.layers):
            raise ValueError(f"{where}: a choice needs `choices` or `layers`, and no other kind has any")
        if self.only_with is not None:
            pair = self.only_with
            if not (isinstance(pair, tuple) and [*map(type, pair)] == [str, str]) or pair[0] == self.name:
                raise ValueError(f"{where}: `only_with` must be (another choice, one of its values), but got {pair!r}")
        for name in ("default", "off"):
            value = getattr(self, name)
            if name == "off" and value is None:
                continue
            if name == "off" and (self.kind == "choice" or not isinstance(value, int | float)):
                raise ValueError(f"{where}: `off` must be a number, but got {value!r}")
            if not self.allows(value):
                raise ValueError(f"{where}: `{name}` must be a legal value, but got {value!r}")

    @property
    def rule(self) -> str:
        """The legal values in words, such as `0 <= x < 1`."""
        if self.layers:
            return "names of layers, separated by commas"
        if self.kind == "choice":
            return "one of " + ", ".join(self.choices)
        low = "" if self.low is None else f"{self.low:g} {'<' if self.low_open else '<='} "
        high = "" if self.high is None else f" {'<' if self.high_open else '<='} {self.high:g}"
        return f"{low}{self.name}{high}" + (", a whole number" if self.kind == "int" else "")

    def allows(self, value: object) -> bool:
        """Whether `value` is legal."""
        try:
            self.check(value, self.name)
        except InputError:
            return False
        return True

    def check(self, value: object, where: str) -> Value:
        """`value` as this hyperparameter's type.

        Raises:
            InputError: `value` is of another type or outside the legal values.
        """
        if self.kind == "choice":
            if isinstance(value, str) and (self.layers or value in self.choices):
                return value
        elif isinstance(value, int | float) and not isinstance(value, bool) and self._inside(value):
            if self.kind == "float":
                return float(value)
            if float(value).is_integer():
                return int(value)
        rule = f"`{self.name}` must be {self.rule}" if self.kind == "choice" else f"`{self.rule}` must hold"
        if self.kind == "int" and isinstance(value, int | float) and abs(value) > MOST_WHOLE:
            rule += f" (of at most {MOST_WHOLE})"
        raise InputError(f"{where}: {rule}, but got {self.name}={short(repr(value))[1:-1]}. {self.remedy}")

    @property
    def remedy(self) -> str:
        off = "" if self.off is None else f"; {self.off:g} is off"
        return f"The default is {self.default!r}: {self.doc}{off}"

    def _inside(self, x: float) -> bool:
        if abs(x) > (MOST_WHOLE if self.kind == "int" else sys.float_info.max):
            return False
        above = self.low is None or (x > self.low if self.low_open else x >= self.low)
        below = self.high is None or (x < self.high if self.high_open else x <= self.high)
        return above and below and x == x and abs(x) != float("inf")


def shown(value: Value) -> str:
    """A value for a list or table, in four digits.

    >>> shown(1 / 3), shown(100.0), shown(500), shown("true"), shown("")
    ('0.3333', '100', '500', 'true', '""')
    """
    return f"{value:.4g}" if isinstance(value, float) else str(value) or '""'


def layer_names(text: str) -> tuple[str, ...]:
    """The names in a list separated by commas.

    >>> layer_names("body.1, body.3")
    ('body.1', 'body.3')
    """
    return tuple(name.strip() for name in text.split(",") if name.strip())


# The hyperparameters of every trial; the ingredients add theirs.
BASE_HYPERS: tuple[Hyper, ...] = (
    Hyper("optimizer", "choice", "adam", "the update rule", choices=("sgd", "adam", "adamw"), static=True),
    Hyper(
        "optimizer_state",
        "choice",
        "fresh",
        "whether a task's optimizer begins afresh or goes on with the moments of the task before",
        choices=("fresh", "kept"),
        static=True,
    ),
    Hyper(
        "precision",
        "choice",
        "float32",
        "of the matrix products in a step; tf32 matters on a GPU alone, all else is float32",
        choices=("float32", "tf32", "bf16"),
        static=True,
    ),
    Hyper("epochs", "int", 5, "passes over each task's training data", low=1, static=True),
    Hyper("batch_size", "int", 64, "examples per step", low=1, static=True),
    Hyper("lr", "float", 1e-3, "learning rate", low=0.0, low_open=True),
    Hyper(
        "momentum",
        "float",
        0.9,
        "momentum of sgd (adam and adamw ignore it)",
        low=0.0,
        high=1.0,
        high_open=True,
        only_with=("optimizer", "sgd"),
    ),
    Hyper("weight_decay", "float", 0.0, "coupled decay for sgd and adam, decoupled for adamw", low=0.0),
)
