"""Your own stream as one table: a file of CSV or Parquet, or a folder of its parts, with a row per example."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cfsweep.config import StreamConfig
from cfsweep.errors import InputError, few
from cfsweep.files import expanded
from cfsweep.training.streams._assemble import TEST_SHARE, assemble, cut_tasks, refuse_class_order, require_n_tasks
from cfsweep.training.streams._base import CLASSIFICATION, OF_AMOUNTS, ClassId, Indices, Stream
from cfsweep.training.streams._labels import Drafted, Labelled, Labels, drafted
from cfsweep.training.streams._preprocessing import Preprocessing, fitted
from cfsweep.training.streams._table_examples import examples_of, in_memory_examples
from cfsweep.training.streams._table_files import Raw, in_memory, read_table, require_features
from cfsweep.training.streams._table_settings import TableSettings, require_columns, table_settings
from cfsweep.training.streams._table_tasks import Tasks, next_rows, tasks_of
from cfsweep.training.streams._table_texts import texts_of
from cfsweep.training.streams._typed import NUMBER

WHOLE = re.compile(r"0|[1-9]\d{0,18}")  # as a whole number is written; 007 is a word


def from_table(config: StreamConfig) -> Stream:
    """The stream of the table `config.name`, whose columns are what `config.args` say (`TableSettings`).

    Where a column `date` orders the rows of a task, the latest become validation and test data, unless
    `config.validation` says otherwise. Numbers are standardised and words become columns of their own by what the
    training rows of the first task hold (`Preprocessing`), those of all splits where there are several; so an example's
    numbers come from no row that scores or steers, and from none of a later task. Where `config.encoder` names one and
    the one feature is of texts, these are what it sees.

    Raises:
        InputError: a setting does not fit the table, a value does not fit its column, or a task breaks a rule; the line
            names file, column and row.
    """
    path, where = expanded(config.name), f"stream `{config.name}`"
    settings = table_settings(config.args, where)
    config = _as_table(config, settings, where)
    table, files = read_table(path, where)
    require_columns(settings, table.names, where)
    tasks = tasks_of(table, settings)
    require_n_tasks(config, len(tasks.names))
    labels, word_labels = labels_of(table, settings, config.target)
    laid = _laid(config, table, settings, tasks, labels)
    state, notes = fitted(table, settings, laid.train, word_labels, encoded=config.encoder is not None)
    config = _standardised(config, state, where)
    state = state.model_copy(update={"starts": tasks.starts, "until": tasks.until})
    return _stream(config, table, laid, range(len(laid.rows)), state, files, notes)


def next_of_table(
    config: StreamConfig, before: Preprocessing, learned: Sequence[str], may_have: Sequence[ClassId] = ()
) -> Stream:
    """The stream of the one task in the table `config.name` that is none of those `learned`, its rows made examples by
    what was fitted `before`; where that is to be of the past, with the task's own training rows, too. `may_have` are
    the labels that it may have, if not all may be; a second task that has none of the first one's may have its own.

    Raises:
        InputError: as `from_table`; or the table has other columns, or no task that is new, or several, or a label that
            it may not have.
    """
    path, where, settings = expanded(config.name), f"--task {config.name}", before.settings
    table, files = read_table(path, where)
    needed = [*before.names, settings.target, *([settings.split] if settings.split else [])]
    if settings.task is None:
        needed.append(str(settings.date))
    require_features(needed, table.names, where)
    known = [*needed, *settings.roles.values(), *settings.drop]
    require_features(known, [*table.names, *known], where, extra=True)
    tasks = next_rows(table, settings, learned, before.until, path.stem)
    labels, _ = labels_of(table, settings, config.target, before.word_labels)
    if may_have:
        _refuse_unknown(table, settings, labels, tasks.rows[0], may_have, alone=len(learned) == 1)
    laid = _laid(config, table, settings, tasks, labels)
    state = before.moved_on(table, laid.train)
    if tasks.starts:
        state = state.model_copy(update={"starts": (*before.starts, *tasks.starts), "until": tasks.until})
    return _stream(config, table, laid, [None], state, files, [])


def _refuse_unknown(
    table: Raw, settings: TableSettings, labels: Labels, rows: Indices, known: Sequence[ClassId], alone: bool
) -> None:
    """Raise for the first of these rows whose label is not known; if one task `alone` was learned, unless all are."""
    unknown = rows[~np.isin(labels[rows], known)]
    if len(unknown) and not (alone and len(unknown) == len(rows)):
        row = int(unknown.min())
        said = (
            f"in domain-il the bundle has {len(known)} outputs for good, for labels {few(known)}, but got "
            f"`{labels[row]}`"
        )
        raise table.error(
            settings.target, row, said, "Mend or drop the row, or train all tasks again in class-il or task-il"
        )


def rows_of_table(state: Preprocessing, given: Any, task: int | None = None) -> NDArray[np.float32]:
    """(n, features): the rows of a raw table, in memory or at a path, as examples of a task (default: the last one).

    Raises:
        InputError: it is no table, lacks a column, or a value does not fit its column.
    """
    table = _read(state, given)
    return in_memory_examples(table, state, [np.arange(len(table))], [task])


def texts_of_table(state: Preprocessing, given: Any) -> list[str]:
    """The texts (n,) of a raw table whose feature they are. Raises as `rows_of_table`."""
    table = _read(state, given)
    assert state.text is not None
    return texts_of(table, state.text, np.arange(len(table)))


def _read(state: Preprocessing, given: Any) -> Raw:
    is_path = isinstance(given, str | Path)
    table = read_table(Path(given), f"table {given}")[0] if is_path else in_memory(given, "table")
    require_features(state.names, table.names, table.where)
    return table


def labels_of(
    table: Raw, settings: TableSettings, target: str = CLASSIFICATION, as_words: bool | None = None
) -> tuple[Labels, bool]:
    """The label of each row (n,), and whether they are words: if told so, if Parquet says so, or if not all are whole
    numbers from 0 up. In a regression the amounts (n, 1), and no words.

    Raises:
        InputError: one is missing, or is no whole number where they are to be some; or the target learns several
            labels.
    """
    column = settings.target
    if target in OF_AMOUNTS:
        return _amounts(table, settings, target), False
    asked = settings.types.get(column) == "category" or table.holds_words(column)
    found = table.words(column)
    for row, label in enumerate(found.tolist()):
        if label is None:
            raise table.error(column, row, "each row must have a label, but this one has none", "Fill or drop it")
    distinct = sorted(set(found.tolist()))
    odd = [label for label in distinct if not WHOLE.fullmatch(label)]
    if as_words is None and odd and not asked and all(re.match(NUMBER, label) for label in distinct):
        row = int(np.flatnonzero(found == odd[0])[0])
        said = f"labels must be words or whole numbers >= 0, but got `{odd[0]}`"
        raise table.error(
            column, row, said, f"Convert it, or take all as words, `--arg 'types={{{column}: category}}'`"
        )
    if as_words is None:
        as_words = asked or bool(odd)
    if as_words:
        return found.astype(np.str_), True
    if odd:
        row = int(np.flatnonzero(found == odd[0])[0])
        said = f"labels must be whole numbers as those that the bundle has learned, but got `{odd[0]}`"
        raise table.error(column, row, said, "Mend it")
    return found.astype(np.uint64), False


def _amounts(table: Raw, settings: TableSettings, target: str) -> NDArray[np.float64]:
    """(n, 1): the target of each row."""
    column = settings.target
    if target != "regression":
        raise InputError(
            f"{table.where}: a table has one label in a row, so `stream.target` must be classification or regression, "
            f"but got {target}. Give a function that reads the table."
        )
    found = table.values(column, "number", "Mend or drop it")
    if (missing := np.flatnonzero(np.isnan(found))).size:
        said = "each row must have an amount to learn, but this one has none"
        raise table.error(column, int(missing[0]), said, "Fill or drop it")
    return found[:, None]


@dataclass(frozen=True)
class _Laid:
    """The tasks as they lie in the store: `rows` has for each task the table's rows of its examples, in their order,
    `train` those that are training data in every split."""

    drafted: Drafted
    rows: list[Indices]
    train: list[Indices]
    has_test: bool


def _laid(config: StreamConfig, table: Raw, settings: TableSettings, tasks: Tasks, labels: Labels) -> _Laid:
    part = None if settings.split is None else _split(table, settings.split)
    labelled, given = [], []
    for name, rows in zip(tasks.names, tasks.rows, strict=True):
        train, test = (rows, None) if part is None else (rows[part[rows] == "train"], rows[part[rows] == "test"])
        if test is not None and not (len(train) and len(test)):
            lacks = "train" if not len(train) else "test"
            raise InputError(
                f"{table.where}, task `{name}`: each task needs rows of `train` and of `test`, but none is `{lacks}`. "
                "Add some, or drop the task."
            )
        labelled.append(Labelled(name, labels[train], None if test is None else labels[test]))
        given.append((train, train if test is None else test))
    found = drafted(config, labelled)
    rows_of = [
        np.concatenate([train[places[0]], test[places[1]]])
        for (train, test), places in zip(given, found.places, strict=True)
    ]
    return _Laid(found, rows_of, _train_rows(config, found, np.concatenate(rows_of)), part is not None)


def _train_rows(config: StreamConfig, found: Drafted, row_of: Indices) -> list[Indices]:
    """For each task the rows that are training data in every split, if `row_of` is that of each example."""
    cuts = cut_tasks(config, found.y, found.drafts, found.class_ids)
    shared = [row_of[reduce(np.intersect1d, (task.train for task in of))] for of in zip(*cuts, strict=True)]
    for draft, rows in zip(found.drafts, shared, strict=True):
        if not len(rows):
            raise InputError(
                f"stream `{config.name}`, task `{draft.name}`: some rows must be training data in all {config.splits} "
                "splits, as what is fitted may be of no other, but none is. Take fewer `splits`."
            )
    return shared


def _split(table: Raw, column: str) -> NDArray[np.object_]:
    """(n,) `train` or `test`."""
    found = table.words(column)
    for row, value in enumerate(found.tolist()):
        if value not in ("train", "test"):
            said = "each row must say `train` or `test`, but this one " + (f"says `{value}`" if value else "does not")
            raise table.error(column, row, said, "Mend it")
    return found


def _as_table(config: StreamConfig, settings: TableSettings, where: str) -> StreamConfig:
    """As it is cut."""
    refuse_class_order(config, "the table names its own classes")
    usual = "latest" if settings.date else "random"
    return config.model_copy(update={"validation": config.validation or usual})


def _standardised(config: StreamConfig, state: Preprocessing, where: str) -> StreamConfig:
    """With `standardise` as a table has it: by nothing but its preprocessing, unless an encoder makes its features."""
    if state.text is not None:
        return config
    if config.standardise not in (None, "none"):
        raise InputError(
            f"{where}: a table is standardised by its own preprocessing, so `standardise` must be none, but got "
            f"{config.standardise}. Leave it out."
        )
    return config.model_copy(update={"standardise": "none"})


def _stream(
    config: StreamConfig,
    table: Raw,
    laid: _Laid,
    numbers: Sequence[int | None],
    state: Preprocessing,
    files: dict[str, str],
    notes: Sequence[str],
) -> Stream:
    """`numbers` are those of the tasks, as `Preprocessing.examples` takes them."""
    found, texts, path = laid.drafted, list[str](), ""
    if state.text is None:
        x, path = examples_of(table, state, laid.rows, numbers, files)
    else:
        texts = texts_of(table, state.text, np.concatenate(laid.rows))
        x = torch.arange(len(texts))[:, None]
    return replace(
        assemble(config, x, found.y, found.drafts, files, found.class_ids, texts),
        features=state.features,
        test_share=0.0 if laid.has_test else TEST_SHARE,
        preprocessing=state,
        notes=tuple(notes),
        mapped="" if config.encoder else path,
    )
