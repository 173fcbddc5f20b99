"""The comparison with the peers: the trainer does what it says, the arithmetic is right, and the command runs."""

from __future__ import annotations

import re
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import log_softmax
from torch.utils.data import TensorDataset

from benchmarks.peers import command, ours, report, textbook
from benchmarks.peers.job import PARTS, Job, Record, mixed, read_records, read_tasks, write_records, write_tasks
from benchmarks.peers.processes import Usage, watched
from benchmarks.peers.reached import Found
from benchmarks.peers.summary import Measured, Swept, agreement, ratios
from cfsweep import metrics
from cfsweep.config import StreamConfig
from cfsweep.training.streams import Stream, load_stream

JOB = replace(command.QUICK.job, epochs=3, lr=0.01, hidden=(32,), ewc_examples=50)


@pytest.fixture(scope="module")
def stream() -> Stream:
    return load_stream(StreamConfig())


@pytest.fixture(scope="module")
def job(stream: Stream, tmp_path_factory: pytest.TempPathFactory) -> Job:
    folder = tmp_path_factory.mktemp("peers")
    write_tasks(folder / "tasks.npz", ours.tasks_of(stream))
    return replace(JOB, tasks=str(folder / "tasks.npz"), records=str(folder / "records.json"))


@pytest.fixture(autouse=True)
def threads() -> object:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


# ---------------------------------------------------------------------- what the peers are given


def test_peers_see_the_splits_of_the_stream(stream: Stream, job: Job) -> None:
    tasks = read_tasks(job.tasks)
    assert len(tasks) == len(stream.tasks)
    for ours_, theirs in zip(stream.tasks, tasks, strict=True):
        for part in PARTS:
            x, y = theirs[part]
            indices = getattr(ours_, part)
            seen = (stream.x[torch.from_numpy(indices)].float() - stream.shift) * stream.scale
            np.testing.assert_array_equal(x, seen.flatten(1).numpy())
            np.testing.assert_array_equal(y, stream.y.numpy()[indices] - min(ours_.classes))
            assert set(y.tolist()) == {0, 1}


def test_the_objective_is_that_of_cfsweep() -> None:
    matrix = np.random.default_rng(0).random((5, 5))
    assert mixed(matrix.tolist()) == pytest.approx(metrics.mixed(matrix, 0.5))


def test_a_job_and_records_survive_their_files(job: Job, tmp_path: Path) -> None:
    job.write(tmp_path / "job.json")
    assert Job.read(tmp_path / "job.json") == job
    records = [Record(1.0, 2, 0.5, [[0.25, 0.0], [0.5, 1.0]], 1.5, 0.5, 10.0, 12.0)]
    write_records(tmp_path / "records.json", records)
    assert read_records(tmp_path / "records.json") == records


# ---------------------------------------------------------------------- the textbook trainer


def test_the_textbook_penalty_is_the_one_that_is_written_down(job: Job) -> None:
    tasks = read_tasks(job.tasks)
    model = textbook.MLP(64, (8,), len(tasks), 2)
    ewc = textbook.EWC(model, 7.0, n_examples=20)
    assert ewc.penalty() == 0.0
    total = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for task in range(2):
        x, y = (torch.from_numpy(each[:20]) for each in tasks[task]["train"])  # all of them: order does not matter
        ewc.end_task(TensorDataset(x, y), task)
        for i in range(20):
            log_p = log_softmax(model.head(model.body(x[i]))[2 * task : 2 * task + 2], 0)[y[i]]
            for name, gradient in zip(total, torch.autograd.grad(log_p, list(model.parameters())), strict=True):
                total[name] += gradient.square() / 20
    latest = {name: p.detach().clone() for name, p in model.named_parameters()}
    with torch.no_grad():
        for p in model.parameters():
            p += torch.randn_like(p)
    by_hand = sum((total[n] * (p - latest[n]).square()).sum() for n, p in model.named_parameters()) * 7.0 / 2
    torch.testing.assert_close(ewc.penalty().detach(), by_hand.detach())


