"""The benchmark of the start runs, and finds the stages in their order; its times are not judged here."""

from __future__ import annotations

import re

import pytest

from benchmarks import startup
from benchmarks.startup import GAP, LAST_GAP, STAGES, Stamp


def test_quick_prints_every_stage_of_a_real_sweep(capsys: pytest.CaptureFixture[str]) -> None:
    startup.main(["--quick"])
    rows = re.findall(r"^\| (.+), (s|ms) \| ([\d.]+) \|$", capsys.readouterr().out, re.MULTILINE)
    assert [name for name, _, _ in rows] == [*STAGES, GAP, LAST_GAP]
    seconds = {name: float(value) for name, unit, value in rows if unit == "s"}
    read, up, loaded, first, every, _, whole, *_ = (seconds[stage] for stage in STAGES)
    assert 0 < read <= first <= every < whole
    assert 0 < up <= first
    assert 0 < loaded <= every
    gap, told = (float(value) for _, unit, value in rows if unit == "ms")
    assert 0 < told <= gap


def test_a_gap_is_between_two_packs_of_one_worker() -> None:
    def pack(pid: int, at: float) -> list[Stamp]:
        names = ("setup begins", "step begins", "run begins", "step ends")
        whats = [f"{'TaskLoop' if name == 'run begins' else 'PackTrainable'}.{name}" for name in names]
        return [Stamp(what, at + i, pid, 0.0) for i, what in enumerate(whats)]

    found = startup.gaps([*pack(1, 0.0), *pack(2, 1.0), *pack(1, 10.0), *pack(1, 20.0)])
    assert found == {GAP: [9e3, 9e3], LAST_GAP: [7e3, 7e3]}  # worker 2 has had one pack
