"""The reproduction of published tables: its data, its verdicts, its page, and a real run that is interrupted."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import reproduce
from benchmarks.reproduction.model import (
    Claim,
    Quantity,
    Row,
    Table,
    Why,
    accuracy,
    final_average,
    largest_change,
    transfer,
    verdict,
)
from benchmarks.reproduction.report import report
from benchmarks.reproduction.runner import Job, check, complete, jobs_of
from cfsweep.config import NetworkConfig, Space, StreamConfig, StudyConfig
from cfsweep.errors import InputError
from cfsweep.results.reader import read_table
from cfsweep.results.schema import JOINT_TRIAL
from cfsweep.training.ingredients import registry
from cfsweep.training.networks import build, unliftable_reason
from cfsweep.training.streams import Stream, load_stream
from tests.sweep.in_process import Sweep

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


def tiny(name: str, claim: Claim | None = None, why: Why | None = None, **changes: object) -> Row:
    """A row that trains in a moment; `search` turns it into a sweep."""
    search = changes.pop("search", {})
    references = changes.pop("references", False)
    study = StudyConfig(
        space=Space.model_validate(
            {
                "network": NetworkConfig(args={"hidden": [8]}),
                "fixed": {"epochs": 1, "batch_size": 128, "lr": 0.01} if not search else {"epochs": 1},
                "search": search,
            }
        ),
        stream=StreamConfig(),
        objective={"name": "pareto"} if search else {},  # type: ignore[arg-type]
        trials=3 if search else 1,
        references=bool(references),
        early_stopping=False,
    )
    quantities = (Quantity("average at the end", final_average, claim, why),)
    return replace(Row(name, name, "plain", study, quantities), **changes)  # type: ignore[arg-type]


def table_of(*rows: Row) -> Table:
    return Table("digits", "Digits", "nobody", 1797, ("It is small.",), rows)


@pytest.fixture(scope="module")
def stream() -> Stream:
    return load_stream(StreamConfig())


def train(job: Job, stream: Stream) -> Sweep:
    """Trains the job in this process, as the sweep's driver would have it."""
    sweep = Sweep(job.folder, stream)
    job.folder.mkdir(parents=True)
    sweep.train(sweep.open(job.config))
    return sweep


def lines_of(page: str, row: str) -> list[list[str]]:
    """The cells of the lines that begin with the row's name."""
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in page.splitlines()
        if line.startswith(f"| `{row}` |")
    ]


# ---------------------------------------------------------------------- verdicts


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


def test_quantities_by_hand() -> None:
    matrix = np.array([[0.9, 0.5, 0.1], [0.6, 0.8, 0.2], [0.3, 0.7, 0.5]])
    assert final_average(matrix) == pytest.approx(50.0)
    assert accuracy(after=0, of=0)(matrix) == pytest.approx(90.0)
    assert accuracy(after=-1, of=1)(matrix) == pytest.approx(70.0)
    assert transfer(matrix) == pytest.approx((-60.0 - 10.0) / 2)
    assert largest_change(matrix) == pytest.approx(60.0)
    frozen = np.array([[0.9, 0.5, 0.1], [0.9, 0.8, 0.2], [0.9, 0.8, 0.5]])  # above the diagonal nothing is frozen yet
    assert largest_change(frozen) == 0.0


# ---------------------------------------------------------------------- the tables


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


def test_every_row_is_a_study_that_can_run() -> None:
    check(jobs_of(reproduce.TABLES, Path("out"), 5, None))


def test_a_row_that_cannot_run_is_named_before_anything_is_trained() -> None:
    job = jobs_of(reproduce.TABLES, Path("out"), 5, None)[0]
    space = job.config.space.model_copy(update={"ingredients": ("ewk",)})
    broken = replace(job, config=job.config.model_copy(update={"space": space}))
    with pytest.raises(InputError, match=rf"{re.escape(job.key)}: unknown ingredient `ewk`"):
        check([broken])


def test_every_remedy_is_measured_on_split_mnist() -> None:
    measured = {
        row.study.space.ingredients for key, row in ROWS.items() if key.startswith(("split-mnist/", "remedies/"))
    }
    remedies = [name for name, kind in registry.items() if kind.family != "schedule" or "check" in vars(kind)]
    assert {(name,) for name in remedies} <= measured


