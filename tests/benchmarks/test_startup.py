"""The benchmark of the start runs, and finds the stages in their order; its times are not judged here."""

from __future__ import annotations

import importlib
import re

import pytest

from benchmarks import startup, timeline
from benchmarks.startup import GAP, LAST_GAP, STAGES, Stamp


@pytest.mark.parametrize("module", timeline.CALLS)
def test_what_is_stamped_is_there(module: str) -> None:
    for name in timeline.CALLS[module]:
        found = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
        assert callable(found)


@pytest.mark.slow
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


def stamps_of(pid: int, at: float) -> list[Stamp]:
    """A pack on a worker: it is told of it, takes its first step a second later, and reports."""
    acts = (
        "PackTrainable.setup begins",
        "PackTrainable.step begins",
        "TaskLoop.run begins",
        "PackTrainable.step ends",
    )
    return [Stamp(name, at + i, pid, at / 10) for i, name in enumerate(acts)]


def test_the_stages_of_made_up_stamps() -> None:
    driver = [Stamp("prepare ends", 2.0, 9, 0.5), Stamp("init ends", 3.0, 9, 0.75)]
    imported = [Stamp("cfsweep.sweeping.ray_backend.trainable imported", 4.0 + pid, pid, 0.0) for pid in (1, 2)]
    stamps = sorted([*driver, *imported, *stamps_of(1, 10.0), *stamps_of(2, 12.0)], key=lambda stamp: stamp.at)
    found = startup.stages(stamps, began=1.0, ended=20.0)
    assert [found[stage] for stage in STAGES] == pytest.approx([1.0, 2.0, 5.0, 11.0, 13.0, 5.0, 19.0, 0.75, 1.1])


def test_a_gap_is_between_two_packs_of_one_worker() -> None:
    found = startup.gaps([*stamps_of(1, 0.0), *stamps_of(2, 1.0), *stamps_of(1, 10.0), *stamps_of(1, 20.0)])
    assert found == {GAP: [9e3, 9e3], LAST_GAP: [7e3, 7e3]}  # worker 2 has had one pack
