"""`cfsweep confirm` as a user meets it."""

from __future__ import annotations

import io
import re
import shutil
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Run

CONFIRM = ("confirm", "study", "--workers", "0", "--seeds", "2")


@pytest.fixture(scope="module")
def swept_once(smoke: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of two trials."""
    from rich.console import Console

    from cfsweep.sweeping import study
    from cfsweep.sweeping.local import LocalScheduler
    from cfsweep.sweeping.parsing import make_config
    from cfsweep.sweeping.progress import Display

    out = tmp_path_factory.mktemp("once") / "study"
    prepared = study.prepare(make_config(smoke, {"trials": 2}, []), "test")
    scheduler = LocalScheduler(threading.Event(), gpus=0)
    study.begin(prepared, out, scheduler, Display(Console(file=io.StringIO()), live=False))
    return out


@pytest.fixture
def swept(swept_once: Path, tmp_path: Path) -> Path:
    """A copy of it, where `run` is called."""
    return Path(shutil.copytree(swept_once, tmp_path / "study"))


def test_before_a_trial_is_selected_nothing_is_confirmed(run: Run, swept: Path) -> None:
    code, out, complaints = run(*CONFIRM)
    assert (code, out) == (2, "")
    assert complaints == (
        "cfsweep: study: test data stay closed until a trial is chosen. Run `cfsweep select study` first.\n"
    )
    assert run("confirm", "nowhere")[2] == (
        "cfsweep: nowhere: no study.yaml there. Give the folder that `cfsweep run --out` wrote.\n"
    )
    assert not (swept / "confirmed").exists()


def test_what_was_selected_is_confirmed_then_refitted(run: Run, swept: Path) -> None:
    assert "Test it, with fresh seeds: cfsweep confirm study\n" in run("select", "study")[1]
    code, out, complaints = run(*CONFIRM)
    assert (code, complaints) == (0, "")
    assert "fresh seeds say" in out
    assert "(2 seeds)" in out
    trials = {line.split()[0] for line in out.splitlines() if re.match(r" +(\d+|naive|joint|majority) ", line)}
    assert {"0", "naive", "joint", "majority"} <= trials
    assert len(list((swept / "confirmed" / "models").iterdir())) == 2 * (len(trials) - 1)
    files = {path: path.read_bytes() for path in swept.rglob("*") if path.is_file()}
    code, again, _ = run(*CONFIRM)
    assert (code, again) == (0, out[out.index("average score at the end") :])
    assert {path: path.read_bytes() for path in swept.rglob("*") if path.is_file()} == files, "nothing is left to do"
    code, out, complaints = run(*CONFIRM, "--refit")
    assert (code, complaints) == (0, "")
    assert "refitted" in out
    assert "fresh seeds say" in run("select", "study")[1]
    for inside in ("study/confirmed", "study/refitted"):
        for verb in ("front", "table", "report"):
            code, out, complaints = run(verb, inside)
            assert (code, "Traceback" in complaints) == (0, False), (verb, inside, complaints)
        assert ": complete\n" in run("status", inside)[1]


def test_a_confirmation_goes_on_by_confirm_alone(run: Run, swept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cfsweep.training.pack import Pack

    run("select", "study")
    trains = Pack.train_next_task

    def interrupted(self: Pack, *saves: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        return trains(self, *saves)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's job in the background has none
    try:
        with monkeypatch.context() as patched:
            patched.setattr(Pack, "train_next_task", interrupted)
            code, out, complaints = run(*CONFIRM, "--trials", "1,0")
    finally:
        signal.signal(signal.SIGINT, before)
    again = "cfsweep confirm study --trials 1,0 --seeds 2"
    assert (code, complaints) == (130, "")
    assert f"interrupted. `{again}` goes on.\n" in out
    said = "not complete; `cfsweep confirm study --seeds 2` goes on\n"
    assert run("status", "study/confirmed")[1].splitlines(keepends=True)[0].endswith(said)
    assert run("resume", "study/confirmed")[::2] == (
        2,
        "cfsweep: study/confirmed: it confirms trials of a sweep. `cfsweep confirm study --seeds 2` goes on.\n",
    )
    with monkeypatch.context() as patched:
        patched.setattr("cfsweep.sweeping.confirm.on_schedulers", lambda *_: signal.default_int_handler(2, None))
        code, _, complaints = run(*CONFIRM, "--trials", "1,0", "--refit")
    assert (code, complaints) == (130, f"cfsweep: interrupted; `{again} --refit` goes on\n")
    assert run(*again.split()[1:], "--workers", "0")[0] == 0
    assert run("status", "study/confirmed")[1].splitlines()[0].endswith(": complete")


def test_a_trial_that_fails_now_is_told(run: Run, swept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cfsweep.training.pack import Pack

    def fails(self: Pack, *_: Any) -> None:
        raise RuntimeError("no")

    run("select", "study")
    with monkeypatch.context() as patched:
        patched.setattr(Pack, "train_next_task", fails)
        code, out, _ = run("confirm", "study", "--workers", "0", "--seeds", "1", "--trials", "1")
    assert code == 3
    assert "trial 1, seed 10000 failed: RuntimeError: no (" in out


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--trials", "best"), "--trials best: `selected`, `front` or numbers such as `3,17` are needed. Write one of"),
        (("--trials", "9"), "--trials 9: only a trial that went all the way with each seed can be confirmed. "),
        (("--seeds", "0"), "Invalid value for '--seeds': "),
        (("--seeds", "10001"), "--seeds 10001: `1 <= seeds <= 10000` must hold."),
    ],
)
def test_what_cannot_be_confirmed_is_one_line(run: Run, swept: Path, args: tuple[str, ...], message: str) -> None:
    run("select", "study")
    code, out, complaints = run("confirm", "study", "--workers", "0", *args)
    assert (code, out, complaints.count("\n")) == (2, "", 1)
    assert message in complaints
    assert not (swept / "confirmed").exists()


def test_what_confirms_is_not_confirmed_and_no_purpose_is_set_by_hand(run: Run, swept: Path, smoke: Path) -> None:
    run("select", "study")
    assert run("confirm", "study", "--workers", "0", "--seeds", "1", "--trials", "0")[0] == 0
    code, _, complaints = run("confirm", "study/confirmed", "--workers", "0")
    assert (code, complaints) == (
        2,
        "cfsweep: study/confirmed: it confirms a sweep itself. Give the folder of the sweep.\n",
    )
    for assigned in ("purpose=confirm", "first_seed=3"):
        code, _, complaints = run("run", smoke, "--set", assigned, "--dry-run")
        assert (code, "it is cfsweep's own note in a study's folder. Leave it out." in complaints) == (2, True)
