"""The reproduction of published tables: its data, its page, and its command, interrupted too."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from benchmarks import reproduce
from benchmarks.reproduction.model import Claim, Quantity, Row, Table, Why, final_average, verdict
from benchmarks.reproduction.report import report
from benchmarks.reproduction.runner import Job, check, jobs_of, run
from cfsweep.config import NetworkConfig, Space, StreamConfig, StudyConfig
from cfsweep.results.reader import read_table
from cfsweep.results.schema import JOINT_TRIAL
from cfsweep.sweep.scheduler import Workers
from cfsweep.training.ingredients import family_of, registry
from cfsweep.training.networks import build, unliftable_reason
from cfsweep.training.streams import load_stream

ROWS = {f"{table.name}/{row.name}": row for table in reproduce.TABLES for row in table.rows}
# Hsu et al. 2018, table 2, and the strengths of the scripts beside it: task-il, domain-il, class-il.
SPLIT_MNIST = {
    "naive": (93.46, 55.16, 19.71),
    "ewc": (97.70, 58.85, 19.80),
    "online-ewc": (98.04, 57.33, 19.77),
    "si": (98.56, 64.76, 19.67),
    "mas": (99.22, 68.57, 19.52),
    "l2": (98.18, 66.00, 22.52),
    "rehearsal-1100": (99.40, 95.16, 90.78),
    "rehearsal-4400": (99.57, 97.11, 95.59),
    "all-data": (99.52, 98.59, 97.53),
}
STRENGTHS = {  # there, and what one unit there is here
    "ewc": ("ewc_lambda", (100, 100, 600), 2.0),
    "online-ewc": ("ewc_lambda", (400, 700, 100), 2.0),
    "si": ("si_c", (300, 3000, 600), 1.0),
    "mas": ("mas_lambda", (1, 1e4, 1), 0.5),
    "l2": ("l2_sp_lambda", (0.01, 0.5, 100), 2.0),
}
SCENARIOS = ("task-il", "domain-il", "class-il")


def tiny(name: str, claim: Claim | None = None, why: Why | None = None, **changes: Any) -> Row:
    """A row that trains in a moment; `search` turns it into a sweep, `space` is added to what it fixes."""
    search, space = changes.pop("search", {}), changes.pop("space", {})
    fixed = {"epochs": 1} if search else {"epochs": 1, "batch_size": 128, "lr": 0.01}
    content = {"network": NetworkConfig(args={"hidden": [8]}), "fixed": fixed, "search": search}
    study = StudyConfig(
        space=Space.model_validate({**content, **space}),
        stream=StreamConfig(n_tasks=2),
        objective={"name": "pareto"} if search else {},  # type: ignore[arg-type]
        trials=3 if search else 1,
        references=bool(changes.pop("references", False)),
        stop_trials=False,
    )
    quantities = (Quantity("average at the end", final_average, claim, why),)
    return replace(Row(name, name, "plain", study, quantities), **changes)


def table_of(*rows: Row, **changes: Any) -> Table:
    return replace(Table("digits", "Digits", "nobody", 1797, ("It is small.",), rows), **changes)


def train(*jobs: Job) -> None:
    """Trains them in this process; rows of the same study once."""
    trained: dict[str, Path] = {}
    for job in jobs:
        study = job.config.study_id
        if study in trained:
            shutil.copytree(trained[study], job.folder)
        else:
            assert run([job], Workers(0), Console(quiet=True))
        trained.setdefault(study, job.folder)


def finals(job: Job, trial: int = 0) -> list[float]:
    """The test accuracies after the last task, in percent, mean over tasks, one for each seed."""
    rows = read_table(job.folder, "test").to_pandas().query(f"trial == {trial} and after_task == 1")
    return [100 * float(mean) for mean in rows.groupby("seed")["accuracy"].mean()]


def lines_of(page: str, row: str) -> list[list[str]]:
    """The cells of the lines that begin with the row's name."""
    begins = f"| `{row}` |", f"| {row} |"
    return [[c.strip() for c in line.strip("|").split("|")] for line in page.splitlines() if line.startswith(begins)]


