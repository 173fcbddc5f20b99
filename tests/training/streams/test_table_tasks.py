"""Which rows of a table a task has, and in which order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from cfsweep.training.streams._table_files import in_memory
from cfsweep.training.streams._table_settings import TableSettings
from cfsweep.training.streams._table_tasks import next_rows, tasks_of

N = 400  # of few dates: what sorts otherwise than stably keeps the order of some rows, but not of so many


def a_table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    day = pd.Timestamp(2024, 1, 1) + pd.to_timedelta(rng.integers(0, 6, N), "D")
    return pd.DataFrame({"day": day, "region": rng.choice(["north", "south"], N), "label": np.arange(N) % 2})


@pytest.mark.parametrize("said", [{"windows": 2}, {"windows": ["2024-01-01", "2024-01-03"]}, {"task": "region"}])
def test_rows_of_one_date_keep_their_order(said: dict[str, Any]) -> None:
    """Against Python's own sort, which is stable; the tasks are of few dates, and so each date has many rows."""
    frame = a_table()
    settings = TableSettings(target="label", date="day", **said)
    found = tasks_of(in_memory(frame, "table"), settings)
    assert sorted(row for rows in found.rows for row in rows.tolist()) == list(range(N))
    days = frame["day"].tolist()
    for rows in found.rows:
        assert rows.tolist() == sorted(sorted(rows.tolist()), key=lambda row: days[row])


@pytest.mark.parametrize("said", [{"windows": 2}, {"task": "region"}])
def test_so_do_those_of_the_next_task(said: dict[str, Any]) -> None:
    frame = a_table()
    settings = TableSettings(target="label", date="day", **said)
    (rows,) = next_rows(in_memory(frame, "table"), settings, ["north"], "2024-01-02", "next").rows
    days = frame["day"].tolist()
    if "task" in said:
        expected = [row for row in range(N) if frame["region"][row] == "south"]
    else:
        expected = [row for row in range(N) if days[row] > pd.Timestamp(2024, 1, 2)]
    assert rows.tolist() == sorted(expected, key=lambda row: days[row])
