"""What the time from a kill to the next step is the time of."""

from __future__ import annotations

from benchmarks.killed import first_step

STAMPS = [
    {"what": "process begins", "at": 1.0, "pid": 7},
    {"what": "TaskLoop.run begins", "at": 9.0, "pid": 7},
    {"what": "TaskLoop.run begins", "at": 11.5, "pid": 7},  # of the driver that was killed at 10
    {"what": "process begins", "at": 12.0, "pid": 8},
    {"what": "torch imported", "at": 14.0, "pid": 8},
]


def test_a_step_of_a_worker_that_outlives_its_driver_is_not_the_first() -> None:
    assert first_step(STAMPS, 10.0) is None
    step = {"what": "TaskLoop.run begins", "pid": 8}
    assert first_step([*STAMPS, {**step, "at": 19.0}, {**step, "at": 17.0}], 10.0) == 17.0
