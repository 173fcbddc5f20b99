"""From the columns of a table to the numbers that a network sees: what is fitted, and what is done with it.

A number, a boolean (0 or 1) and a date (days since 1970) are standardised by mean and deviation, and where one is
missing there stands the mean, that is 0; if some are missing in the training rows of the first task, a column beside it
says where. A word is 1 in a column of its own; words without one share a column. It is what scikit-learn's
StandardScaler, SimpleImputer(add_indicator=True) and OneHotEncoder come to, but kept as JSON, and moved on from task to
task.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfsweep.config import Frozen
from cfsweep.errors import InputError, few
from cfsweep.training.streams._base import Indices
from cfsweep.training.streams._float32 import NOISE
from cfsweep.training.streams._table_files import Raw
from cfsweep.training.streams._table_settings import Kind, TableSettings
from cfsweep.training.streams._table_texts import seem_texts, text_column
from cfsweep.training.streams._typed import Floats, Words, guessed

MOST_WORDS = 1_000  # of a column that nobody has called a category: more are names or texts
OTHER, GAP = "(other)", "(missing)"

Values = Mapping[str, Floats | Words]  # of a whole table, by column


class Moments(Frozen):
    """Number, mean and sum of squared deviations of the values that are there."""

    n: int = 0
    mean: float = 0.0
    m2: float = 0.0

    def and_(self, more: Moments) -> Moments:
        """Those of both together.

        References:
            T. F. Chan, G. H. Golub, R. J. LeVeque, Algorithms for Computing the Sample Variance: Analysis and
            Recommendations, The American Statistician 37 (1983), equations 1.5a and 1.5b.

        >>> moments(np.array([1.0, 2.0])).and_(moments(np.array([6.0])))
        Moments(n=3, mean=3.0, m2=14.0)
        """
        if not self.n or not more.n:
            return self if self.n else more
        n, apart = self.n + more.n, more.mean - self.mean
        mean = self.mean + apart * more.n / n
        return Moments(n=n, mean=mean, m2=self.m2 + more.m2 + apart * apart * self.n * more.n / n)

    @property
    def scale(self) -> float:
        """The deviation; where it is but rounding, 1, or that rounding if it is more."""
        deviation, rounding = math.sqrt(self.m2 / max(self.n, 1)), NOISE * abs(self.mean)
        return deviation if deviation > rounding else max(1.0, rounding)


def moments(values: Floats) -> Moments:
    """Those of the values that are no NaN.

    >>> moments(np.array([1.0, np.nan, 3.0]))
    Moments(n=2, mean=2.0, m2=2.0)
    """
    there = values[~np.isnan(values)]
    if not len(there):
        return Moments()
    mean = float(there.mean())
    return Moments(n=len(there), mean=mean, m2=float(((there - mean) ** 2).sum()))


class Column(Frozen):
    """A feature: its kind; of a category the words that have a column of their own (None stands for a missing one), of
    all others whether a column says where one is missing."""

    name: str
    kind: Kind
    words: tuple[str | None, ...] = ()
    gaps: bool = False

    @property
    def is_words(self) -> bool:
        """Whether it has words, of which no moments are taken, or texts."""
        return self.kind in ("category", "text")

    def values_in(self, table: Raw) -> Floats | Words:
        """The column of a table as its kind says, (n,).

        Raises:
            InputError: a value does not fit.
        """
        if self.is_words:
            return table.words(self.name)
        return table.values(self.name, self.kind, f"Mend it, or say `--arg 'types={{{self.name}: category}}'`")


class Preprocessing(Frozen):
    """What was fitted on the training rows of a table: all that a row takes to become an example.

    `fitted` are the moments of each column in order (none of words or texts): for the rows of each task, or of all
    tasks where `settings.preprocessing` is `first`. `word_labels`: labels are words, whatever they look like. `starts`
    are the first moments of the windows, and `until` the last one that is in them.
    """

    settings: TableSettings
    columns: tuple[Column, ...]
    fitted: tuple[tuple[Moments | None, ...], ...]
    word_labels: bool
    starts: tuple[str, ...] = ()
    until: str | None = None

    @property
    def names(self) -> list[str]:
        """The columns of a table that are features."""
        return [column.name for column in self.columns]

    @property
    def features(self) -> tuple[str, ...]:
        """What the numbers of an example are."""
        return tuple(name for column in self.columns for name in self._numbers_of(column))

    @property
    def text(self) -> str | None:
        """The one column, where it is of texts: an encoder makes the examples then, and nothing here does."""
        return next((column.name for column in self.columns if column.kind == "text"), None)

    def described(self) -> dict[str, Any]:
        """The settings with what went without saying, where windows begin, and the kind of each column, as a study
        records them."""
        found = {**self.settings.model_dump(mode="json"), "columns": {one.name: one.kind for one in self.columns}}
        return {**found, "starts": list(self.starts), "until": self.until} if self.starts else found

    def _numbers_of(self, column: Column) -> list[str]:
        if column.kind == "text":
            return []
        if column.kind != "category":
            return [column.name, *([f"{column.name}={GAP}"] if column.gaps else [])]
        own = [GAP if word is None else word for word in column.words]
        shared = [OTHER] if self.settings.unknown == "bucket" else []
        return [f"{column.name}={word}" for word in (*own, *shared)]

    def of_task(self, number: int | None) -> tuple[Moments | None, ...]:
        """The moments by which the rows of a task are standardised; without a number those of the last one."""
        return self.fitted[-1 if number is None or len(self.fitted) == 1 else number]

    def values_of(self, table: Raw) -> dict[str, Floats | Words]:
        """The features of a table by name, each as its kind says.

        Raises:
            InputError: a value does not fit its column.
        """
        return {column.name: column.values_in(table) for column in self.columns}

    def moved_on(self, table: Raw, train: Sequence[Indices]) -> Preprocessing:
        """With the moments for further tasks, whose training rows these are; as it is where the first task's stay.

        Raises:
            InputError: a value does not fit its column.
        """
        if self.settings.preprocessing == "first":
            return self
        moved = [
            _moved(column, column.values_in(table), train, before)
            for column, before in zip(self.columns, self.fitted[-1], strict=True)
        ]
        return self.model_copy(update={"fitted": (*self.fitted, *zip(*moved, strict=True))})

    def examples(self, table: Raw, values: Values, rows: Indices, task: int | None) -> NDArray[np.float32]:
        """(n, features) for these rows of a task.

        Raises:
            InputError: a word is unknown and to be refused, or a number is too large for float32.
        """
        found: list[NDArray[np.float64]] = []
        for column, fitted in zip(self.columns, self.of_task(task), strict=True):
            given = values[column.name][rows]
            if fitted is None:
                found.append(self._one_hot(table, column, given.astype(object), rows))
                continue
            of = given.astype(np.float64)
            apart = (of - fitted.mean) / fitted.scale
            large = np.flatnonzero(np.abs(apart) > np.finfo(np.float32).max)
            if len(large):
                said = f"numbers must be finite in float32, standardised, but got {of[large[0]]}"
                raise table.error(column.name, int(rows[large[0]]), said, "Mend or drop it")
            missing = np.isnan(apart)
            found.append(np.where(missing, 0.0, apart)[:, None])
            if column.gaps:
                found.append(missing[:, None].astype(np.float64))
        return np.concatenate(found, axis=1).astype(np.float32)

    def _one_hot(self, table: Raw, column: Column, of: Words, rows: Indices) -> NDArray[np.float64]:
        n_own, places = len(column.words), {word: place for place, word in enumerate(column.words)}
        found = np.array([places.get(word, n_own) for word in of.tolist()], np.int64)
        strange = (found == n_own) & np.array([word is not None for word in of.tolist()], bool)
        if self.settings.unknown == "refuse" and strange.any():
            at = int(np.flatnonzero(strange)[0])
            known = few(f"`{word}`" for word in column.words if word is not None)
            said = f"words must be among those of the first task's training rows ({known}), but got `{of[at]}`"
            raise table.error(column.name, int(rows[at]), said, "Mend it, or set `--arg unknown=bucket`")
        width = n_own + (self.settings.unknown == "bucket")
        return np.eye(n_own + 1)[found][:, :width]


# ------------------------------------------------------------------------------------------------ fitting


def fitted(
    table: Raw, settings: TableSettings, train: Sequence[Indices], word_labels: bool, encoded: bool = False
) -> tuple[Preprocessing, list[str]]:
    """What is fitted on the training rows of each task, and notes for the user. One column is in memory at a time.
    Where examples are to be `encoded`, a column that looks like texts is one of texts.

    Raises:
        InputError: a column holds no value in the first task, or what is no feature, or more words than a category has;
            or beside a column of texts there are other features, or no encoder.
    """
    taken = {*settings.roles.values(), *settings.drop}
    names = [name for name in table.names if name not in taken]
    if not names:
        raise InputError(f"{table.where}: a table needs a column that is a feature, but all are taken. Add one.")
    columns, moved, notes = [], [], []
    for name in names:
        column, values = _column(table.in_memory(name), settings, name, train[0], encoded)
        columns.append(column)
        moved.append(_moved(column, values, train[:1] if settings.preprocessing == "first" else train, None))
        notes += _notes_on(column, values, train[0], told=name in settings.types)
    text_column({column.name: column.kind for column in columns}, settings.drop, encoded, table.where)
    fitted = tuple(zip(*moved, strict=True))
    return Preprocessing(settings=settings, columns=tuple(columns), fitted=fitted, word_labels=word_labels), notes


def _moved(
    column: Column, values: Floats | Words, train: Sequence[Indices], before: Moments | None
) -> list[Moments | None]:
    """The moments of a column for each of some tasks, those of the tasks before among them; None of words."""
    found = []
    for rows in train:
        if not column.is_words:
            own = moments(values[rows].astype(np.float64))
            before = own if before is None else before.and_(own)
        found.append(before)
    return found


def _column(
    table: Raw, settings: TableSettings, name: str, rows: Indices, encoded: bool
) -> tuple[Column, Floats | Words]:
    """What is kept is of these rows alone; values are of the whole table, so that an error counts its rows."""
    seems = guessed(table.column(name).take(rows), table.untyped)
    if encoded and seems == "category" and seem_texts(table.words(name)[rows]):
        seems = "text"
    kind = settings.types.get(name, seems)
    place = f"{table.where}, column `{name}`"
    if kind is None or (seems is None and settings.preprocessing == "first" and kind not in ("category", "text")):
        raise InputError(
            f"{place}: it has no value in the training rows of the first task, so nothing can be fitted. Leave it out, "
            f"`--arg drop=[{name}]`."
        )
    column = Column(name=name, kind=kind)
    values = column.values_in(table)
    if kind == "text":
        return column, values
    if kind != "category":
        return column.model_copy(update={"gaps": bool(np.isnan(values[rows].astype(np.float64)).any())}), values
    found = set(values[rows].tolist())
    if len(found) > MOST_WORDS and name not in settings.types:
        raise InputError(
            f"{place}: it holds {len(found)} different words in {len(rows)} rows, more than {MOST_WORDS}, as names or "
            f"texts do. Leave it out, `--arg drop=[{name}]`, or insist, `--arg 'types={{{name}: category}}'`; texts "
            "need an encoder, `--encoder module:function`."
        )
    words = tuple(sorted(found, key=lambda word: (word is None, word or "")))
    return column.model_copy(update={"words": words}), values


def _notes_on(column: Column, values: Floats | Words, rows: Indices, told: bool) -> list[str]:
    """What the user should know: words that share a column, or are texts by their looks in these rows where nobody has
    `told` their kind; and gaps that no column tells of."""
    if column.kind == "text":
        return []
    if column.kind == "category" and not told and seem_texts(values[rows].astype(object)):
        return [
            f"column `{column.name}`: it looks like texts, each of which is an input of its own now, so that a new one "
            "says nothing. Give what makes features of texts, `--encoder module:function`, or drop it"
        ]
    if column.kind == "category":
        known = set(column.words)
        unknown = [word for word in values.tolist() if word not in known]
        if not unknown:
            return []
        named = few(GAP if word is None else f"`{word}`" for word in dict.fromkeys(unknown))
        return [
            f"column `{column.name}`: {named} not in the training rows of the first task; {len(unknown)} rows with "
            f"such words share the input `{column.name}={OTHER}`"
        ]
    n = 0 if column.gaps else int(np.isnan(values.astype(np.float64)).sum())
    if not n:
        return []
    return [
        f"column `{column.name}`: {n} gaps, none of them in the training rows of the first task; each gets the mean, "
        "and no input tells of it"
    ]
