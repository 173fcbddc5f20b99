"""The judge of the faults, held to account: what is wrong with a study in one place, or was left behind, is named."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from cfsweep.config import StreamConfig, StudyConfig
from cfsweep.results.schema import MAJORITY_TRIAL, TABLES
from cfsweep.sweeping.folder import Folder
from cfsweep.training.streams import load_stream
from tests.faults.conftest import Ends, Measured
from tests.faults.disturbed import Disturbed
from tests.faults.tampering import (
    RUN,
    add,
    alter,
    commit,
    enter,
    is_of,
    lie_there,
    lose,
    lose_one,
    of_trial,
    put,
    repeat,
    up,
    write,
)
from tests.faults.verdict import rows_of, told, verdict
from tests.sweeping.in_process import Sweep, tiny

TRIALS, SEEDS = 4, 2
Tamper = Callable[[Path], object]


def config() -> StudyConfig:
    """Trials 0, 2 and 3 are one configuration."""
    searched = {"ewc_lambda": {"choices": [0.0, 1.0, 100.0]}}
    fixed = {"replay_ratio": 0.5}
    return tiny(searched, fixed, trials=TRIALS, seeds=SEEDS, references=True, curve_points_per_task=2)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that nothing befell: read only."""
    sweep = Sweep(tmp_path_factory.mktemp("whole") / "study", load_stream(StreamConfig()))
    sweep.train(sweep.open(config()))
    return sweep.folder.root


