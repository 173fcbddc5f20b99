"""The benchmark of packs on a GPU, on whatever this machine has: right answers and counts; its times are not judged."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import gpu, gpu_measures
from cfsweep.config import NetworkConfig
from cfsweep.testing import small_stream


def tables(printed: str) -> list[list[list[str]]]:
    """The cells of each table that was printed, the headings first."""
    found: list[list[list[str]]] = [[]]
    for line in printed.splitlines():
        if line.startswith("| "):
            found[-1].append([cell.strip() for cell in line.strip("|").split("|")])
        elif found[-1] and not line.startswith("|"):
            found.append([])
    return [table for table in found if table]


def test_quick_prints_tables_with_plausible_answers(capsys: pytest.CaptureFixture[str]) -> None:
    threads = torch.get_num_threads()
    gpu.main(["--quick"])
    assert torch.get_num_threads() == threads
    printed = capsys.readouterr().out
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU: what follows was measured on a proc"
    assert f"On {where}" in printed
    mlp, steps, many, update = tables(printed)
    ways = ["plain loop, one after another", "the same, fused Adam", "the same in 2 processes at once"]
    assert [row[0] for row in mlp[1:]] == [*ways, "pack of 1", "pack of 2", "pack of 4"]
    for row in mlp[1:]:
        assert 0.6 < float(row[-1].split()[0]) <= 1
        assert all(float(cell) > 0 for cell in row[1:-1])
    assert [row[0] for row in many[1:]] == ["naive", "ewc"]
    assert len(update) == 4
    for row in steps[1:]:
        assert all(float(cell.removesuffix(" %")) > 0 for cell in row[1:7])
    assert "synthetic, shaped as split-mnist, 2 tasks, 512 training images" in printed


def test_a_step_is_counted_without_what_a_task_does_once() -> None:
    """Products of an MLP 784-16-10 at batch 8: forward, gradients of the weights, and of the hidden layer."""
    size, network = 3, NetworkConfig(args={"hidden": [16]})
    case = gpu_measures.Case("mlp", network, gpu.synthetic("split-mnist"), 1, (size,), batch_size=8)
    counts = gpu_measures.per_step(case, size, "cpu").counts
    assert counts.flops == size * 2 * 8 * (2 * 784 * 16 + 3 * 16 * 10)
    n_weights = 784 * 16 + 16 + 16 * 10 + 10
    assert counts.bytes > size * 4 * (7 * n_weights + 8 * 784), "Adam's update, and the images"
    assert counts.ops > 10


def test_a_short_stream_is_shown_again() -> None:
    stream = gpu_measures.shortened(small_stream(), 2, 50, 10)
    assert [(len(t.train), len(t.validation), len(t.test)) for t in stream.tasks] == [(50, 10, 10)] * 2
    assert stream.tasks[0].train[22] == stream.tasks[0].train[0]


def test_it_imports_what_a_bare_gpu_machine_has(project_root: Path) -> None:
    program = "import sys, benchmarks.gpu\nprint(*sys.modules, sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=project_root, capture_output=True, text=True, timeout=120, check=True
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "torch" in loaded
    assert not loaded & {"ray", "optuna", "pyarrow", "pandas", "yaml"}