# ------------------------------------------------------------------------------------------------ the tables


@pytest.mark.parametrize(
    ("claim", "mean", "why", "expected"),
    [
        (Claim(97.70), 100.70, None, "within"),
        (Claim(98.15), 95.15, None, "within"),  # 3.0000000000000142 in floats
        (Claim(97.75), 100.75, None, "within"),
        (Claim(97.75), 94.75, None, "within"),
        (Claim(97.75), 94.70, "x", "differs: x"),
        (Claim(60.0, sd=0.5), 63.5, None, "differs: not explained"),  # 2 sd are 1 point, but 3 points decide
        (Claim(60.0, sd=2.0), 63.5, None, "within"),
        (Claim(60.0, sd=2.0), 64.5, "x", "differs: x"),
        (Claim(50.0, sense="below"), 49.9, None, "within"),
        (Claim(50.0, sense="below"), 51.0, None, "differs: not explained"),
        (Claim(88.0, sense="above"), 88.0, "x", "differs: x"),
        (Claim(0.0, sense="exactly"), 0.0, None, "within"),
        (Claim(0.0, sense="exactly"), 0.01, None, "differs: not explained"),
        (None, 12.0, "x", "no claim"),
    ],
)
def test_verdicts_by_hand(claim: Claim | None, mean: float, why: str | None, expected: str) -> None:
    assert verdict(claim, mean, why) == expected


def test_split_mnist_holds_the_published_numbers_and_strengths() -> None:
    for name, values in SPLIT_MNIST.items():
        for scenario, value in zip(SCENARIOS, values, strict=True):
            row = ROWS[f"split-mnist/{name}-{scenario}"]
            assert [q.claim.value for q in row.quantities if q.claim] == [value]
            assert row.study.stream.scenario == scenario
    for name, (hyper, values, unit) in STRENGTHS.items():
        for scenario, value in zip(SCENARIOS, values, strict=True):
            assert ROWS[f"split-mnist/{name}-{scenario}"].study.space.fixed[hyper] == pytest.approx(unit * value)


def test_the_other_tables_hold_the_published_numbers() -> None:
    def claims(key: str) -> list[tuple[float, str]]:
        return [(q.claim.value, q.claim.sense) for q in ROWS[key].quantities if q.claim]

    assert claims("head-to-head/baseline") == [(97.6, "about")]
    assert claims("head-to-head/ewc") == [(97.2, "about")]
    assert claims("head-to-head/replay") == [(99.4, "about")]
    for name in ("packnet-half", "packnet-equal"):
        assert claims(f"head-to-head/{name}") == [(84.6, "above"), (0.0, "exactly")]
    assert [value for value, _ in claims("mnist-fashion/naive")] == [99.2, 91.1, 33.9, -65.3]
    assert claims("mnist-halves/naive-domain-il") == [(94.0, "about"), (50.0, "below")]
    assert claims("mnist-halves/ewc-domain-il")[0] == (88.0, "above")


def test_every_row_is_a_study_that_can_run_with_a_name_of_its_own() -> None:
    check(jobs_of(reproduce.TABLES, Path("out"), 5, None))
    assert len(ROWS) == sum(len(table.rows) for table in reproduce.TABLES)
    network = build(ROWS["mnist-fashion/naive"].study.space.network, (1, 28, 28), 10)
    assert network(torch.zeros(3, 1, 28, 28)).shape == (3, 10)
    assert unliftable_reason(network, (1, 28, 28)) is None


def test_every_remedy_is_measured_on_split_mnist() -> None:
    measured = {
        row.study.space.ingredients for key, row in ROWS.items() if key.startswith(("split-mnist/", "remedies/"))
    }
    assert {(name,) for name, kind in registry.items() if family_of(kind) != "schedule"} <= measured


def test_reasons_point_at_experiments_and_have_no_numbers_of_their_own() -> None:
    for why in (quantity.why for row in ROWS.values() for quantity in row.quantities if quantity.why):
        assert not re.search(r"\d", why.text)
        assert why.see
        assert all(ROWS[key].experiment for key in why.see)