@pytest.fixture
def out(whole: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return shutil.copytree(whole, tmp_path / "study")


def other_score(out: Path) -> None:
    (score,) = {row["objective_mixed"] for row in rows_of(out, "runs") if is_of(row, RUN)}
    enter(out, of_trial(1, values=[score]))  # of one of its seeds alone


def another_configuration(out: Path) -> None:
    """Trial 1 is what trial 0 is, but for what the journal says that was asked for."""
    for table in TABLES[1:]:
        put(out, table, 0, 1)
    put(out, "runs", 0, 1, same_as=0)
    objectives = [row["objective_mixed"] for row in rows_of(out, "runs") if row["trial"] == 0]
    enter(out, of_trial(1, values=[sum(objectives) / 2]))


CONSTANT = (MAJORITY_TRIAL, 1)
LOST = r"missing \[\(.*\]; there besides, or again: \[\]"
MORE = r"missing \[\]; there besides, or again: \[\(.*\]"
OTHER = r"missing \[\(.*\]; there besides, or again: \[\(.*\]"
RUN_OF = "trial 1, seed 0"
# By what is wrong: what makes it so, and what the judge says.
WRONG: dict[str, tuple[Tamper, str]] = {
    "a run is missing": (lose, r"runs: missing \[\(1, 0\)\]; there besides, or again: \[\]"),
    "a run of majority is missing": (lambda out: lose(out, run=CONSTANT), r"runs: missing \[\(-1000, 1\)\]"),
    "a run is there twice": (
        lambda out: add(out, "runs"),
        r"runs: missing \[\]; there besides, or again: \[\(1, 0\)\]",
    ),
    "a run of no trial": (lambda out: add(out, "runs", trial=9), r"runs: missing \[\]; .* again: \[\(9, 0\)\]"),
    "a run of no seed": (lambda out: add(out, "runs", seed=2), r"runs: missing \[\]; .* again: \[\(1, 2\)\]"),
    "a run is marked failed": (
        lambda out: alter(out, "runs", "state", lambda _: "failed"),
        r"runs that are not done: \{\(1, 0\): \('failed', ",
    ),
    "a run was trained again": (lambda out: repeat(out, "done"), r"runs trained again .*: \{\(1, 0\): 'done'\}"),
    "a run has failed before": (lambda out: repeat(out, "failed"), r"runs that have failed too often: \{\(1, 0\): 1\}"),
    "an equal trial was trained": (
        lambda out: [alter(out, "runs", "same_as", lambda _: None, (2, seed)) for seed in range(SEEDS)],
        r"trained instead of once: \[0, 2\]",
    ),
    "nobody was trained": (
        lambda out: alter(out, "runs", "same_as", lambda _: 0),
        r"trained instead of once: \[\], of \[\(1, 0\)\]",
    ),
    "same_as names another trial": (
        lambda out: alter(out, "runs", "same_as", lambda _: 1, (2, 0)),
        r"same_as: \{2: 1\}, but trial \[0\] was trained",
    ),
    **{
        f"{what} in {table}": (partial(tamper, table=table), f"{table} of {RUN_OF}: {said}")
        for table in ("accuracy", "curves", "buffers")
        for what, tamper, said in (
            ("a row is missing", lose_one, LOST),
            ("a row is there twice", add, MORE),
        )
    },
    **{
        f"a row of no run in {table}": (
            partial(add, table=table, trial=9),
            rf"{table}: rows of no run, .*: \{{\(9, 0, 1\)\}}",
        )
        for table in ("accuracy", "curves", "buffers")
    },
    "all curves of a run are missing": (lambda out: lose(out, ("curves",)), f"curves of {RUN_OF}: {LOST}"),
    "a row of another study": (
        lambda out: alter(out, "accuracy", "study_id", lambda _: "0" * 12),
        f"accuracy of {RUN_OF}: {OTHER}",
    ),
    "a row of another attempt": (
        lambda out: add(out, "accuracy", attempt=2),
        r"accuracy: rows of no run, .*: \{\(1, 0, 2\)\}",
    ),
    **{
        f"{column} of {table} is another": (
            partial(alter, table=table, column=column, by=by),
            f"{table} of {RUN_OF}: {OTHER}",
        )
        for table, column, by in (
            ("accuracy", "accuracy", up),
            ("accuracy", "n_examples", lambda n: n + 1),
            ("curves", "accuracy", up),
            ("buffers", "n_examples", lambda n: n + 1),
        )
    },
    "a score of majority is another": (
        lambda out: alter(out, "accuracy", "accuracy", up, CONSTANT),
        f"accuracy of trial -1000, seed 1: {OTHER}",
    ),
    "majority has a curve": (
        lambda out: write(out, "curves", lambda rows: [*rows, rows[0] | {"trial": MAJORITY_TRIAL, "seed": 1}]),
        f"curves of trial -1000, seed 1: {MORE}",
    ),
    "a sweep has looked at test data": (
        lambda out: write(out, "test", lambda _: [r for r in rows_of(out, "accuracy") if is_of(r, RUN)]),
        f"test of {RUN_OF}: {MORE}",
    ),
    "test data of no run": (
        lambda out: write(out, "test", lambda _: [rows_of(out, "accuracy")[-1] | {"trial": 9}]),
        r"test: rows of no run",
    ),
    **{
        f"{column} of a run is another": (
            partial(alter, table="runs", column=column, by=by),
            f"runs of {RUN_OF}, alone and here: {{'{column}': ",
        )
        for column, by in (
            ("val_average_score", up),
            ("objective_mixed", up),
            ("n_parameters", lambda n: n - 1),
            ("failure", lambda _: "it had one"),
        )
    },
    "a run was trained with another setting": (
        lambda out: alter(out, "runs", "hp_ewc_lambda", lambda _: 0.0),
        f"(accuracy|curves) of {RUN_OF}: {OTHER}",
    ),
    "a trial is another one than was asked for": (
        another_configuration,
        r"journal: trial 1 is \{'ewc_lambda': 1.0\}, and was trained with \{'ewc_lambda': 100.0\}",
    ),
    "the sampler was told another score": (other_score, r"journal: trial 1 has \[0\.\d+\], its runs \[0\.\d+\]"),
    "the sampler was told one that is a bit off": (
        lambda out: enter(out, lambda line: of_trial(1, values=[up(v) for v in line.get("values") or ()])(line)),
        r"journal: trial 1 has \[0\.\d+\], its runs \[0\.\d+\]",
    ),
    "the sampler does not know a trial": (
        lambda out: enter(out, lambda line: line if line["op_code"] != 6 or line["trial_id"] != 3 else None),
        r"trials of the journal: \[.*\(3, .*RUNNING",
    ),
    "the sampler was told that a trial failed": (
        lambda out: enter(out, of_trial(3, state=3)),
        r"trials of the journal: \[.*\(3, .*FAIL",
    ),
    "the sampler knows one more trial": (
        lambda out: enter(out, dict, {"op_code": 4, "worker_id": "another", "study_id": 0, "datetime_start": None}),
        r"trials of the journal: \[.*\(4, .*RUNNING",
    ),
    "there are to be more trials": (lambda out: Folder(out).set_budget(TRIALS + 1, None), "not complete: .*trials=5"),
    "a bit is another in a file": (
        lambda out: (out / "study.copy.yaml").write_bytes((out / "study.yaml").read_bytes().replace(b"e", b"f", 1)),
        r"cfsweep check: .*study\.copy\.yaml",
    ),
    "the ledger lacks all commits": (lambda out: commit(out, but=TABLES), "not complete: "),
    "the ledger lacks the curves": (lambda out: commit(out, but=("curves",)), "cfsweep check: .*no line .* names it"),
    **{
        f"{name} is left": (partial(lie_there, name=name), rf"left in the folder: \{{.*'{re.escape(name)}'")
        for name in (
            "runs/.pack000000.parquet.x1.tmp",
            "journal.jsonl.lock",
            "checkpoints/pack000001.pt",
            "references",
            "report.html",
            "damaged/1",
        )
    },
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_named(what: str, out: Path) -> None:
    tamper, said = WRONG[what]
    tamper(out)
    with pytest.raises(AssertionError) as found:
        verdict(out, TRIALS, SEEDS)
    assert re.match(said, str(found.value))


def test_a_whole_study_is_found_whole(out: Path) -> None:
    assert verdict(out, TRIALS, SEEDS) == (TRIALS + 2) * SEEDS
    for trials, seeds in ((TRIALS + 1, SEEDS), (TRIALS, SEEDS + 1), (TRIALS - 1, SEEDS)):
        with pytest.raises(AssertionError, match=r"^runs: missing "):
            verdict(out, trials, seeds)
    lie_there(out, "damaged/1")
    assert verdict(out, TRIALS, SEEDS, aside=r"damaged(/.*)?")
    with Folder(out).locked(), pytest.raises(AssertionError, match=r"^somebody holds the folder"):
        verdict(out, TRIALS, SEEDS, aside=r"damaged(/.*)?")


def test_so_many_attempts_may_have_failed(out: Path) -> None:
    repeat(out, "failed", "failed")
    assert verdict(out, TRIALS, SEEDS, attempts=3)
    with pytest.raises(AssertionError, match=r"^runs that have failed too often: \{\(1, 0\): 2\}"):
        verdict(out, TRIALS, SEEDS, attempts=2)


def test_a_trial_that_had_failed_stays_so_for_the_sampler(out: Path) -> None:
    repeat(out, "failed")
    enter(out, of_trial(1, state=3))
    assert verdict(out, TRIALS, SEEDS, attempts=2)
    enter(out, of_trial(3, state=3))
    with pytest.raises(AssertionError, match=r"^trials of the journal: \[.*\(3, .*FAIL"):
        verdict(out, TRIALS, SEEDS, attempts=2)


# ------------------------------------------------------------------------------------------------ what a command leaves


@pytest.fixture
def ends(disturbed: Disturbed, measured: Measured, out: Path, monkeypatch: pytest.MonkeyPatch) -> Ends:
    """A study that has come to its end well."""
    assert disturbed.out == out
    monkeypatch.setattr(Ends, "patience_s", 0.0)
    return Ends(disturbed, measured)


def test_a_good_end(ends: Ends) -> None:
    assert ends.whole((0, "done", "what it said")) == "what it said"
    assert ends.measured.runs == (TRIALS + 2) * SEEDS


@pytest.mark.parametrize(
    ("ended", "said"),
    [((3, "", ""), "exit code 3"), ((0, "1\nTraceback (most recent call last):\n", ""), "^a traceback is printed")],
)
def test_a_command_that_ended_badly(ended: tuple[int, str, str], said: str, ends: Ends) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception), match=said):
        ends.whole(ended)


