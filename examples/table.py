"""Writes a table as people have one: six months of customers, with words, dates and gaps, of whom 8 % leave.

`python -m examples.table` writes months.csv, and month-07.csv for the month after; docs/own-data.md trains on them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd


def month(number: int) -> pd.DataFrame:
    """The rows of one month of 2024 (1 .. 12). Age drifts, and a plan is new in April."""
    rng = np.random.default_rng(number)
    n, first = 400 + 30 * (number % 3), pd.Timestamp(2024, number, 1)
    age, member = rng.normal(44 + number, 12, n).round(1), rng.random(n) < 0.5
    plan = rng.choice(["basic", "plus", "pro", *(["trial"] if number > 3 else [])], n)
    log_odds = -4.65 + 1.9 * (plan == "basic") + 0.09 * (age - 45) + 1.2 * member
    leaves = rng.random(n) < 1 / (1 + np.exp(-log_odds))
    return pd.DataFrame(
        {
            "month": f"2024-{number:02d}",
            "day": first + pd.to_timedelta(rng.integers(0, 28, n), "D"),
            "age": np.where(rng.random(n) < 0.05, np.nan, age),
            "income": np.exp(rng.normal(10, 0.6, n)).round(2),
            "plan": pd.Series(plan).where(rng.random(n) > 0.04),
            "member": np.where(member, "yes", "no"),
            "since": pd.Timestamp(2020, 1, 1) + pd.to_timedelta(rng.integers(0, 1200, n), "D"),
            "churned": np.where(leaves, "left", "stayed"),
        }
    )


def write(folder: Path) -> None:
    pd.concat([month(number) for number in range(1, 7)]).to_csv(folder / "months.csv", index=False)
    month(7).to_csv(folder / "month-07.csv", index=False)


if __name__ == "__main__":
    write(Path())
