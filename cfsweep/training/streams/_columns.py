"""The names of columns: what a table calls its own, and how two sets of them differ."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from cfsweep.errors import InputError, few


def column_names(given: Any, where: str) -> tuple[str, ...]:
    """The names of the columns of a table of pandas, Polars or Arrow; none for all else.

    Raises:
        InputError: a name stands twice.
    """
    if not hasattr(given, "__array__"):
        return ()
    named = getattr(given, "column_names", None)  # Arrow's `columns` are the columns themselves
    names = tuple(str(name) for name in (getattr(given, "columns", ()) if named is None else named))
    require_names_once(names, where)
    return names


def require_names_once(names: Sequence[str], where: str) -> None:
    """Raise if a name stands twice."""
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"{where}: a column name stands once, but {few_columns(twice)} stands twice. Rename one.")


def other_features(where: str, before: Iterable[str], here: Iterable[str]) -> InputError:
    """The one line for a task whose columns are others than those of the tasks before."""
    apart = columns_apart(before, here)
    return InputError(f"{where}: all tasks must have the same features, but it {apart}. Rename or drop columns.")


def columns_apart(before: Iterable[str], here: Iterable[str]) -> str:
    """
    >>> columns_apart(["a", "b"], ["b", "c"]), columns_apart(["a"], ["b", "a"])
    ('lacks `a` and has `c`', 'has `b`')
    """
    lacks, has = sorted(set(before) - set(here)), sorted(set(here) - set(before))
    return " and ".join(f"{word} {few_columns(of)}" for word, of in (("lacks", lacks), ("has", has)) if of)


def few_columns(columns: Iterable[str]) -> str:
    return few(f"`{column}`" for column in columns)
