"""Your own stream: `cfsweep run SPACE.yaml --stream examples.own_stream:tasks`, from the folder that holds `examples`.

The function returns a list with one item per task: a mapping (or a tuple) with `train` and `test`, each a pair (x, y)
or a `torch.utils.data.Dataset` of such pairs. Labels are class numbers over the whole stream. The function must return
the same each time: a study that is resumed calls it again, and compares.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def tasks(n_tasks: int = 3, per_class: int = 100, features: int = 16) -> list[dict[str, Any]]:
    """Two Gaussian clouds per task, at places of their own: x (n, features) float32, y (n,) in {2k, 2k+1}."""
    stream = []
    for k in range(n_tasks):
        rng = np.random.default_rng(k)
        centres = rng.normal(size=(2, features))
        stream.append(
            {
                "name": f"clouds {k}",
                "train": _draw(rng, centres, per_class, first_class=2 * k),
                "test": _draw(rng, centres, per_class, first_class=2 * k),
            }
        )
    return stream


def _draw(rng: np.random.Generator, centres: np.ndarray, n: int, first_class: int) -> tuple[np.ndarray, np.ndarray]:
    which = np.repeat([0, 1], n)
    noise = rng.normal(size=(2 * n, centres.shape[1]))
    return (centres[which] + noise).astype(np.float32), first_class + which