def test_the_textbook_learns_what_a_pack_learns(stream: Stream, job: Job) -> None:
    tasks, seeds = read_tasks(job.tasks), range(4)
    job = replace(job, first=(100.0, 1e5))
    theirs = [textbook.run(tasks, strength, seed, job) for strength in job.first for seed in seeds]
    own = ours.given(stream, job, seeds)
    assert [(r.ewc_lambda, r.seed) for r in theirs] == [(r.ewc_lambda, r.seed) for r in own]
    found = agreement({"c": theirs}, own)
    assert len(found) == 4
    assert all(each.agrees for each in found)
    assert all(abs(each.mean - each.ours) < 0.05 for each in found)
    assert all(each.mean > 0.8 for each in found if each.metric == "average accuracy")
    assert all(0 < r.fisher_s < r.train_s < r.ended - r.began for r in theirs)
    assert all(np.triu(r.validation, 1).max() == 0 and np.diag(r.validation).min() > 0.5 for r in theirs)


# ---------------------------------------------------------------------- what is seen of the processes

BURN = """
import subprocess, sys, time
block = bytearray(200_000_000)
for at in range(0, len(block), 4096):
    block[at] = 1
code = "import time; end = time.process_time() + {s}\\nwhile time.process_time() < end: pass"
subprocess.Popen([sys.executable, "-c", code.format(s=0.6)])  # outlives its parent
subprocess.run([sys.executable, "-c", code.format(s=0.4)], check=True)
"""


def test_what_a_command_starts_is_counted_too(tmp_path: Path) -> None:
    before = time.time()
    usage = watched([sys.executable, "-c", BURN], {}, tmp_path)
    assert before <= usage.began < usage.ended <= time.time()
    assert usage.peak_bytes > 200_000_000
    assert 0.4 < usage.cpu_s < 20  # the parent alone takes less
    assert usage.cpu_between_s(usage.began, usage.ended) == usage.cpu_s


def test_a_command_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)exit code 3.*too bad"):
        watched([sys.executable, "-c", "import sys; print('too bad'); sys.exit(3)"], {}, tmp_path)


def test_where_avalanche_is_missing_it_is_said(tmp_path: Path) -> None:
    assert "make avalanche" in command.avalanche_absent(tmp_path / "python")
    assert "No module named 'avalanche'" in command.avalanche_absent(Path(sys.executable))


def test_the_environment_of_a_peer_is_one_thread_and_nothing_that_steers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setenv("MKL_CBWR", "AUTO,STRICT")
    found = command.environment()
    assert found["OMP_NUM_THREADS"] == found["MKL_NUM_THREADS"] == "1"
    assert "MKL_CBWR" not in found


# ---------------------------------------------------------------------- the arithmetic


def measured(start_s: float, trial_s: float, trials: int, end_s: float) -> Measured:
    """A sweep that trained half of two workers' time and used three quarters of their processors."""
    began, lasted = 1000.0 + start_s, trial_s * trials
    cpu = [(1000.0, 0.0), (began, 5.0), (began + lasted, 5.0 + 1.5 * lasted), (began + lasted + end_s, 99.0)]
    usage = Usage(1000.0, began + lasted + end_s, cpu, 2**30)
    found = tuple(Found(began + trial_s * n, n / 100, n / 100, 0.5) for n in range(1, trials + 1))
    return Measured(Swept(trials, began, began + lasted, lasted, fisher_s=0.25 * lasted, found=found), usage)


def test_start_and_end_count_once_and_trials_each() -> None:
    slow = measured(start_s=10.0, trial_s=5.0, trials=8, end_s=2.0)
    assert (slow.start_s, slow.trial_s, slow.end_s) == pytest.approx((10.0, 5.0, 2.0))
    assert slow.per_hour(8) == pytest.approx(3600 * 8 / 52)
    assert slow.per_hour(64) == pytest.approx(3600 * 64 / 332)
    assert slow.cpu_s == pytest.approx(7.5)
    assert slow.idle_frac(2) == pytest.approx(0.25)
    quick = measured(start_s=12.0, trial_s=0.5, trials=64, end_s=2.0)
    assert ratios([quick, quick], [slow, quick], 64) == pytest.approx([332 / 46, 1.0])


def records(shift: float, seeds: int = 3) -> list[Record]:
    """At two λ, accuracies that differ between the seeds by 0.01."""
    return [
        Record(strength, seed, 0.5, [[0.9, 0.0], [0.8 + shift + 0.01 * seed, 0.9]], 1.0, 0.1, 0.0, 1.0)
        for strength in (1.0, 10.0)
        for seed in range(seeds)
    ]


