"""Trials of a sweep are trained again with fresh seeds, and tested; a sweep itself tests nothing."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from cfsweep.config import FRESH, MOST_SEEDS, StudyConfig
from cfsweep.errors import InputError
from cfsweep.results.schema import MAJORITY_TRIAL, model_path
from cfsweep.results.status import status
from cfsweep.sweeping.confirm import FOLDERS, confirm
from cfsweep.sweeping.driver import Driver
from cfsweep.sweeping.progress import Calls
from cfsweep.sweeping.scheduler import Workers
from cfsweep.sweeping.study import resume
from cfsweep.training.answering import Answering
from cfsweep.training.constant_answer import constant_answer
from cfsweep.training.pack import Pack
from cfsweep.training.streams import Stream
from tests.sweeping.confirming import CONFIG, SEARCH, Confirmed, flat, keys, noted, restored, trained_apart
from tests.sweeping.in_process import Sweep, tiny
from tests.sweeping.test_faults import without_chance


def test_fresh_seeds_are_none_that_a_sweep_can_have(confirmed: Confirmed, inside: Sweep) -> None:
    assert not {*CONFIG.model_copy(update={"seeds": MOST_SEEDS}).seed_numbers} & {FRESH}
    with pytest.raises(ValueError, match="less than or equal to 10000"):
        tiny(seeds=MOST_SEEDS + 1)
    assert not confirmed(3, 0, references=(-1,), seeds=2).interrupted
    assert {seed for _, seed in keys(inside)} == {10_000, 10_001}
    assert {trial for trial, _ in keys(inside)} == {MAJORITY_TRIAL, -1, 0, 3}


def test_runs_are_bit_for_bit_what_a_pack_gives_for_these_settings_and_seeds(
    root: Path, confirmed: Confirmed, inside: Sweep, stream: Stream
) -> None:
    confirmed(0, 5, 7, seeds=2)
    records = [record for pack in trained_apart(root, [0, 5, 7], 2, stream) for record in pack.records]
    assert len(records) == 6
    assert inside.matrices() == {
        **{record.key: flat(record.validation) for record in records},
        **{
            (MAJORITY_TRIAL, FRESH + s): flat(constant_answer(stream, "task-il").steering["validation"]) for s in (0, 1)
        },
    }
    tests = inside.matrices("test")
    assert {record.key: flat(record.test) for record in records}.items() <= tests.items()
    assert tests[MAJORITY_TRIAL, FRESH] == flat(constant_answer(stream, "task-il").steering["test"])
    swept = {row["trial"]: row for row in Sweep(root, stream).rows()}
    for row in inside.rows():
        if row["trial"] >= 0:
            settings = {name: value for name, value in row.items() if name.startswith("hp_")}
            assert settings == {name: swept[row["trial"]][name] for name in settings}
            assert row["config_hash"] == swept[row["trial"]]["config_hash"]


def test_models_are_restored_to_the_same_predictions(
    root: Path, confirmed: Confirmed, inside: Sweep, stream: Stream
) -> None:
    confirmed(0, 5, seeds=2, references=(-2,))
    files = sorted(path.name for path in (inside.folder.root / "models").iterdir())
    assert files == sorted(f"trial{t}-seed{s}.pt" for t in (-2, 0, 5) for s in (10_000, 10_001))
    alone = model_path(inside.folder.root, (5, FRESH)).stat().st_size
    assert alone < 3 * model_path(inside.folder.root, (-2, FRESH)).stat().st_size, "its own weights, not the pack's"
    for pack in trained_apart(root, [0, 5], 2, stream):
        for i, run in enumerate(pack.spec.runs):
            model, row = restored(inside, run.key, stream), int(pack.stack.row_of[i])
            assert (model.done, model.spec.runs, len(model.stack)) == (True, (run,), 1)
            assert torch.equal(model.stack.theta[0], pack.stack.theta[row])
            assert model.records[0].test == pack.records[i].test
            answers = [Answering(p.context, p.stack, 4, 5) for p in (model, pack)]
            for task in range(5):
                mine, theirs = (
                    p.context.evaluator.predictions(w, task, 5, "test", a.by_weights(w))
                    for p, a in zip((model, pack), answers, strict=True)
                    for w in [p.scoring.weights_for(task, 5)]
                )
                assert torch.equal(mine[0], theirs[row])
                labels = pack.context.outputs.labels[torch.from_numpy(stream.tasks[task].test)]
                assert float((mine[0] == labels).float().mean()) == pytest.approx(model.records[0].test[-1][task])


def test_its_folder_says_what_it_is(root: Path, confirmed: Confirmed, inside: Sweep) -> None:
    now = confirmed(3, references=(-1,), seeds=2).status
    assert (now.done, now.trials, now.seeds, now.references_left, now.complete) == (1, 1, 2, 0, True)
    assert now.goes_on_by == f"cfsweep confirm {root} --seeds 2"
    config, content = inside.folder.read()
    assert (config.purpose, config.first_seed, config.parts) == ("confirm", FRESH, ("validation", "test"))
    assert content["confirms"]["study_id"] == CONFIG.study_id != content["study_id"]
    assert set(content["confirms"]["trials"]) == {3}
    assert content["confirms"]["references"] == [-1]
    assert not (inside.folder.root / "journal.jsonl").exists()
    assert list(inside.folder.checkpoints.iterdir()) == []
    with pytest.raises(InputError, match=r"it confirms trials of a sweep\. `cfsweep confirm .* --seeds 2` goes on"):
        resume(inside.folder.root, 3, None, Workers(0), Calls(None))
    assert status(root).goes_on_by == "cfsweep resume"


def test_references_are_those_with_these_numbers(root: Path, confirmed: Confirmed, inside: Sweep) -> None:
    confirmed(0, references=(-2, -3))
    rates = {row["trial"]: row["hp_lr"] for row in inside.rows()}
    assert set(rates) == {MAJORITY_TRIAL, -3, -2, 0}
    assert rates[-3] != rates[-2]
    swept = {row["trial"]: row["hp_lr"] for row in Sweep(root, inside.stream).rows()}
    assert rates == {trial: swept[trial] for trial in rates}
    methods = {row["trial"]: row["method"] for row in inside.rows()}
    assert (methods[-2], methods[-3], methods[MAJORITY_TRIAL]) == ("joint", "naive", "majority")


def test_a_trial_that_is_equal_to_another_is_handed_its_results(
    root: Path, stream: Stream, tmp_path: Path, confirmed: Confirmed, inside: Sweep
) -> None:
    shutil.rmtree(root)
    sweep = Sweep(root, stream)
    sweep.train(sweep.open(tiny({"replay_ratio": {"choices": [0.0, 0.5]}}, trials=6)))
    first, second = next((row["same_as"], row["trial"]) for row in sweep.rows() if row["same_as"] is not None)
    trained = Counter[tuple[tuple[int, int], int]]()
    assert confirmed(first, second, fault=noted(trained)).status.done == 2
    assert {key for key, _ in trained} == {(first, FRESH)}
    assert [row["same_as"] for row in inside.rows()] == [None, first]
    assert inside.matrices("test")[first, FRESH] == inside.matrices("test")[second, FRESH]


# ------------------------------------------------------------------------------------------------ what is refused


def test_a_run_that_fails_fails_alone_and_leaves_no_model(confirmed: Confirmed, inside: Sweep) -> None:
    def raises(pack_id: str, pack: Pack, driver: Driver) -> None:
        if pack.next_task == 2 and (5, FRESH + 1) in {run.key for run in pack.spec.runs}:
            raise RuntimeError("no")

    now = confirmed(0, 5, seeds=2, fault=raises).status
    assert (now.done, now.failed, now.complete) == (1, 1, True)
    (reason,) = now.failures.values()
    assert (*now.failures,) == ((5, FRESH + 1),)
    assert reason.startswith("RuntimeError: no (sweeping/test_confirm.py, line ")
    models = sorted(path.name for path in (inside.folder.root / "models").iterdir())
    assert models == ["trial0-seed10000.pt", "trial0-seed10001.pt", "trial5-seed10000.pt"]
    assert confirmed(0, 5, seeds=2).nothing_to_do, "what has failed is not tried again"


def test_what_did_not_go_all_the_way_is_refused(root: Path, stream: Stream, confirmed: Confirmed) -> None:
    shutil.rmtree(root)
    sweep = Sweep(root, stream)

    def faults(pack_id: str, pack: Pack, driver: Driver) -> None:
        pack.drop({(1, 0)} if pack.next_task == 2 else ())
        if pack.next_task == 2 and 2 in {run.trial for run in pack.spec.runs}:
            raise RuntimeError("no")

    sweep.train(sweep.open(tiny(trials=4, pack_runs=2, stop_trials=True), workers=1), faults)
    assert [row["state"] for row in sweep.rows()] == ["done", "stopped", "failed", "done"]
    before = sorted(root.rglob("*"))
    for trial in (1, 2, 4, -1, MAJORITY_TRIAL):
        with pytest.raises(InputError) as refused:
            confirmed(0, trial)
        assert str(refused.value) == (
            f"--trials {trial}: only a trial that went all the way with each seed can be confirmed. "
            f"`cfsweep table {root} --all` lists those."
        )
    sweep.folder.set_budget(4, None, 2)
    with pytest.raises(InputError, match=r"^--trials 0: only a trial that went all the way with each seed"):
        confirmed(0)
    assert sorted(root.rglob("*")) == before, "nothing was made"


@pytest.mark.parametrize("seeds", [0, -1, MOST_SEEDS + 1])
def test_a_number_of_seeds_that_is_none(confirmed: Confirmed, seeds: int) -> None:
    with pytest.raises(InputError, match=rf"^--seeds {seeds}: `1 <= seeds <= 10000` must hold\. Give another"):
        confirmed(0, seeds=seeds)


@pytest.mark.parametrize("place", [".", "confirmed"])
def test_data_that_has_changed_is_refused(root: Path, confirmed: Confirmed, inside: Sweep, place: str) -> None:
    confirmed(0)
    file = root / place / "study.yaml"
    content = yaml.safe_load(file.read_text())
    name = next(iter(content["data_sha256"]))
    content["data_sha256"][name] = "0" * 64
    del content["layout"]  # as of an earlier version, which did not notice that it was edited
    file.write_text(yaml.safe_dump(content))
    before = (inside.rows(), inside.folder.study_file.read_bytes())
    with pytest.raises(InputError, match=f"the study began with {name} of SHA-256 000000000000"):
        confirmed(0, 5)
    assert (inside.rows(), inside.folder.study_file.read_bytes()) == before


def test_what_confirms_is_not_confirmed(root: Path, confirmed: Confirmed) -> None:
    for purpose in FOLDERS:
        confirmed(0, purpose=purpose)
        with pytest.raises(InputError, match=r"it confirms a sweep itself\. Give the folder of the sweep\.$"):
            confirm(root / FOLDERS[purpose], [0], [], 1, "confirm", Workers(0), Calls(None))


def test_what_confirms_another_sweep_is_not_gone_on_with(root: Path, stream: Stream, confirmed: Confirmed) -> None:
    confirmed(0)
    aside = (root / "confirmed").rename(root.parent / "aside")
    shutil.rmtree(root)
    sweep = Sweep(root, stream)
    sweep.train(sweep.open(tiny(trials=1, references=True)))
    aside.rename(root / "confirmed")
    with pytest.raises(InputError, match=rf"it confirms trials of study {CONFIG.study_id}, but .* Move it"):
        confirmed(0)
    shutil.rmtree(root / "confirmed")
    Sweep(root / "confirmed", stream).open(tiny(trials=1))
    with pytest.raises(InputError, match=r"it confirms trials of study \(none\), but "):
        confirmed(0)


def test_one_confirms_at_a_time(confirmed: Confirmed, inside: Sweep) -> None:
    with inside.folder.locked(), pytest.raises(InputError, match="another cfsweep is writing to this study"):
        confirmed(0)


# ------------------------------------------------------------------------------------------------ the sweep itself


def test_a_sweep_looks_at_no_test_data(sweep: Sweep, sweep_beside: Sweep, stream: Stream) -> None:
    """Noise in place of all test images and other labels for them: the same trials with the same rows, to the bit."""
    examples = torch.from_numpy(np.concatenate([task.test for task in stream.tasks]))
    drawing = torch.Generator().manual_seed(0)
    x, y = stream.x.clone(), stream.y.clone()
    noise = torch.randint(0, 17, (len(examples), *stream.input_shape), generator=drawing)
    x[examples] = noise.to(x.dtype)
    for task in stream.tasks:
        y[task.test] = y[task.test].flip(0)
    assert not torch.equal(x, stream.x)
    assert not torch.equal(y, stream.y)
    sweep_beside.stream = replace(stream, x=x, y=y)
    config = tiny(SEARCH, trials=10, references=True, stop_trials=True)
    for one in (sweep, sweep_beside):
        one.train(one.open(config))
    assert [without_chance(row) for row in sweep.rows()] == [without_chance(row) for row in sweep_beside.rows()]
    assert sweep.matrices() == sweep_beside.matrices()
    assert sweep.rows("test") == sweep_beside.rows("test") == []
    assert not (sweep.folder.root / "models").exists()
    for one in (sweep, sweep_beside):
        shutil.rmtree(one.folder.root)
        one.train(one.open(tiny(trials=1, purpose="confirm")))
    assert sweep.matrices() == sweep_beside.matrices()
    assert sweep.matrices("test") != sweep_beside.matrices("test"), "they would have shown"


def test_what_scores_a_study() -> None:
    parts = {purpose: tiny(purpose=purpose).parts for purpose in ("sweep", "confirm", "refit")}
    assert parts == {"sweep": ("validation",), "confirm": ("validation", "test"), "refit": ("test",)}
    assert StudyConfig(space=CONFIG.space).purpose == "sweep"
