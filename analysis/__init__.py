"""Offline analysis of a results folder, local or remote, complete or still being written.

`frames` reads a folder into data frames and `aggregate` takes means over seeds; `fronts`, `choice` and `comparison`
answer questions about the trials, `recipe` gives one to train on; `reporting` draws and writes; `cli` is the command
line.

>>> import analysis
>>> callable(analysis.load) and callable(analysis.front)
True
"""

from analysis.aggregate import trials
from analysis.choice import choose, select, selection
from analysis.comparison import compare
from analysis.confirmation import Confirmation, confirmation, test_scores
from analysis.description import study
from analysis.frames import buffers, curves, load, score_matrix
from analysis.fronts import Front, front, write_front
from analysis.reporting.page import report
from analysis.reporting.tables import table
from analysis.study_gate import gate

__all__ = [
    "Confirmation",
    "Front",
    "buffers",
    "choose",
    "compare",
    "confirmation",
    "curves",
    "front",
    "gate",
    "load",
    "report",
    "score_matrix",
    "select",
    "selection",
    "study",
    "table",
    "test_scores",
    "trials",
    "write_front",
]
