"""Lines of equal average score in the plane of stability and plasticity.

At the end, `average score = ((T-1) * stability + R[T-1, T-1]) / T` exactly. The plane has plasticity, the mean of
R[i, i], in place of R[T-1, T-1]: a line `(T-1)/T * stability + 1/T * plasticity = c` is the average score of a
trial that learns the last task as well as the average task. It is labelled as that approximation wherever drawn.
"""

from __future__ import annotations

import math

import numpy as np

from analysis.reporting.plane import Box

LABEL = "(T−1)/T · stability + 1/T · plasticity = c"
MEANING = (
    f"Dashed lines: {LABEL}. That is the average score at the end if the last task is learned as well as the "
    "average task (exactly, the last task's own score stands in place of plasticity)."
)

Segment = tuple[float, tuple[float, float], tuple[float, float]]


def contours(n_tasks: int, box: Box, wanted: int = 9) -> list[Segment]:
    """Levels c with the two ends of their line inside `box` (x low, x high, y low, y high), c ascending.

    A line that meets the box in a corner alone is left out.

    >>> contours(2, (0.0, 1.0, 0.0, 1.0), wanted=1)
    [(0.5, (0.0, 1.0), (1.0, 0.0))]
    """
    if n_tasks < 2:
        return []
    x_low, x_high, y_low, y_high = box
    a, b = (n_tasks - 1) / n_tasks, 1 / n_tasks
    low, high = a * x_low + b * y_low, a * x_high + b * y_high
    power = math.floor(math.log10((high - low) / (wanted + 1)))
    steps = [float(f"{digit}e{power + more}") for more in (0, 1) for digit in (1, 2, 5)]
    step = next(s for s in steps if (high - low) / s <= wanted + 1)
    levels = [
        float(f"{k * step:.9g}") for k in range(int(np.ceil(low / step + 1e-9)), int(np.floor(high / step - 1e-9)) + 1)
    ]
    lines = []
    for c in levels:
        # x where the line meets the top, then the bottom, of the box, kept inside it.
        left = min(max((c - b * y_high) / a, x_low), x_high)
        right = min(max((c - b * y_low) / a, x_low), x_high)
        lines.append((c, (left, _y(c, left, a, b)), (right, _y(c, right, a, b))))
    return lines


def _y(c: float, x: float, a: float, b: float) -> float:
    return round((c - a * x) / b, 9)