def test_means_disagree_if_they_differ_beyond_the_seeds() -> None:
    same, other = agreement({"a": records(0.01)}, records(0.0)), agreement({"a": records(-0.1)}, records(0.0))
    assert [each.agrees for each in same] == [True] * 4
    assert [each.agrees for each in other] == [False] * 4
    accuracy = next(each for each in other if each.metric == "average accuracy")
    assert accuracy.mean - accuracy.ours == pytest.approx(-0.05)
    assert accuracy.chance == pytest.approx(2.5e-4, rel=0.1)  # t = 0.05 / sqrt(2 / 3 * 0.005²) = 12.2, 4 degrees
    assert [each.agrees for each in agreement({"a": records(0.3, seeds=1)}, records(0.0))] == [None] * 4
    more = [*records(0.0), replace(records(0.0)[0], ewc_lambda=33.0)]
    assert len(agreement({"a": more}, records(0.0))) == 4, "what only one of them trained is not compared"


def test_the_page_says_what_was_measured_and_what_was_not() -> None:
    slow, quick = measured(10.0, 5.0, 8, 2.0), measured(12.0, 0.5, 64, 2.0)
    results = report.Results(
        {"a": [slow, slow], "c": [slow, slow], "d": [quick, quick], "e": [quick, quick]},
        {"b": "it is not installed"},
        agreement({"a": records(-0.1)}, records(0.0)),
        load=0.25,
        floor_s=1.2,
    )
    page = report.section(results, command.FULL, "`the command`, some day")
    assert "**(b) Ray Tune + OptunaSearch, Avalanche was not measured: it is not installed.**" in page
    row = next(line for line in page.splitlines() if line.startswith("| (e)"))
    assert [cell.strip() for cell in row.split("|")[2:5]] == ["5009 (5009–5009)", "7.2 (7.2–7.2)", ""]
    times = [line for line in page.splitlines() if line.startswith("| (a)")][1]
    assert [cell.strip() for cell in times.split("|")[2:-1]] == [
        *("10.00", "2.00", "5.00", "10.00", "5.00", "1.25", "0.00", "5.00", "25 %", "0")
    ]
    waited = [line for line in page.splitlines() if line.startswith("| (e)")][2]
    assert [cell.strip() for cell in waited.split("|")[2:-1]] == [  # eight trials come to .08, of half a second each
        *("0.6400 (0.6400–0.6400)", "16.0 (16.0–16.0)", "0.32 (0.32–0.32)"),
        *("0.3200 (0.3200–0.3200)", "16.0 (16.0–16.0)", "0.32 (0.32–0.32)"),
    ]
    assert page.count("**no**") == 4
    assert "stays under 6000 trials an hour, 8.6 times (a)" in " ".join(page.split())
    assert "Load average before it began: 0.25. `the command`, some day" in page
    assert all(len(line) <= 120 for line in page.splitlines() if not line.startswith("|"))


@pytest.mark.slow
def test_quick_runs_every_peer_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "performance.md"
    page.write_text("before\n<!-- begin peers -->\n<!-- end peers -->\nafter\n")
    monkeypatch.setattr(command, "PERFORMANCE", page)
    nowhere = str(tmp_path / "python")
    command.main(["--quick", "--repeats", "1", "--write", "--avalanche-python", nowhere])
    printed, written = capsys.readouterr().out, page.read_text()
    assert written.startswith("before\n<!-- begin peers -->\n")
    assert written.endswith("<!-- end peers -->\nafter\n")
    for peer in "acde":
        rate = re.search(rf"^\| \({peer}\) [^|]*\| (\d+) \|", written, re.MULTILINE)
        assert rate
        assert int(rate[1]) > 0
        assert f"repeat 1: {report.named(peer)}: " in printed
    assert "(b) Ray Tune + OptunaSearch, Avalanche was not measured: there is no python" in printed
    assert "(b) Ray Tune + OptunaSearch, Avalanche was not measured: there is no python" in " ".join(written.split())
    accuracies = re.findall(r"^\| \(([ac])\) [^|]*\| (\d+) \| average accuracy \| ([\d.]+) \|", written, re.MULTILINE)
    alone, in_ray = ([each[1:] for each in accuracies if each[0] == peer] for peer in "ca")
    assert len(alone) == 2
    assert alone == in_ray  # one trainer, one seed: the same answer wherever it runs
