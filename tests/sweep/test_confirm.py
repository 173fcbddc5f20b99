"""Trials of a sweep are trained again with fresh seeds, and tested."""

from __future__ import annotations

import io
import json
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from rich.console import Console

from cfsweep.config import FRESH, MOST_SEEDS, PARTS, StudyConfig
from cfsweep.errors import InputError
from cfsweep.results.schema import MAJORITY_TRIAL
from cfsweep.results.status import status
from cfsweep.sweep import confirm as module
from cfsweep.sweep.broker import model_path
from cfsweep.sweep.confirm import FOLDERS, Purpose, confirm
from cfsweep.sweep.driver import Driver
from cfsweep.sweep.folder import Folder
from cfsweep.sweep.packing import pack_runs
from cfsweep.sweep.scheduler import Workers
from cfsweep.sweep.search.asker import open_asker
from cfsweep.sweep.space import check_space
from cfsweep.sweep.study import Outcome, Prepared, resume
from cfsweep.training.answering import Answering
from cfsweep.training.constant_answer import constant_answer
from cfsweep.training.pack import Pack
from cfsweep.training.spec import PackReport, RunSpec
from cfsweep.training.streams import Stream, load_stream
from tests.sweep.in_process import Fault, FaultyScheduler, Killed, Sweep, nothing, tiny
from tests.sweep.test_faults import killed_at, without_chance

SEARCH = {"lr": {"choices": [0.01, 0.003]}, "ewc_lambda": {"low": 1.0, "high": 1e6, "log": True, "zero": True}}
CONFIG = tiny(SEARCH, {"replay_ratio": 0.25}, trials=12, references=True)


