"""Packs wait, are handed out, come again, and are forgotten with their files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cfsweep.config import NetworkConfig
from cfsweep.sweeping.folder import Folder
from cfsweep.sweeping.pack_queue import PackJob, PackQueue
from cfsweep.training.spec import PackSpec, RunSpec


def pack(*trials: int) -> PackSpec:
    return PackSpec(NetworkConfig(), "class-il", (), tuple(RunSpec(trial, 0, {"lr": 0.1}) for trial in trials))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    found = Folder(tmp_path / "study")
    found.checkpoints.mkdir(parents=True)
    return found


def test_packs_go_out_in_their_order_and_one_that_died_goes_first(folder: Folder) -> None:
    packs = PackQueue(folder, lambda pack_id: None)
    packs.add([pack(0, 1), pack(2)])
    packs.add([pack(3)], attempt=4)
    first = packs.hand_out()
    assert (first.spec, first.attempt) == (pack(0, 1), 1)
    assert packs.of_runs({(0, 0), (1, 0), (2, 0)}) == {first.pack_id: {(0, 0), (1, 0)}}, "the third waits still"
    packs.last_task.add(first.pack_id)
    packs.again(packs.pop(first.pack_id) or first)
    assert (packs.in_flight, packs.pack_of, packs.last_task) == ({}, {}, set())
    again = packs.hand_out()
    assert (again.pack_id, again.attempt) == (first.pack_id, 2)
    assert [packs.hand_out().attempt for _ in range(2)] == [1, 4]
    assert packs.pop("pack000099") is None


def test_a_later_driver_takes_up_what_was_on_its_way_and_names_no_pack_alike(folder: Folder) -> None:
    closed: list[str] = []
    packs = PackQueue(folder, closed.append)
    packs.add([pack(0), pack(1, 2), pack(3)])
    over, kept = packs.hand_out(), packs.hand_out()
    packs.over.append(over.pack_id)
    packs.forget_over()
    assert (closed, packs.over) == ([over.pack_id], [])

    def left(job: PackJob) -> set[tuple[int, int]]:
        return {run.key for run in job.spec.runs} - {(2, 0)}

    later = PackQueue(folder, closed.append)
    assert later.take_up(left) == {(1, 0)}
    assert [replace(job, started_at=kept.started_at) for job in later.waiting] == [replace(kept, attempt=2)]
    assert later.new_id() > kept.pack_id
    last = PackQueue(folder, closed.append)
    assert last.take_up(lambda job: set()) == set()
    assert (last.waiting, list(last.files.saved()), closed[-1]) == ([], [], kept.pack_id)
