"""Tables and masked arrays that a function returns: columns go by name, and what is hidden is not trained on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from numpy.typing import NDArray

from cfsweep.config import StreamConfig
from cfsweep.errors import InputError
from cfsweep.training.streams import Stream
from cfsweep.training.streams._own_data import own_stream
from cfsweep.training.streams.own_function import _part, _task
from tests.training.streams.test_own import Items

NAMES = ["a", "b", "c"]


class Duck:
    """A table as those of Polars are: its `columns` are a list of names."""

    def __init__(self, x: NDArray[Any], columns: list[str]) -> None:
        self.x, self.columns = x, columns

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self.x


def as_frame(x: NDArray[Any], columns: list[str]) -> Any:
    return pd.DataFrame(x, columns=columns)


def as_arrow(x: NDArray[Any], columns: list[str]) -> Any:
    return pa.table({name: x[:, k] for k, name in enumerate(columns)})


TABLES = pytest.mark.parametrize("table", [as_frame, as_arrow, Duck])


def arrays(task: int, n: int = 20) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    return np.random.default_rng(task).normal(size=(n, 3)), 2 * task + np.arange(n) % 2


def stream_of(items: list[Any]) -> Stream:
    return own_stream(StreamConfig(name="own"), [_task(item, f"task {k}", "own") for k, item in enumerate(items)], {})


def refused(items: list[Any]) -> str:
    with pytest.raises(InputError) as caught:
        stream_of(items)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@TABLES
@pytest.mark.parametrize("order", [[2, 1, 0], [1, 2, 0], [0, 1, 2]])
def test_columns_go_by_name_over_tasks_and_parts(table: Any, order: list[int]) -> None:
    def shuffled(task: int, part: int) -> tuple[Any, Any]:
        x, y = arrays(task + 10 * part)
        places = order if (task, part) != (0, 0) else [0, 1, 2]
        return table(x[:, places], [NAMES[k] for k in places]), y - 20 * part

    stream = stream_of([(shuffled(task, 0), shuffled(task, 1)) for task in range(3)])
    plain = stream_of([(arrays(task), (arrays(task + 10)[0], arrays(task)[1])) for task in range(3)])
    assert torch.equal(stream.x, plain.x)
    assert stream.features == tuple(NAMES)
    assert plain.features == ()


@TABLES
def test_other_names_are_refused(table: Any) -> None:
    (x, y), (x1, y1) = arrays(0), arrays(1)
    line = refused([((table(x, NAMES), y),), ((table(x1, ["a", "b", "d"]), y1),)])
    assert "task `task 1`: all tasks must have the same features, but it lacks `c` and has `d`. Rename or drop" in line
    assert "but it lacks `c`. Rename" in refused([((table(x, NAMES), y),), ((table(x1[:, :2], ["a", "b"]), y1),)])
    assert "but it has `c`. Rename" in refused([((table(x[:, :2], ["a", "b"]), y),), ((table(x1, NAMES), y1),)])


@pytest.mark.parametrize("table", [as_frame, Duck])
def test_a_name_that_stands_twice_is_refused(table: Any) -> None:
    x, y = arrays(0)
    line = refused([((table(x, ["a", "b", "a"]), y),)])
    assert "task 0, train, x: a column name stands once, but `a` stands twice. Rename one." in line


def test_numbers_may_be_names_and_arrays_have_none() -> None:
    (x, y), (x1, y1) = arrays(0), arrays(1)
    reordered = pd.DataFrame(x1)[[2, 0, 1]]
    stream = stream_of([((pd.DataFrame(x), y),), ((reordered, y1),), (arrays(2),)])
    assert stream.features == ("0", "1", "2")
    assert torch.equal(stream.x, stream_of([(arrays(k),) for k in range(3)]).x)


def test_what_is_not_finite_is_located_by_its_column() -> None:
    x, y = arrays(0)
    x[4, 1] = np.nan
    assert "task 0, train: x must be finite in float32, but column `b` of example 4 (from 0) is nan. Fill" in refused(
        [((as_frame(x, NAMES), y),)]
    )


def test_an_empty_table_has_no_examples() -> None:
    x, y = arrays(0)
    assert "task 0, train: a task needs examples, but there is none" in refused([((as_frame(x[:0], NAMES), y[:0]),)])


# ------------------------------------------------------------------------------------------------ masks


def masked(values: NDArray[Any], every: int) -> Any:
    return np.ma.masked_array(values, mask=np.broadcast_to((np.arange(len(values)) % every == 0), values.T.shape).T)


@pytest.mark.parametrize("every", [2, 5, 20])
def test_masks_that_hide_something_are_refused(every: int) -> None:
    x, y = arrays(0)
    n = len(y) // every
    for item, where, hidden in (
        (((masked(x, every), y),), "task 0, train, x", 3 * n),
        (((x, masked(y, every)),), "task 0, train, y", n),
        (((x, y), (masked(x, every), y)), "task 0, test, x", 3 * n),
    ):
        assert f"{where}: no value may be masked, but {hidden} are. Fill or drop them." in refused([item])


def test_so_are_they_item_by_item() -> None:
    x, y = arrays(0)
    with pytest.raises(InputError, match="here, x: no value may be masked, but 12 are"):
        _part(Items(masked(x, 5), y), "here")
    with pytest.raises(InputError, match="here, y: no value may be masked, but 4 are"):
        _part(Items(x, masked(y, 5)), "here")


def test_a_mask_that_hides_nothing_is_an_array() -> None:
    x, y = arrays(0)
    plain = stream_of([((x, y),)])
    for mask in (np.ma.nomask, False, np.zeros_like(x)):
        assert torch.equal(stream_of([((np.ma.masked_array(x, mask=mask), y),)]).x, plain.x)


# ------------------------------------------------------------------------------------------------ test data


def test_whether_cfsweep_drew_the_test_data_is_known() -> None:
    items = [(arrays(k), arrays(k)) for k in range(3)]
    assert stream_of(items).test_share == 0.0
    assert stream_of([{"train": train} for train, _ in items]).test_share == 0.2
    assert "but `task 1` lack what `task 0`, `task 2` have." in refused([items[0], (items[1][0],), items[2]])
