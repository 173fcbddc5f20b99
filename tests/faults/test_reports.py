"""What workers report comes late, twice and out of order, and workers die meanwhile. Without Ray: see `in_process`."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from cfsweep.config import StreamConfig
from cfsweep.sweeping.driver import Driver
from cfsweep.training.pack import Pack
from cfsweep.training.streams import load_stream
from tests.faults.conftest import Measured
from tests.faults.verdict import verdict
from tests.sweeping.in_process import Sweep, WorkerDied, tiny


@pytest.mark.fault("reports come late, twice and out of order; workers die", "what is known is passed over")
def test_reports_come_late_and_twice(tmp_path: Path, rng: random.Random, measured: Measured) -> None:
    sweep = Sweep(tmp_path / "study", load_stream(StreamConfig()))
    driver = sweep.open(tiny(trials=6, seeds=2, references=True, pack_runs=3), workers=3)
    take, before = driver.take_report, list[tuple[str, Any]]()

    def again(pack_id: str, report: Any) -> None:
        take(pack_id, report)
        before.append((pack_id, report))
        for other in rng.choices(before, k=rng.randrange(4)):
            take(*other)
            measured.faults += 1

    def dies(pack_id: str, pack: Pack, driver: Driver) -> None:
        if rng.random() < 0.05:
            measured.faults += 1
            raise WorkerDied

    driver.take_report = again  # type: ignore[method-assign]
    assert sweep.train(driver, dies).complete
    measured.runs = verdict(sweep.folder.root, 6, 2)
