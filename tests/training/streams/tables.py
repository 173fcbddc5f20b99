"""Tables of months for the tests: numbers, words, booleans, dates and gaps."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from cfsweep.config import StreamConfig
from cfsweep.training.streams import Stream, load_stream

ARGS = {"target": "churned", "task": "month"}
WORDS = ("basic", "plus", "pro", "NA", "ßüß, x")


def months(first: int, n: int, rows: int = 60, seed: int = 0) -> pd.DataFrame:
    """Rows of `n` months; those of a month are the same in every table with this seed."""
    found = []
    for k in range(first, first + n):
        rng = np.random.default_rng([seed, k])
        m = rows + 7 * (k % 3)
        age, member = rng.normal(45 + k, 12, m), rng.random(m) < 0.5
        left = (np.arange(m) % 5 == 0) ^ (rng.random(m) < 0.1)
        frame = pd.DataFrame(
            {
                "month": f"2024-{k + 1:02d}",
                "day": pd.Timestamp(2024, k + 1, 1) + pd.to_timedelta(rng.permutation(m) % 28, "D"),
                "age": np.where(rng.random(m) < 0.1, np.nan, age),
                "income": np.exp(rng.normal(10 + 0.1 * k, 0.6, m)),
                "plan": rng.choice(WORDS, m),
                "member": member,
                "since": pd.Timestamp(2020, 1, 1) + pd.to_timedelta(rng.integers(0, 1200, m), "D"),
                "churned": np.where(left, "left", "stayed"),
            }
        )
        frame.loc[rng.random(m) < 0.1, "plan"] = None
        found.append(frame)
    return pd.concat(found, ignore_index=True)


def as_csv(frame: pd.DataFrame, path: Path) -> Path:
    frame.to_csv(path, index=False)
    return path


def as_parquet(frame: pd.DataFrame, path: Path) -> Path:
    frame.to_parquet(path, index=False)
    assert pq.read_metadata(path).num_rows == len(frame)
    return path


def load(path: Path, args: dict[str, Any] | None = None, **settings: Any) -> Stream:
    return load_stream(StreamConfig(name=str(path), scenario="domain-il", args={**ARGS, **(args or {})}, **settings))


def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on whatever is read is large."""
    monkeypatch.setattr("cfsweep.training.streams._cache.IN_MEMORY_BYTES", 0)


def require_same(one: Stream, other: Stream) -> None:
    """All fields but `mapped`, to the last bit."""
    for field in fields(Stream):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, torch.Tensor):
            assert a.dtype == b.dtype, field.name
            assert a.numpy().tobytes() == b.numpy().tobytes(), field.name
        elif field.name not in ("tasks", "other_splits", "mapped"):
            assert a == b, field.name
    for k in range(1 + len(one.other_splits)):
        assert one.of_split(k).digest == other.of_split(k).digest
