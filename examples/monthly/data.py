"""Made-up months for retrain.sh: `python examples/monthly/data.py FOLDER` writes 01.parquet to 06.parquet.

Who leaves, and who stays? Each month has customers of its own kind, for whom another rule holds, so that a model that
learns one month after the other forgets the rules of those before.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

FEATURES, TRAIN, TEST = 6, 2000, 500


def month(number: int) -> pd.DataFrame:
    """One row per customer: features `f00` to `f05`, `y` (1: leaves), and `split` (train or test)."""
    rng = np.random.default_rng(number)
    kind, rule = 4 * rng.normal(size=FEATURES), rng.normal(size=FEATURES)
    x = kind + rng.normal(size=(TRAIN + TEST, FEATURES))
    table = pd.DataFrame(x.astype(np.float32), columns=[f"f{k:02}" for k in range(FEATURES)])
    table["y"] = ((x - kind) @ rule > 0).astype(np.int64)
    table["split"] = ["train"] * TRAIN + ["test"] * TEST
    return table


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(1, 7):
        month(number).to_parquet(folder / f"{number:02}.parquet")