def test_names_are_unique_and_reasons_point_at_experiments_without_numbers_of_their_own() -> None:
    assert len(ROWS) == sum(len(table.rows) for table in reproduce.TABLES)
    for row in ROWS.values():
        for quantity in row.quantities:
            if quantity.why:
                assert not re.search(r"\d", quantity.why.text)
                assert quantity.why.see
                assert all(ROWS[key].experiment for key in quantity.why.see)


def test_the_small_network_takes_images_and_can_be_stacked() -> None:
    network = build(ROWS["mnist-fashion/naive"].study.space.network, (1, 28, 28), 10)
    assert network(torch.zeros(3, 1, 28, 28)).shape == (3, 10)
    assert unliftable_reason(network, (1, 28, 28)) is None


def test_seeds_are_shared_by_two_packs_and_a_sweep_keeps_its_own() -> None:
    row = ROWS["split-mnist/naive-task-il"]
    assert (row.study_for(5).seeds, row.study_for(5).pack_runs) == (5, 3)
    assert row.study_for(1).pack_runs == 1
    assert ROWS["mnist-halves/ewc-domain-il"].study_for(5).pack_runs == row.study.pack_runs


# ---------------------------------------------------------------------- the page


def test_an_empty_folder_gives_a_page_that_says_so(tmp_path: Path) -> None:
    jobs = jobs_of(reproduce.TABLES, tmp_path, 5, None)
    page = report(reproduce.TABLES, jobs, "the command")
    assert "Nothing was measured yet" in page
    for table in reproduce.TABLES:
        assert f"## {table.title}" in page
        for row in table.rows if not table.side_by_side else ():
            assert [cells[-1] for cells in lines_of(page, row.name)][:1] == ["not measured yet"]
    assert "| naive | – | not measured yet | not measured yet | not measured yet | – |" in page
    assert "| Split-MNIST, three scenarios | 27 | 0 | 0 | 0 | 27 |" in page


def test_a_partial_folder_shows_what_there_is_and_hides_no_difference(tmp_path: Path, stream: Stream) -> None:
    why = Why("the network is small", ("digits/small",))
    far = Claim(-1000.0)
    rows = (
        tiny("close", Claim(50.0, sd=50.0)),
        tiny("far", far),
        tiny("explained", far, why),
        tiny("elsewhere", far, Why("the network is small", ("digits/absent",))),
        tiny("small", experiment=True),
        tiny("other", far, experiment=True),
        tiny("absent", Claim(50.0), experiment=True),
    )
    table = table_of(*rows)
    jobs = jobs_of([table], tmp_path, 2, None)
    sweeps = {job.row.name: train(job, stream) for job in jobs if job.row.name != "absent"}
    page = report([table], jobs, "the command")
    verdicts = {row.name: lines_of(page, row.name)[0][-1] for row in rows}
    assert verdicts == {
        "close": "within",
        "far": "differs: not explained",
        "explained": "differs: the network is small (see `digits/small`)",
        "elsewhere": "differs: not explained",  # what would show it is not measured
        "small": "no claim",
        "other": "differs",  # an experiment explains; nothing needs to explain it
        "absent": "not measured yet",
    }
    assert "| Digits | 4 | 1 | 1 | 2 | 0 |" in page
    finals = [
        [row["accuracy"] for row in sweeps["far"].rows("test") if row["seed"] == seed and row["after_task"] == 4]
        for seed in (0, 1)
    ]
    means = 100 * np.mean(finals, axis=1)
    cells = lines_of(page, "far")[0]
    assert cells[4:7] == [
        "-1000.00",
        f"{means.mean():.2f} ± {means.std(ddof=1):.2f}",
        f"{means.mean() + 1000:+.2f}",
    ]
    assert "`the command`" in page
    assert "2 seeds" in page
    sizes = [[len(part) for part in (task.train, task.validation, task.test)] for task in stream.tasks]
    train_, held_out, test = np.sum(sizes, axis=0)
    assert f"Data: {train_ + held_out:,} of the 1,797 published training images ({held_out} of them held out" in page
    assert f"{test} test images" in page


