"""Offline analysis of a results folder, local or remote, complete or still being written.

>>> import analysis
>>> callable(analysis.load) and callable(analysis.front)
True
"""

from analysis.aggregate import trials
from analysis.choosing import choose, select, selection, test_accuracy
from analysis.describing import study
from analysis.fronts import Front, front, write_front
from analysis.judging import compare, gate
from analysis.loading import accuracy_matrix, buffers, curves, load
from analysis.reporting import report
from analysis.tables import table

__all__ = [
    "Front",
    "accuracy_matrix",
    "buffers",
    "choose",
    "compare",
    "curves",
    "front",
    "gate",
    "load",
    "report",
    "select",
    "selection",
    "study",
    "table",
    "test_accuracy",
    "trials",
    "write_front",
]
