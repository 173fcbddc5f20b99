"""The benchmark of the training loop runs and shows right answers; its times are not judged here."""

from __future__ import annotations

import pytest
import torch

from benchmarks import loop
from benchmarks.anatomy import evaluation_products_frac
from cfsweep.testing import small_stream


def test_quick_prints_a_table_with_plausible_answers(capsys: pytest.CaptureFixture[str]) -> None:
    threads = torch.get_num_threads()
    loop.main(["--quick"])
    assert torch.get_num_threads() == threads
    printed = capsys.readouterr().out
    lines = [[cell.strip() for cell in line.strip("│").split("│")] for line in printed.splitlines() if "│" in line]
    rows = [line for line in lines if len(line) == len(loop.HEADINGS) and line[2]]
    assert [(row[0], row[1].split(",")[0]) for row in rows] == [
        (method, variant)
        for method in loop.METHODS
        for variant in (*(("plain loop", "plain") if method != "packnet" else ()), "pack of 1", "pack of 2")
    ]
    for method, variant, ms, to_plain, to_floor, to_naive, accuracy, transfer in rows:
        assert float(ms) > 0
        assert float(to_floor) > 0
        assert float(to_naive) > 0
        assert to_plain == "" if method == "packnet" else float(to_plain) > 0
        assert variant != "plain loop" or float(to_plain) == 1
        assert 0.6 < float(accuracy) <= 1
        assert -0.5 < float(transfer) < 0.5
    shares = [line for line in lines if len(line) == len(loop.ANATOMY_HEADINGS)]
    assert [line[0] for line in shares] == list(loop.METHODS)
    assert all(float(cell) > 0 for line in shares for cell in line[1:])
    assert "The floor is the matrix products" in printed
    assert "The Fisher diagonal of 200 examples" in printed


def test_the_floor_of_evaluation_by_hand() -> None:
    stream = small_stream(n_tasks=2, n_train=20)  # 2 tasks of 20 train, 6 validation, 8 test; images of 36
    # 36 x 5 and 5 x 4 weights: 200. Evaluated: 3 times 12 examples. Trained: 2 epochs of 40, 3 x 200 less 180 each.
    expected = 3 * 12 * 200 / (80 * 420)
    assert evaluation_products_frac(stream, (5,), 2) == pytest.approx(expected)
