"""A short round of faults, for each change."""

from __future__ import annotations

import signal

import pytest

from tests.faults.conftest import Ends, Measured
from tests.faults.disturbed import WORKER, Disturbed, send
from tests.sweeping.command import finish


@pytest.mark.fault("a worker and then the driver are killed", "`run` or `resume` goes on from the last checkpoints")
def test_a_short_round(disturbed: Disturbed, ends: Ends, measured: Measured) -> None:
    process = disturbed.start(workers=1)
    disturbed.moment(process, latest=3, earliest=1)
    measured.faults += send(disturbed.one(process, WORKER), signal.SIGKILL)
    disturbed.moment(process, latest=3, earliest=1)
    process.kill()
    assert finish(process)[::2] == (-signal.SIGKILL, "")
    measured.faults += 1
    assert ends.whole(workers=1) == ""
