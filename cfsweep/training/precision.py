"""How exactly the matrix products and convolutions of a step are computed. All else stays float32: weights, moments,
penalties, what is kept of a task, and evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def matmul_precision(precision: str) -> Iterator[None]:
    """Within it a GPU multiplies float32 numbers as they are, or with `tf32` rounded to 10 bits of mantissa; torch by
    itself does so in convolutions alone. Nothing changes on a CPU."""
    backends = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)  # type: ignore[attr-defined]
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "tf32" if precision == "tf32" else "ieee"
        yield
    finally:
        for backend, value in zip(backends, before, strict=True):
            backend.fp32_precision = value