def test_a_complete_folder_with_references_trace_and_front(tmp_path: Path, stream: Stream) -> None:
    search = {"lr": {"low": 1e-3, "high": 1e-1, "log": True}}
    rows = (
        tiny("all", trial=JOINT_TRIAL, references=True),
        tiny("traced", trace=True),
        tiny("swept", search=search, front=True),
    )
    table = table_of(*rows)
    jobs = jobs_of([table], tmp_path, 2, None)
    sweeps = {job.row.name: train(job, stream) for job in jobs}
    page = report([table], jobs, "the command")
    joint = [r["accuracy"] for r in sweeps["all"].rows("test") if r["trial"] == JOINT_TRIAL and r["after_task"] == 4]
    assert lines_of(page, "all")[0][5].startswith(f"{100 * np.mean(joint):.2f} ± ")
    first = [r["accuracy"] for r in sweeps["traced"].rows("test") if r["after_task"] == r["eval_task"] == 0]
    assert "### Trace of `traced`\n\n| after | task 0 |" in page
    assert f"| task 0 | {100 * np.mean(first):.2f} |  |" in page
    validation = read_table(jobs[2].folder, "runs").to_pandas().groupby("trial")["val_average_accuracy"].mean()
    front = page.split("### Front of `swept`")[1]
    chosen = read_table(jobs[2].folder, "runs").to_pandas().query(f"trial == {validation.idxmax()}")["hp_lr"].iloc[0]
    assert f"measured on test data above: lr {chosen:.3g}." in front
    assert front.count("\n| ") >= 2


def test_side_by_side_shows_accuracy_and_stored_bytes_per_method(tmp_path: Path, stream: Stream) -> None:
    plain = tiny("plain")
    kept = tiny("kept")
    space = kept.study.space.model_copy(
        update={"ingredients": ("replay",), "fixed": {"epochs": 1, "replay_buffer": 10}}
    )
    kept = replace(kept, setting="a buffer of 10", study=kept.study.model_copy(update={"space": space}))
    table = replace(table_of(plain, kept), side_by_side=True)
    jobs = jobs_of([table], tmp_path, 2, None)
    sweeps = {job.row.name: train(job, stream) for job in jobs}
    page = report([table], jobs, "the command")
    for name, setting in (("plain", "plain"), ("kept", "a buffer of 10")):
        finals = [r["accuracy"] for r in sweeps[name].rows("test") if r["after_task"] == 4]
        (cells,) = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith(f"| {name} |")]
        assert cells[1] == setting
        assert cells[2].startswith(f"{100 * np.mean(finals):.2f} ± ")
        assert cells[3:5] == ["–", "–"]
        assert cells[5] == {"plain": "0", "kept": "1"}[name]  # 10 images of 8 x 8 bytes are 640 bytes


def test_a_folder_of_another_study_is_refused(tmp_path: Path, stream: Stream) -> None:
    table = table_of(tiny("one"))
    train(jobs_of([table], tmp_path, 1, None)[0], stream)
    (other,) = jobs_of([table], tmp_path, 2, None)
    with pytest.raises(InputError, match=r"digits/one is now .* Remove the folder, or choose another with --out"):
        complete(other)


# ---------------------------------------------------------------------- the command


def test_bad_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    begin = ["--out", str(tmp_path / "out"), "--page", str(tmp_path / "page.md")]
    strange = (
        table_of(
            replace(tiny("one"), study=tiny("one").study.model_copy(update={"space": Space(ingredients=("ewx",))}))
        ),
    )
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
from tests.test_benchmarks_reproduce import table_of, tiny
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
    kept = (out / "digits/one/journal.log").read_bytes()

    second = start()
    printed, complaints = second.communicate(timeout=120)
    assert second.returncode == 0, (printed, complaints)
    assert "1 of 2 rows are complete" in printed
    assert (out / "digits/one/journal.log").read_bytes() == kept
    assert [cells[-1] for name in ("one", "two") for cells in lines_of(page.read_text(), name)] == ["no claim"] * 2
    assert read_table(out / "digits/two", "runs").num_rows == 3

    third = start()
    printed, complaints = third.communicate(timeout=60)
    assert third.returncode == 0, (printed, complaints)
    assert "2 of 2 rows are complete" in printed
