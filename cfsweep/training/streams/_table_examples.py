"""The rows of a table as examples, block by block: in memory, or where they are large in a file that is mapped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cfsweep.training.streams._base import Indices
from cfsweep.training.streams._cache import cached_array, is_large, mapped
from cfsweep.training.streams._preprocessing import Preprocessing
from cfsweep.training.streams._table_files import Raw
from cfsweep.visible import tell

_FORMAT = 1  # of how examples come from rows; another one has other names
Examples = NDArray[np.float32]


def examples_of(
    table: Raw,
    state: Preprocessing,
    rows: Sequence[Indices],
    numbers: Sequence[int | None],
    files: Mapping[str, str],
) -> tuple[Tensor, str]:
    """The examples (n, features) float32 of the rows of some tasks, one task after the other, and the file that they
    are mapped from, empty where they are in memory. `numbers` are those of the tasks, as `Preprocessing.examples` takes
    them; `files` the SHA-256 of each file of the table.

    Raises:
        InputError: a value does not fit its column, or the cache cannot be written to.
    """
    shape = (sum(map(len, rows)), len(state.features))
    n_bytes = 4 * shape[0] * shape[1]
    if not is_large(n_bytes):
        return torch.from_numpy(in_memory_examples(table, state, rows, numbers)), ""

    def fill(into: Examples) -> None:
        tell(f"{table.where}: its examples, {n_bytes / 2**30:.3g} GiB, are written into the cache once, and mapped")
        _fill(into, table, state, rows, numbers)

    key = _key(state, rows, numbers, files)
    path, _ = cached_array("tables", key, shape, np.float32, fill)
    return mapped(path), str(path)


def in_memory_examples(
    table: Raw, state: Preprocessing, rows: Sequence[Indices], numbers: Sequence[int | None]
) -> Examples:
    """The same (n, features), in memory."""
    found = np.empty((sum(map(len, rows)), len(state.features)), np.float32)
    _fill(found, table, state, rows, numbers)
    return found


def _fill(
    into: Examples, table: Raw, state: Preprocessing, rows: Sequence[Indices], numbers: Sequence[int | None]
) -> None:
    order = np.concatenate(rows)
    place = np.full(len(table), -1)  # of each row among the examples
    place[order] = np.arange(len(order))
    task = np.full(len(table), -1)
    task[order] = np.repeat(np.arange(len(rows)), [len(own) for own in rows])
    for block in table.blocks(state.names, into.shape[1]):
        values = state.values_of(block)
        here = slice(block.first_row, block.first_row + len(block))
        for k in np.unique(task[here][task[here] >= 0]).tolist():
            own = np.flatnonzero(task[here] == k)
            into[place[here][own]] = state.examples(block, values, own, numbers[k])


def _key(state: Preprocessing, rows: Sequence[Indices], numbers: Sequence[int | None], files: Mapping[str, str]) -> str:
    told = [_FORMAT, sorted(files.items()), state.model_dump(mode="json"), list(numbers), [len(own) for own in rows]]
    total = hashlib.sha256(json.dumps(told).encode())
    for own in rows:
        total.update(np.ascontiguousarray(own).data)
    return total.hexdigest()[:32]
