"""What a script gets: the same as the command line, as objects that show themselves."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import analysis
import cfsweep
from analysis.reporting.tables import listed
from cfsweep.results.reader import read_table
from tests.conftest import Run

SPACE = {
    "ingredients": ["ewc"],
    "fixed": {"epochs": 1},
    "search": {"ewc_lambda": {"low": 1.0, "high": 1e6, "log": True}},
}
DIGITS = {"stream.n_tasks": 2, "network.args.hidden": [16]}


def swept(out: Path, **changed: object) -> cfsweep.Sweep:
    asked: dict[str, Any] = {"scenario": "domain-il", "trials": 3, "seeds": 2, "settings": DIGITS, "workers": 0}
    return cfsweep.sweep(SPACE, "split-digits", out=out, **(asked | changed))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> cfsweep.Sweep:
    return swept(tmp_path_factory.mktemp("library") / "sweep")


def values(folder: Path | str) -> list[tuple[object, ...]]:
    rows = read_table(folder, "runs").to_pylist()
    return sorted((row["trial"], row["seed"], row["hp_ewc_lambda"], row["val_average_score"]) for row in rows)


def test_a_sweep_is_that_of_the_command_line(done: cfsweep.Sweep, run: Run, tmp_path: Path) -> None:
    import yaml

    (tmp_path / "space.yaml").write_text(yaml.safe_dump(SPACE))
    options = [
        "--stream",
        "split-digits",
        "--scenario",
        "domain-il",
        "--trials",
        "3",
        "--seeds",
        "2",
        "--workers",
        "0",
        "--out",
        "run",
    ]
    settings = [word for key, value in DIGITS.items() for word in ("--set", f"{key}={value}")]
    code, _, complaints = run("run", "space.yaml", *options, *settings)
    assert (code, complaints) == (0, "")
    assert values(tmp_path / "run") == values(done.folder)
    assert cfsweep.Sweep(tmp_path / "run").status.study_id == done.status.study_id


def test_it_tells_of_progress_and_goes_on(tmp_path: Path) -> None:
    told: list[object] = []
    first = swept(tmp_path / "s", progress=told.append)
    ends = [summary.done + summary.stopped for summary in told]  # type: ignore[attr-defined]
    assert ends == sorted(ends)
    assert (ends[0], ends[-1]) == (0, 3)
    assert len(set(map(repr, told))) == len(told)
    more = cfsweep.resume(first.folder, more_trials=2, seeds=3, workers=0)
    assert (more.status.trials, more.status.seeds, more.status.complete) == (5, 3, True)
    again: list[object] = []
    swept(tmp_path / "s", trials=5, seeds=3, progress=again.append)
    assert again == []  # nothing was left to train


def test_it_reads_as_the_analysis_does(done: cfsweep.Sweep) -> None:
    runs = analysis.load(done.folder)
    assert done.trials.equals(analysis.trials(runs))
    assert done.front.table.equals(analysis.front(analysis.trials(runs), runs=runs).table)
    assert done.select()["trial"] == analysis.selection(done.folder)["trial"]  # type: ignore[index]
    assert done.report(Path(done.folder) / "r.html").read_text().startswith("<!")


def test_it_shows_itself(done: cfsweep.Sweep) -> None:
    said = repr(done)
    assert f"{done.status.study_id} in {done.folder}: 3 of 3 trials" in said
    assert said.endswith("complete")
    page = done._repr_html_()
    assert "<svg" in page
    assert page.count("<tr>") == 1 + len(listed(done.front)) >= 3
    assert "ewc_lambda" in page


@pytest.mark.usefixtures("no_program")
def test_confirmed_and_exported(done: cfsweep.Sweep, tmp_path: Path) -> None:
    done.select(replace=True)
    confirmed = done.confirm(seeds=2, workers=0)
    rows = {row.trial: row for row in confirmed.trials}
    assert {-1, -2} <= rows.keys()
    assert all(row.test is not None for row in confirmed.trials)
    assert "test, fresh seeds" in repr(confirmed)
    assert confirmed.luck in repr(confirmed)
    assert f"<th>{'test, fresh seeds'}</th>" in confirmed._repr_html_()
    model = confirmed.export(tmp_path / "model")
    assert isinstance(model, cfsweep.Model)
    assert model.about == cfsweep.load(tmp_path / "model").about
    both = cfsweep.confirm(done.folder, [0, 1], 2, workers=0)
    assert {0, 1} <= {row.trial for row in both.trials}
    other = cfsweep.export(done.folder, tmp_path / "other", trial=1, seed=10_001, with_data=False)
    assert (other.about.trial, other.about.seed) == (1, 10_001)


def test_in_a_thread_and_in_a_running_event_loop(tmp_path: Path) -> None:
    found: list[cfsweep.Sweep] = []
    thread = threading.Thread(target=lambda: found.append(swept(tmp_path / "thread")))
    thread.start()
    thread.join()

    async def in_a_notebook() -> cfsweep.Sweep:
        return swept(tmp_path / "loop")

    found.append(asyncio.run(in_a_notebook()))
    assert values(found[0].folder) == values(found[1].folder)


@pytest.mark.slow
def test_with_ray_in_a_thread(tmp_path: Path) -> None:
    found: list[cfsweep.Sweep] = []
    thread = threading.Thread(target=lambda: found.append(swept(tmp_path / "ray", workers=2)))
    thread.start()
    thread.join()
    assert values(found[0].folder) == values(swept(tmp_path / "here").folder)


def test_importing_it_loads_nothing_heavy() -> None:
    program = "import sys, cfsweep; print(sorted({'torch', 'ray', 'pandas'} & set(sys.modules)), dir(cfsweep))"
    said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert said.startswith("[] ")
    assert all(name in said for name in cfsweep.__all__)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"scenario": "sideways"}, "scenario: `stream.scenario` should be"),
        ({"settings": {"learning_rate": 1}}, "settings: unknown key `learning_rate`"),
        ({"settings": {"lr": "fast"}}, "space with settings: `0 < lr` must hold"),
        ({"pack": 0}, "pack"),
    ],
)
def test_bad_input_names_the_argument(tmp_path: Path, changed: dict[str, object], said: str) -> None:
    with pytest.raises(cfsweep.InputError) as error:
        swept(tmp_path / "s", **changed)
    assert str(error.value).startswith(said)
    assert "--" not in str(error.value)
    assert not (tmp_path / "s").exists()


def test_no_such_space() -> None:
    with pytest.raises(cfsweep.InputError, match="cfsweep: unknown space `ewcc`"):
        cfsweep.sweep("ewcc")


def test_html_of_a_sweep_without_trials_says_why(tmp_path: Path) -> None:
    failed = swept(tmp_path / "s", settings={**DIGITS, "lr": 1e30, "references": False})
    assert failed.status.failed == 3
    page = failed._repr_html_()
    assert "<svg" not in page
    assert page.count("<p>") > 1
