"""The seed of a round, and what the page of reliability is made of.

`CFSWEEP_FAULTS_SEED` gives the seed, else the clock does; it is printed. What each test has done is added to the file
`CFSWEEP_FAULTS_RECORD`, where that is set.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import tempfile
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.faults.disturbed import ENDS_WITHIN_S, SEEDS, TRIALS, Disturbed
from tests.faults.verdict import verdict
from tests.sweeping.command import Processes
from tests.sweeping.ray_backend.scenarios import those_who_live_on

SEED = int(os.environ.get("CFSWEEP_FAULTS_SEED", time.time_ns() % 10**6))


@dataclass
class Measured:
    """What one test has done: so many faults, runs compared with ones trained alone, and the line that was told."""

    faults: int = 0
    runs: int = 0
    told: list[str] = field(default_factory=list)


MEASURED = pytest.StashKey[Measured]()


def pytest_report_header() -> str:
    return f"seed of the faults: {SEED} (CFSWEEP_FAULTS_SEED={SEED} for the same moments)"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    mark, record = item.get_closest_marker("fault"), os.environ.get("CFSWEEP_FAULTS_RECORD")
    if mark is not None and (report.when == "call" or report.outcome != "passed"):
        report.sections.append(("seed of the faults", str(SEED)))
        if record:
            what, promised = mark.args
            measured = item.stash.get(MEASURED, Measured())
            disturbed = getattr(item, "funcargs", {}).get("disturbed")
            if disturbed is not None:
                measured.told = [
                    re.sub(r"[\d.]+:\d{4,5}", "ADDRESS", line.replace(str(disturbed.out), "DIR"))
                    for line in measured.told
                ]
            line = {
                "fault": what.format(*_parameters(item)),
                "promised": promised,
                "test": f"{item.path.name}::{item.name}",
                "seed": SEED,
                "outcome": report.outcome,
                "seconds": round(report.duration, 1),
                "why": report.longreprtext,
                **vars(measured),
            }
            with Path(record).open("a") as file:
                file.write(json.dumps(line) + "\n")
    return report


def _parameters(item: pytest.Item) -> list[str]:
    """By what the test is told from others of its function."""
    called = getattr(item, "callspec", None)
    return [called.id] if called is not None else []


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    """Draws of this test alone, by the seed of the round."""
    return random.Random(f"{SEED} {request.node.name}")


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Measured:
    found: Measured = request.node.stash.setdefault(MEASURED, Measured())
    return found


@pytest.fixture
def temporary() -> Iterator[Path]:
    """For what is temporary; by a short name, as sockets lie there."""
    path = Path(tempfile.mkdtemp(prefix="f", dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def disturbed(tmp_path: Path, temporary: Path, rng: random.Random) -> Iterator[Disturbed]:
    """A study that is not begun; whatever processes of it are left in the end are killed."""
    (tmp_path / "cwd").mkdir()
    processes = Processes(tmp_path / "cwd")
    yield Disturbed(processes, tmp_path, temporary, rng)
    processes.end()


class Ends:
    """Has a disturbed study brought to its end, and looks at all of it."""

    patience_s = ENDS_WITHIN_S

    def __init__(self, disturbed: Disturbed, measured: Measured) -> None:
        self.disturbed, self.measured = disturbed, measured

    def whole(
        self, ended: tuple[int, str, str] | None = None, workers: int = 2, aside: str = "", attempts: int = 1
    ) -> str:
        """Asserts that the command `ended` well, or the one does that goes on now; that the study is whole (`verdict`),
        and that no process and nothing temporary is left, nor anything else but what was set `aside`. Gives what the
        command complained of."""
        code, printed, complaints = ended or self.disturbed.undisturbed(workers=workers)
        if code != 0:
            pytest.fail(f"exit code {code}\n{printed}\n{complaints}")  # all of it: an assertion would cut it short
        assert "Traceback (" not in printed, f"a traceback is printed: {printed}"
        disturbed = self.disturbed
        self.measured.runs += verdict(disturbed.out, TRIALS, SEEDS, aside, attempts)
        living = those_who_live_on(disturbed.begun | disturbed.of_its_folder(), self.patience_s)
        assert not living, f"processes live on: {living}"
        left = [path for path in disturbed.temporary.rglob("*") if path.is_symlink() or not path.is_dir()]
        assert not left, f"temporary files that nobody needs: {left}"
        left = list(disturbed.processes.cwd.iterdir())
        assert not left, f"left where the command was given: {left}"
        return complaints


@pytest.fixture
def ends(disturbed: Disturbed, measured: Measured) -> Ends:
    return Ends(disturbed, measured)
