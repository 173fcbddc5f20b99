"""What a user sees while a sweep runs."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from rich.console import Console

from cfsweep.sweeping import progress
from cfsweep.sweeping.progress import Display
from cfsweep.sweeping.trials import Summary

BEGUN = Summary(trials=20, done=0, stopped=0, failed=0, best=None, front=0)
HALF = Summary(trials=20, done=7, stopped=2, failed=1, best=0.91234, front=3)
OVER = Summary(trials=20, done=15, stopped=4, failed=1, best=0.95, front=1)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    yield now
    monkeypatch.undo()


def test_plain_lines_where_there_is_no_terminal(clock: list[float]) -> None:
    out = io.StringIO()
    with Display(Console(file=out, width=20)) as display:
        display.show(BEGUN)
        clock[0] += 60
        display.show(HALF)
        display.show(OVER)  # too soon after the last line
        clock[0] += 60
    assert out.getvalue().splitlines() == [
        "0/20 trials: 0 done, 0 stopped, 0 failed, 0 s elapsed",
        "10/20 trials: 7 done, 2 stopped, 1 failed, best mixed 0.9123, 3 on the front, 1 min 0 s elapsed, "
        "about 1 min 0 s left",
        "20/20 trials: 15 done, 4 stopped, 1 failed, best mixed 0.9500, 1 on the front, 2 min 0 s elapsed",
    ]


def test_the_time_left_counts_the_trials_of_this_session_alone(clock: list[float]) -> None:
    display = Display(Console(file=io.StringIO()))
    with display:
        display.show(HALF)
        assert display.left_s(HALF) is None
        clock[0] += 30
        assert display.left_s(OVER) == 0
        assert display.left_s(Summary(20, 12, 2, 1, None, 1)) == pytest.approx(30)


def test_where_another_scheduler_goes_on_what_had_ended_before_counts_no_more(clock: list[float]) -> None:
    display = Display(Console(file=(out := io.StringIO())))
    with display:
        display.show(BEGUN)
        clock[0] += 30
        display.show(HALF)
    with display:
        display.show(replace(HALF, runs_before=10))
        assert display.left_s(HALF) is None
    assert "picked up: 10 of 20 trials had ended" in out.getvalue()


def test_the_time_left_goes_by_tasks_where_they_have_come_further(clock: list[float]) -> None:
    """When the first trial ends, the others of its pack nearly have."""
    display = Display(Console(file=io.StringIO()))
    with display:
        display.show(BEGUN)
        clock[0] += 60
        assert display.left_s(Summary(20, 1, 0, 0, None, 1, tasks=60, tasks_at_most=100)) == pytest.approx(40)
        assert display.left_s(Summary(20, 1, 0, 0, None, 1, tasks=2, tasks_at_most=100)) == pytest.approx(60 * 19)


def test_a_panel_on_a_terminal() -> None:
    out = io.StringIO()
    with Display(Console(file=out, force_terminal=True, width=80)) as display:
        display.show(BEGUN)
        display.show(HALF)
        assert display.live is not None
        display.live.refresh()
        out.truncate(0)
        display.console.print(display.panel())
        shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", out.getvalue())
    for text in ("10 of 20", "7 done  2 stopped  1 failed", "mixed 0.9123", "3 trials", "elapsed, about"):
        assert text in shown
    last = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", out.getvalue()).strip().splitlines()[-1]
    assert last.startswith("10/20 trials: 7 done")


def test_what_was_picked_up_and_who_died_is_said_once() -> None:
    out = io.StringIO()
    with Display(Console(file=out, width=20)) as display:
        for deaths in (0, 0, 1, 1, 2):
            display.show(replace(HALF, tasks=14, tasks_at_most=60, deaths=deaths, runs_before=25, runs_going_on=4))
    picked_up, *said = out.getvalue().splitlines()
    assert picked_up == (
        "picked up: 10 of 20 trials had ended, 25 runs with those of references; 4 more go on from their "
        "last checkpoint"
    )
    assert [line for line in said if "worker" in line] == [
        "a worker died (1 so far); another one goes on from its last checkpoint",
        "a worker died (2 so far); another one goes on from its last checkpoint",
    ]
    assert ", 14 of at most 60 tasks of runs trained, " in said[-1]
    assert "picked up" not in "".join(said)