# ------------------------------------------------------------------------------------------------ the page


def test_an_empty_folder_gives_a_page_that_says_so(tmp_path: Path) -> None:
    page = report(reproduce.TABLES, jobs_of(reproduce.TABLES, tmp_path, 5, None), "the command")
    assert "Nothing was measured yet" in page
    for table in reproduce.TABLES:
        assert f"## {table.title}" in page
        for row in table.rows if not table.side_by_side else ():
            assert [cells[-1] for cells in lines_of(page, row.name)][:1] == ["not measured yet"]
    assert "| naive | – | not measured yet | not measured yet | not measured yet | – |" in page
    assert "| Split-MNIST, three scenarios | 27 | 0 | 0 | 0 | 27 |" in page


def test_a_partial_folder_shows_what_there_is_and_hides_no_difference(tmp_path: Path) -> None:
    far, small = Claim(-1000.0), "the network is small"
    table = table_of(
        tiny("close", Claim(50.0, sd=50.0)),
        tiny("far", far),
        tiny("explained", far, Why(small, ("digits/small",))),
        tiny("elsewhere", far, Why(small, ("digits/absent",))),
        tiny("small", experiment=True),
        tiny("other", far, experiment=True),
        tiny("absent", Claim(50.0), experiment=True),
    )
    *jobs, _ = all_jobs = jobs_of([table], tmp_path, 2, None)
    train(*jobs)
    page = report([table], all_jobs, "the command")
    assert {row.name: lines_of(page, row.name)[0][-1] for row in table.rows} == {
        "close": "within",
        "far": "differs: not explained",
        "explained": "differs: the network is small (see `digits/small`)",
        "elsewhere": "differs: not explained",  # what would show it is not measured
        "small": "no claim",
        "other": "differs",  # an experiment explains; nothing needs to explain it
        "absent": "not measured yet",
    }
    assert "| Digits | 4 | 1 | 1 | 2 | 0 |" in page
    means = np.array(finals(jobs[1]))
    cells = ["-1000.00", f"{means.mean():.2f} ± {means.std(ddof=1):.2f}", f"{means.mean() + 1000:+.2f}"]
    assert lines_of(page, "far")[0][4:7] == cells
    assert "`the command`" in page
    assert "2 seeds" in page
    tasks = load_stream(StreamConfig(n_tasks=2)).tasks
    n_train, held_out, n_test = np.sum([[len(t.train), len(t.validation), len(t.test)] for t in tasks], axis=0)
    assert f"Data: {n_train + held_out:,} of the 1,797 published training images ({held_out} of them held out" in page
    assert f"{n_test} test images" in page


def test_a_complete_folder_with_references_trace_and_front_and_side_by_side(tmp_path: Path) -> None:
    search = {"lr": {"low": 1e-3, "high": 1e-1, "log": True}}
    rows = tiny("all", trial=JOINT_TRIAL, references=True), tiny("swept", search=search, front=True)
    replay = {"ingredients": ("replay",), "fixed": {"epochs": 1, "batch_size": 128, "lr": 0.01, "replay_buffer": 10}}
    traced, kept = tiny("traced", trace=True), tiny("kept", space=replay, setting="a buffer of 10")
    tables = [table_of(*rows), table_of(traced, kept, name="beside", title="Beside", side_by_side=True)]
    jobs = {job.row.name: job for job in jobs_of(tables, tmp_path, 2, None)}
    train(*jobs.values())
    page = report(tables, list(jobs.values()), "the command")
    assert lines_of(page, "all")[0][5].startswith(f"{np.mean(finals(jobs['all'], JOINT_TRIAL)):.2f} ± ")
    assert "### Trace of `traced`\n\n| after | task 0 |" in page
    first = (
        read_table(jobs["traced"].folder, "test").to_pandas().query("after_task == 0 and eval_task == 0")["accuracy"]
    )
    assert f"| task 0 | {100 * first.mean():.2f} |  |" in page
    runs = read_table(jobs["swept"].folder, "runs").to_pandas()
    best = runs.groupby("trial")["val_average_accuracy"].mean().idxmax()
    front = page.split("### Front of `swept`")[1]
    assert f"measured on test data above: lr {runs.query(f'trial == {best}')['hp_lr'].iloc[0]:.3g}." in front
    assert front.count("\n| ") >= 2
    for name, setting, kilobytes in (("traced", "plain", "0"), ("kept", "a buffer of 10", "1")):
        (cells,) = lines_of(page, name)  # 10 images of 8 x 8 bytes are 640 bytes
        assert cells[1] == setting
        assert cells[2].startswith(f"{np.mean(finals(jobs[name])):.2f} ± ")
        assert cells[3:] == ["–", "–", kilobytes]


