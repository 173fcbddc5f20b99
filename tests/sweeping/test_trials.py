"""When the asker hears of a trial's end, and of which."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from cfsweep.sweeping.trials import Trial, TrialBook
from tests.sweeping.in_process import tiny


@pytest.mark.parametrize(
    ("states", "told"),
    [
        (("done", "done"), "done"),
        (("done", "stopped"), "stopped"),
        (("failed", "stopped"), "failed"),
        (("stopped", "failed"), "failed"),
        (("done", "failed"), "failed"),
        (("done",), None),
    ],
)
def test_a_trial_failed_if_a_run_did_else_it_was_stopped_if_one_was(states: tuple[str, ...], told: str | None) -> None:
    heard: list[tuple[Any, ...]] = []
    asker: Any = SimpleNamespace(running=list, tell=lambda *given: heard.append(given))
    book = TrialBook(tiny(seeds=2), asker)
    trial = Trial(7, {}, states=dict(enumerate(states)), objectives={k: {"mixed": 0.5 + 0.25 * k} for k in range(2)})
    book.report_end(trial)
    assert heard == ([] if told is None else [(7, told, [0.625] if told == "done" else None)])
    book.report_end(trial)
    assert len(heard) == (told is not None), "once"