@pytest.mark.parametrize("known_by", ["its folder", "its id"])
def test_a_process_that_lives_on(known_by: str, ends: Ends) -> None:
    disturbed = ends.disturbed
    environment = {"TMPDIR": str(disturbed.temporary)} if known_by == "its folder" else {}
    with subprocess.Popen(["sleep", "60"], env=environment) as process:
        disturbed.begun |= {process.pid: "sleep"} if known_by == "its id" else {}
        with pytest.raises(AssertionError, match=rf"^processes live on: \{{{process.pid}: '"):
            ends.whole((0, "", ""))
        process.kill()


def test_files_that_are_left(ends: Ends) -> None:
    temporary, cwd = ends.disturbed.temporary, ends.disturbed.processes.cwd
    (temporary / "ray").mkdir()
    ends.whole((0, "", ""))
    (temporary / "ray" / "log").touch()
    (temporary / "link").symlink_to(temporary / "ray")
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(temporary / "socket"))
    with pytest.raises(AssertionError, match=r"^temporary files that nobody needs: ") as raised:
        ends.whole((0, "", ""))
    for name in ("log", "link", "socket"):
        assert f"/{name}')" in str(raised.value)
    shutil.rmtree(temporary)
    (cwd / "core").touch()
    with pytest.raises(AssertionError, match=r"^left where the command was given: .*/core'"):
        ends.whole((0, "", ""))


RAYS = "[2026-11-27 20:25:14,000 E 1 1] core_worker.cc:1: it is gone\n"
LINE, NEXT = "cfsweep: no room for 3 kB", "cfsweep: there is room again"


@pytest.mark.parametrize(
    ("complaints", "said"),
    [
        ("", "0 lines in place of 2"),
        (RAYS, "0 lines in place of 2"),
        (f"{LINE}\n", "1 lines in place of 2"),
        (f"{LINE}\n{LINE}\n{NEXT}\n", "3 lines in place of 2"),
        (f"{LINE}\n{NEXT}\nTraceback (most recent call last):\n  File\n", "4 lines in place of 2"),
        (f"{NEXT}\n{LINE}\n", "not like cfsweep: no room"),
        (f"{LINE}\nTraceback (most recent call last):\n", "not like cfsweep: there is"),
        (f"{LINE}, and more\n{NEXT}\n", "not like cfsweep: no room"),
        (f"so {LINE}\n{NEXT}\n", "not like cfsweep: no room"),
    ],
)
def test_what_the_user_was_told(complaints: str, said: str) -> None:
    patterns = (r"cfsweep: no room for \d kB", NEXT)
    told(f"{LINE}\n{RAYS}{NEXT}\n", *patterns)
    told(RAYS)
    with pytest.raises(AssertionError) as found:
        told(complaints, *patterns)
    assert str(found.value).startswith(said)
