"""What confirms goes on: after a kill, with more trials and more seeds, where rows were lost."""

from __future__ import annotations

import shutil
from collections import Counter
from importlib import metadata
from pathlib import Path

import pytest
import torch

from cfsweep.config import FRESH
from cfsweep.errors import InputError
from cfsweep.results.schema import MAJORITY_TRIAL
from cfsweep.results.status import status
from cfsweep.sweeping.driver import Driver
from cfsweep.training.pack import Pack
from cfsweep.training.spec import PackReport
from cfsweep.training.streams import Stream
from tests.sweeping.confirming import Confirmed, all_of, flat, keys, noted, restored, trained_apart
from tests.sweeping.in_process import Killed, Sweep
from tests.sweeping.test_faults import killed_at


@pytest.mark.parametrize("step", [1, 2, 5, 6, 8, 10])
def test_killed_at_any_step_it_goes_on_and_trains_nothing_twice(
    root: Path, tmp_path: Path, stream: Stream, confirmed: Confirmed, inside: Sweep, step: int
) -> None:
    """A pack of a reference and one of two trials: ten steps, of which each is done once."""
    trained = Counter[tuple[tuple[int, int], int]]()
    count, die = noted(trained), killed_at(step)

    def fault(pack_id: str, pack: Pack, driver: Driver) -> None:
        die(pack_id, pack, driver)
        count(pack_id, pack, driver)

    with pytest.raises(Killed):
        confirmed(0, 5, references=(-1,), seeds=2, fault=fault)
    assert not status(inside.folder.root).complete
    assert confirmed(0, 5, references=(-1,), seeds=2, fault=count).status.complete
    assert trained == {((trial, FRESH + s), task): 1 for trial in (-1, 0, 5) for s in (0, 1) for task in range(5)}
    again = Counter[tuple[tuple[int, int], int]]()
    assert confirmed(0, 5, references=(-1,), seeds=2, fault=noted(again)).nothing_to_do
    assert not again
    packs = trained_apart(root, [0, 5], 2, stream)
    for pack in packs:
        for i, run in enumerate(pack.spec.runs):
            assert inside.matrices("test")[run.key] == flat(pack.records[i].test)
            assert torch.equal(restored(inside, run.key, stream).stack.theta[0], pack.stack.theta[pack.stack.row_of[i]])


def test_on_another_ground_no_run_goes_on_from_what_the_one_before_left(
    confirmed: Confirmed, inside: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = Counter[tuple[tuple[int, int], int]]()
    count, die = noted(trained), killed_at(3)

    def fault(pack_id: str, pack: Pack, driver: Driver) -> None:
        die(pack_id, pack, driver)
        count(pack_id, pack, driver)

    with pytest.raises(Killed):
        confirmed(0, seeds=1, fault=fault)
    begun = {key for key, n in trained.items() if n}
    assert begun == {((0, FRESH), 0), ((0, FRESH), 1)}
    version = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "0.1" if name == "torch" else version(name))
    with pytest.raises(InputError, match=r"torch .* with --accept-changes"):
        confirmed(0, seeds=1, fault=count)
    assert confirmed(0, seeds=1, fault=count, accept_changes=True).status.complete
    assert {key: trained[key] for key in begun} == dict.fromkeys(begun, 2), "from the beginning"
    (noted_change,) = inside.folder.read()[1]["changes"]
    assert noted_change["changed"][0].startswith("torch ")


def test_killed_after_its_models_were_kept_it_leaves_none_that_differ(
    confirmed: Confirmed, inside: Sweep, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = Driver.take_report

    def dies(self: Driver, pack_id: str, report: PackReport) -> None:
        if report.done:
            raise Killed
        take(self, pack_id, report)

    with monkeypatch.context() as patched:
        patched.setattr(Driver, "take_report", dies)
        with pytest.raises(Killed):
            confirmed(5)
    before = restored(inside, (5, FRESH), stream).stack.theta
    assert keys(inside) == [(MAJORITY_TRIAL, FRESH)]
    assert confirmed(5).status.complete
    assert torch.equal(restored(inside, (5, FRESH), stream).stack.theta, before)
    assert len(list((inside.folder.root / "models").iterdir())) == 1


def test_more_trials_and_more_seeds_later(confirmed: Confirmed, inside: Sweep) -> None:
    confirmed(0, references=(-1,))
    before, study_id = inside.rows(), inside.folder.read()[0].study_id
    fresh = [FRESH + seed for seed in range(3)]
    for trials, references, seeds, new in (
        ((5,), (-2,), 1, {(5, FRESH), (-2, FRESH)}),
        ((5, 7), (), 3, {(t, s) for t in (-2, -1, 0, 5, 7) for s in fresh[1:]} | {(7, FRESH)}),
        ((7,), (), 2, set()),
    ):
        trained = Counter[tuple[tuple[int, int], int]]()
        outcome = confirmed(*trials, references=references, seeds=seeds, fault=noted(trained))
        assert (outcome.status.complete, outcome.nothing_to_do) == (True, not new)
        assert {key for key, _ in trained} == new
    assert keys(inside) == [(t, s) for t in (MAJORITY_TRIAL, -2, -1, 0, 5, 7) for s in fresh]
    first = [row for row in inside.rows() if row["trial"] in (MAJORITY_TRIAL, -1, 0) and row["seed"] == FRESH]
    assert first == before, "none is taken away"
    config, content = inside.folder.read()
    assert (config.trials, config.seeds, config.study_id) == (3, 3, study_id)
    assert (set(content["confirms"]["trials"]), content["confirms"]["references"]) == ({0, 5, 7}, [-1, -2])

    bit_by_bit = [inside.matrices(), inside.matrices("test")]
    shutil.rmtree(inside.folder.root)
    confirmed(7, 5, 0, references=(-2, -1), seeds=3)
    assert [inside.matrices(), inside.matrices("test")] == bit_by_bit


def test_lost_rows_come_again(confirmed: Confirmed, inside: Sweep) -> None:
    confirmed(0, 5, references=(-1,), seeds=2)
    before = all_of(inside)
    for table in ("runs", "test", "accuracy"):
        for part in (inside.folder.root / table).glob("*.parquet"):
            part.unlink()
        inside.repair()
        assert not confirmed(0, seeds=2).nothing_to_do
        assert all_of(inside) == before
