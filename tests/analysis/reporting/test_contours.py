"""The lines of equal average score against the metrics of a matrix."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.reporting.contours import contours
from cfsweep.metrics import average_score, plasticity, stability
from tests.analysis.folder import matrix_for


def test_contours_are_the_average_score_when_the_last_task_is_average() -> None:
    cells = np.array(matrix_for(0.7, 0.9, n_tasks=5))
    a = ((5 - 1) * stability(cells) + plasticity(cells)) / 5
    assert a == pytest.approx(average_score(cells))
    for level, start, end in contours(5, (0.6, 0.8, 0.85, 0.95)):
        for x, y in (start, end):
            assert 0.8 * x + 0.2 * y == pytest.approx(level)
            assert 0.6 - 1e-6 <= x <= 0.8 + 1e-6
            assert 0.85 - 1e-6 <= y <= 0.95 + 1e-6
    assert contours(1, (0, 1, 0, 1)) == []


def test_no_line_is_a_point() -> None:
    for n_tasks in (2, 3, 5):
        lines = contours(n_tasks, (0.5, 1.0, 0.75, 1.0))
        assert lines
        assert all(start != end for _, start, end in lines)
        assert max(level for level, _, _ in lines) < 1
