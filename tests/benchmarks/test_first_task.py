"""The benchmark of the shared first task runs, and refuses results that differ; its times are not judged here."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from benchmarks import first_task
from cfsweep.config import StreamConfig
from cfsweep.training.streams import load_stream

SMALL = first_task.Search(trials=2, seeds=1, pack_runs=1, hidden=(8,))


def test_quick_prints_what_was_saved_of_the_work(capsys: pytest.CaptureFixture[str]) -> None:
    threads = torch.get_num_threads()
    first_task.main(["--quick"])
    assert torch.get_num_threads() == threads
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")][1:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [row[:3] for row in rows] == [
        [tasks, variant, f"{left} of 4"]
        for tasks in ("2", "5")
        for variant, left in zip(first_task.VARIANTS, (4, 2, 1), strict=True)
    ]
    assert [row[5] for row in rows[:3]] == ["0.0%", "25.1%", "37.6%"]  # 648 of 1293 images are the first task's
    for same in (rows[:3], rows[3:]):
        assert len({row[7] for row in same}) == 1
        assert all(row[8].startswith("0 of ") for row in same)


def test_results_that_differ_end_it() -> None:
    stream = load_stream(StreamConfig(n_tasks=2))
    one = first_task.train(SMALL, stream, "nothing")
    first_task.refuse_difference(one, one, stream, "within packs")
    weights = one.weights.clone()
    weights[0, 0] = torch.nextafter(weights[0, 0], torch.tensor(1.0))
    with pytest.raises(SystemExit, match=r"2 tasks, sharing across packs: 1 of [\d,]+ numbers differ"):
        first_task.refuse_difference(replace(one, weights=weights), one, stream, "across packs")


def test_a_cut_stream_holds_the_same_examples() -> None:
    stream = load_stream(StreamConfig())
    few = first_task.cut(stream, n_tasks=3, n_train=20, n_other=5)
    assert len(few.x) == len(few.y) == 3 * (20 + 5 + 5)
    for own, task in zip(few.tasks, stream.tasks, strict=False):
        for part, n in (("train", 20), ("validation", 5), ("test", 5)):
            kept = torch.from_numpy(getattr(task, part)[:n])
            assert torch.equal(few.x[torch.from_numpy(getattr(own, part))], stream.x[kept])
            assert torch.equal(few.y[torch.from_numpy(getattr(own, part))], stream.y[kept])