@pytest.fixture(scope="module")
def swept_once(stream: Stream, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of twelve trials with one seed; the references have two learning rates."""
    sweep = Sweep(tmp_path_factory.mktemp("once") / "study", stream)
    sweep.train(sweep.open(CONFIG))
    return sweep.folder.root


@pytest.fixture
def root(swept_once: Path, tmp_path: Path) -> Path:
    """A copy of `swept_once`, to confirm in."""
    return Path(shutil.copytree(swept_once, tmp_path / "study"))


Confirmed = Callable[..., Outcome]


@pytest.fixture
def confirmed(root: Path, monkeypatch: pytest.MonkeyPatch) -> Confirmed:
    """Confirms trials of the sweep in `root`, in this process, with a `fault` before each step."""

    def call(
        *trials: int,
        references: tuple[int, ...] = (),
        seeds: int = 1,
        purpose: Purpose = "confirm",
        fault: Fault = nothing,
    ) -> Outcome:
        @contextmanager
        def scheduler(workers: Workers, work: Callable[[], Prepared]) -> Iterator[tuple[FaultyScheduler, Prepared]]:
            yield FaultyScheduler(threading.Event(), 1, fault), work()

        monkeypatch.setattr(module, "open_scheduler", scheduler)
        return confirm(root, trials, references, seeds, purpose, Workers(0), Console(file=io.StringIO()))

    return call


@pytest.fixture
def inside(root: Path, stream: Stream) -> Sweep:
    """What is confirmed."""
    return Sweep(root / "confirmed", stream)


def noted(trained: Counter[tuple[tuple[int, int], int]]) -> Fault:
    """Counts how often each run is trained on each task."""

    def fault(pack_id: str, pack: Pack, driver: Driver) -> None:
        trained.update((run.key, pack.next_task) for run in pack.spec.runs if not pack.done)

    return fault


def keys(sweep: Sweep) -> list[tuple[int, int]]:
    return [(row["trial"], row["seed"]) for row in sweep.rows()]


def all_of(sweep: Sweep) -> list[Any]:
    """All that was found out."""
    apart = ("train_s", "started_at", "peak_bytes", "attempt")
    tables = [[{k: v for k, v in row.items() if k not in apart} for row in sweep.rows(t)] for t in ("runs", "buffers")]
    return [*tables, sweep.matrices(), sweep.matrices("test")]


def restored(sweep: Sweep, key: tuple[int, int], stream: Stream) -> Pack:
    """The model of a run."""
    pack = Pack.restore(model_path(sweep.folder.root, key).read_bytes(), stream)
    assert pack is not None
    return pack


def trained_apart(
    root: Path, trials: list[int], seeds: int, stream: Stream, parts: tuple[str, ...] = PARTS
) -> list[Pack]:
    """By `Pack` alone: these trials, with the settings that Optuna had asked for, and so many fresh seeds."""
    config, _ = Folder(root).read()
    hypers = check_space(config.space, "test")
    asked = open_asker(Folder(root).journal, config, hypers).ended(trials)
    runs = [RunSpec(p.number, FRESH + seed, p.values) for p in asked for seed in range(seeds)]
    packs = [Pack(replace(spec, parts=parts), stream) for spec in pack_runs(config, hypers, runs, 4)]
    for pack in packs:
        while not pack.done:
            pack.train_next_task()
    return packs


def flat(rows: list[list[float]]) -> list[float]:
    return [cell for row in rows for cell in row]


# ------------------------------------------------------------------------------------------------ what it gives


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
        **{(MAJORITY_TRIAL, FRESH + s): flat(constant_answer(stream, "task-il")["validation"]) for s in (0, 1)},
    }
    tests = inside.matrices("test")
    assert {record.key: flat(record.test) for record in records}.items() <= tests.items()
    assert tests[MAJORITY_TRIAL, FRESH] == flat(constant_answer(stream, "task-il")["test"])
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
            answers = [Answering(p.context, p.stack, 4) for p in (model, pack)]
            for task in range(5):
                mine, theirs = (
                    p.context.evaluator.predictions(w := p.weights_for(task, 5), task, 5, "test", a.by_weights(w))
                    for p, a in zip((model, pack), answers, strict=True)
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
        resume(inside.folder.root, 3, None, Workers(0), Console())
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


# ------------------------------------------------------------------------------------------------ going on


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
        assert not confirmed(0, seeds=2).nothing_to_do
        assert all_of(inside) == before


# ------------------------------------------------------------------------------------------------ refitted


def test_refitted_models_are_trained_on_validation_data_too_and_tested_alone(
    root: Path, confirmed: Confirmed, stream: Stream
) -> None:
    outcome = confirmed(0, 5, references=(-1, -2), seeds=2, purpose="refit")
    inside, whole = Sweep(root / FOLDERS["refit"], stream), stream.refitted()
    assert outcome.status.goes_on_by == f"cfsweep confirm {root} --seeds 2 --refit"
    assert not (root / "confirmed").exists()
    for task, before in zip(whole.tasks, stream.tasks, strict=True):
        assert sorted([*before.train, *before.validation]) == list(task.train)
        assert not len(task.validation)
        assert np.array_equal(task.test, before.test)
    told = yaml.safe_load(inside.folder.study_file.read_text())
    assert [(t["n_train"], t["n_validation"]) for t in told["tasks"]] == [(len(t.train), 0) for t in whole.tasks]
    assert (whole.x is stream.x, whole.shift, whole.scale) == (True, stream.shift, stream.scale), "seen the same way"

    records = [r for pack in trained_apart(root, [0, 5], 2, whole, parts=("test",)) for r in pack.records]
    tests = inside.matrices("test")
    assert {record.key: flat(record.test) for record in records}.items() <= tests.items()
    assert tests[MAJORITY_TRIAL, FRESH] == flat(constant_answer(whole, "task-il", ("test",))["test"])
    assert len(tests) == 10
    assert inside.rows("accuracy") == []
    for row in inside.rows():
        assert (row["state"], row["tasks_done"]) == ("done", 5)
        missing = json.loads(row["missing"])
        for name, value in row.items():
            if name.startswith(("val_", "objective_")):
                reason = missing[name.partition("_")[2]]
                assert (value, reason) == (None, "trained on the validation data, too"), name
    assert restored(inside, (5, FRESH + 1), whole).records[0].test == records[3].test


def test_refitted_it_goes_on_too_and_has_no_curves(root: Path, stream: Stream, confirmed: Confirmed) -> None:
    shutil.rmtree(root)
    sweep = Sweep(root, stream)
    sweep.train(sweep.open(tiny(trials=2, references=True, curve_points_per_task=2)))
    with pytest.raises(Killed):
        confirmed(0, references=(-1,), purpose="refit", fault=killed_at(7))
    outcome = confirmed(0, references=(-1,), purpose="refit")
    inside = Sweep(root / "refitted", stream)
    assert outcome.status.complete
    assert inside.rows("curves") == []
    assert confirmed(0, 1, references=(-1,), purpose="refit").status.done == 2
    assert confirmed(1, references=(-1,), purpose="refit").nothing_to_do


def test_a_stream_of_several_splits_is_refitted_in_each(root: Path, stream: Stream, confirmed: Confirmed) -> None:
    shutil.rmtree(root)
    config = tiny(trials=1, seeds=2, references=True)
    config = config.model_copy(update={"stream": config.stream.model_copy(update={"splits": 2})})
    sweep = Sweep(root, load_stream(config.stream))
    sweep.train(sweep.open(config))
    for purpose in FOLDERS:
        assert confirmed(0, references=(-1,), seeds=2, purpose=purpose).status.complete
    inside = Sweep(root / "refitted", stream)
    whole = sweep.stream.of_split(1).refitted()
    (pack,) = trained_apart(root, [0], 2, whole, parts=("test",))[1:]
    assert inside.matrices("test")[0, FRESH + 1] == flat(pack.records[0].test)


# ------------------------------------------------------------------------------------------------ what is refused


def test_a_run_that_fails_fails_alone_and_leaves_no_model(confirmed: Confirmed, inside: Sweep) -> None:
    def raises(pack_id: str, pack: Pack, driver: Driver) -> None:
        if pack.next_task == 2 and (5, FRESH + 1) in {run.key for run in pack.spec.runs}:
            raise RuntimeError("no")

    now = confirmed(0, 5, seeds=2, fault=raises).status
    assert (now.done, now.failed, now.complete) == (1, 1, True)
    (reason,) = now.failures.values()
    assert (*now.failures,) == ((5, FRESH + 1),)
    assert reason.startswith("RuntimeError: no (sweep/test_confirm.py, line ")
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
    file.write_text(yaml.safe_dump(content))
    before = (inside.rows(), inside.folder.study_file.read_bytes())
    with pytest.raises(InputError, match=f"the study began with {name} of SHA-256 000000000000"):
        confirmed(0, 5)
    assert (inside.rows(), inside.folder.study_file.read_bytes()) == before


def test_what_confirms_is_not_confirmed(root: Path, confirmed: Confirmed) -> None:
    for purpose in FOLDERS:
        confirmed(0, purpose=purpose)
        with pytest.raises(InputError, match=r"it confirms a sweep itself\. Give the folder of the sweep\.$"):
            confirm(root / FOLDERS[purpose], [0], [], 1, "confirm", Workers(0), Console())


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
