"""The clock is set while a sweep runs, by days, forth and back, as libfaketime tells it to a process. (Ray's own
programs do not bear that library, so the sweep trains in one process.)"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from tests.faults.conftest import Ends, Measured
from tests.faults.disturbed import Disturbed
from tests.faults.verdict import rows_of
from tests.sweeping.command import finish

pytestmark = pytest.mark.slow


@pytest.fixture
def clock(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A file that says by how much the clock goes wrong, and the environment of a process that goes by it."""
    libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not libraries:
        pytest.skip("no libfaketime here: install Debian's package of this name")
    by = tmp_path / "by"
    by.write_text("+0d")
    settings = {"FAKETIME_TIMESTAMP_FILE": str(by), "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    return by, {"LD_PRELOAD": str(libraries[0]), **settings}


@pytest.mark.fault("the clock is set by days, forth and back", "the sweep goes on as if nothing were")
def test_the_clock_is_set(
    disturbed: Disturbed, ends: Ends, measured: Measured, clock: tuple[Path, dict[str, str]]
) -> None:
    by, environment = clock
    process = disturbed.start(workers=0, **environment)
    for way in ("+", "-", "+"):
        disturbed.moment(process, latest=4, earliest=2)
        by.write_text(f"{way}{disturbed.rng.randint(2, 9)}d")
        measured.faults += 1
    assert ends.whole(finish(process)) == ""
    began = [row["started_at"] for row in rows_of(disturbed.out, "runs")]
    assert max(began) - min(began) > timedelta(days=1), "the clock was set indeed"
