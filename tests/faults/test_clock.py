"""The clock of the machine is set while a sweep runs, by days, forth and back."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.conftest import Ends, Measured
from tests.faults.disturbed import Disturbed
from tests.sweeping.command import ROOT, finish

DAY_S = 86_400
# What `time` says in each process of Python's that is started with it, shifted by what a file says now. (Ray's own
# programs go by the kernel's clock, which a test must not set.)
CLOCK = """
import os, time
def shifted(read, unit):
    def now():
        try:
            with open(os.environ["SHIFTED_BY"]) as file:
                return read() + int(file.read() or 0) * unit
        except OSError:
            return read()
    return now
time.time, time.time_ns = shifted(time.time, 1), shifted(time.time_ns, 10**9)
"""
pytestmark = pytest.mark.slow


@pytest.mark.fault(
    "the clock that Python sees jumps by days, forth and back", "it goes on, and nothing is lost or trained twice"
)
def test_the_clock_is_set(disturbed: Disturbed, ends: Ends, measured: Measured, tmp_path: Path) -> None:
    by = tmp_path / "by"
    (tmp_path / "clock").mkdir()
    (tmp_path / "clock" / "sitecustomize.py").write_text(CLOCK)
    environment = {"PYTHONPATH": f"{tmp_path / 'clock'}:{ROOT}", "SHIFTED_BY": str(by)}
    process = disturbed.start(**environment)
    for _ in range(3):
        disturbed.moment(process, latest=2)
        by.write_text(str(disturbed.rng.randint(-3 * DAY_S, 3 * DAY_S)))
        measured.faults += 1
    process.kill()
    finish(process)
    by.write_text(str(-5 * DAY_S))
    measured.faults += 1
    assert ends.whole(finish(disturbed.start(**environment))) == ""