# ------------------------------------------------------------------------------------------------ the command


def test_it_trains_what_is_missing_and_writes_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    given = ["--workers", "0", "--seeds", "1", "--out", str(tmp_path / "out"), "--page", str(page)]
    for before in (0, 1):
        assert reproduce.main(given, (table_of(tiny("one")),)) == 0
        assert f"{before} of 1 rows are complete" in capsys.readouterr().out
        assert lines_of(page.read_text(), "one")[0][-1] == "no claim"
    assert reproduce.main([*given, "--seeds", "2"], (table_of(tiny("one")),)) == 2
    error = capsys.readouterr().err
    assert re.search("digits/one is now .* Remove the folder, or choose another with --out", error)
    assert error.count("\n") == 1


def test_bad_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    begin = ["--out", str(tmp_path / "out"), "--page", str(tmp_path / "page.md")]
    strange = (table_of(tiny("one", space={"ingredients": ("ewx",)})),)
    for arguments, tables, message in (
        (["--only", "nonsense"], reproduce.TABLES, "--only nonsense: no row is called so. Give one of split-mnist, "),
        (["--seeds", "0"], reproduce.TABLES, "--seeds 0: `1 <= seeds` must hold."),
        ([], strange, "digits/one: unknown ingredient `ewx`. Known, closest first: ewc"),
    ):
        assert reproduce.main([*begin, *arguments], tables) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert not (tmp_path / "page.md").exists()


SCRIPT = """
import sys
from benchmarks import reproduce
from tests.benchmarks.test_reproduce import table_of, tiny
if __name__ == "__main__":
    sys.exit(reproduce.main(sys.argv[1:], (table_of(tiny("one"), tiny("two", references=True, trial=-2)),)))
"""


@pytest.mark.slow
def test_a_real_run_is_interrupted_goes_on_and_is_not_repeated(tmp_path: Path, project_root: Path) -> None:
    out, page = tmp_path / "out", tmp_path / "page.md"
    environment = {**os.environ, "PYTHONPATH": str(project_root), "COLUMNS": "200"}
    command = [sys.executable, "-c", SCRIPT, "--seeds", "1", "--workers", "1", "--out", str(out), "--page", str(page)]

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            command, cwd=project_root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    first = start()
    deadline = time.monotonic() + 90
    while not (out / "digits/one/runs").exists():
        assert first.poll() is None, first.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    first.send_signal(signal.SIGINT)
    printed, complaints = first.communicate(timeout=90)
    assert first.returncode == reproduce.EXIT_INTERRUPTED, (printed, complaints)
    assert [cells[-1] for name in ("one", "two") for cells in lines_of(page.read_text(), name)] == [
        "no claim",
        "not measured yet",
    ]
    kept = (out / "digits/one/journal.jsonl").read_bytes()

    second = start()
    printed, complaints = second.communicate(timeout=120)
    assert second.returncode == 0, (printed, complaints)
    assert "1 of 2 rows are complete" in printed
    assert (out / "digits/one/journal.jsonl").read_bytes() == kept
    assert [cells[-1] for name in ("one", "two") for cells in lines_of(page.read_text(), name)] == ["no claim"] * 2
    assert read_table(out / "digits/two", "runs").num_rows == 3

    third = start()
    printed, complaints = third.communicate(timeout=60)
    assert third.returncode == 0, (printed, complaints)
    assert "2 of 2 rows are complete" in printed
