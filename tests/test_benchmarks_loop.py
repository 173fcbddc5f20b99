"""The benchmark of the training loop runs and shows right answers; its times are not judged here."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from benchmarks import loop
from benchmarks.plain import Outcome


def test_quick_prints_a_table_with_plausible_answers(capsys: pytest.CaptureFixture[str]) -> None:
    threads = torch.get_num_threads()
    loop.main(["--quick"])
    assert torch.get_num_threads() == threads
    printed = capsys.readouterr().out
    rows = [re.findall(r"[\w., -]*[\w.]", line) for line in printed.splitlines() if line.startswith("│")]
    assert [(row[0].strip(), row[1].strip()) for row in rows] == [
        (method, variant)
        for method in loop.METHODS
        for variant in ("plain loop", "plain, fused Adam", "pack of 1", "pack of 2")
    ]
    for _, variant, *numbers in rows:
        ms, to_plain, to_floor, accuracy, transfer = map(float, numbers)
        assert ms > 0
        assert to_floor > 0
        assert to_plain == 1 if variant.strip() == "plain loop" else to_plain > 0
        assert 0.6 < accuracy <= 1
        assert -0.5 < transfer < 0.5
    assert "floor: matrix products" in printed


def test_the_median_of_the_rounds_counts() -> None:
    timing = loop.Timing()
    for seconds in (1.0, 5.0, 2.0):
        timing.add([Outcome([[1.0, 0.5], [0.5, 1.0]], seconds, 1000)])
    assert timing.ms == 2.0
    assert timing.mean(lambda matrix: float(np.min(matrix))) == 0.5
