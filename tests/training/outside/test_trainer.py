"""Runs that a function of the user's trains; what every `Trainer` must do is in `tests/training/test_trainers.py`."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import pytest

from cfsweep.config import NetworkConfig
from cfsweep.errors import InputError
from cfsweep.training.outside import OutsideTrainer, called, function_at, tasks_named
from cfsweep.training.spec import PackSpec, RunSpec
from tests.training.outside import trainers

HERE = "tests.training.outside.trainers"
SETTINGS = {"kept": 0.5, "rate": 1.0}
NAMES = [f"task {task}" for task in range(trainers.N_TASKS)]


def opened(name: str = "train", parts: tuple[str, ...] = ("validation",), keep: bool = False) -> OutsideTrainer:
    run = RunSpec(7, 3, dict(SETTINGS))
    spec = PackSpec(NetworkConfig(), "task-il", (), (run,), parts=parts, keep_models=keep, trainer=f"{HERE}:{name}")
    return OutsideTrainer(spec, tasks_named(f"{HERE}:{name}", NAMES, {"validation": [None] * 4, "test": [None] * 4}))


def finished(trainer: OutsideTrainer) -> OutsideTrainer:
    while not trainer.done:
        trainer.train_next_task()
    return trainer


def by_hand() -> list[list[float]]:
    """The matrix that `trainers.train` comes to, computed apart."""
    rows, known = [], []
    for task in range(4):
        known = trainers.known_after(SETTINGS, 3, task, known)
        rows.append(known + [0.1] * (3 - task))
    return rows


@pytest.mark.parametrize("name", ["train", "in_a_folder", "validation_alone", "with_counts"])
def test_it_records_what_the_function_returns(name: str) -> None:
    (record,) = finished(opened(name)).report().records
    assert (record.trial, record.seed, record.tasks_done, record.failure) == (7, 3, 4, None)
    assert all(math.isnan(score) for score in record.validation[0]), "nobody has evaluated what is untrained"
    assert record.validation[1:] == by_hand()
    assert record.test == [], "a sweep sees no test data"
    assert record.train_s > 0


def test_what_confirms_has_test_scores_too() -> None:
    (record,) = finished(opened(parts=("validation", "test"))).report().records
    assert record.test[1:] == [[0.5 * score for score in row] for row in by_hand()]
    (record,) = finished(opened("validation_alone", parts=("validation", "test"))).report().records
    assert record.failure is not None
    assert "the scores have no `test`, which is needed to confirm" in record.failure


def test_counts_are_those_that_were_told() -> None:
    assert finished(opened("with_counts")).report().n_examples == {"validation": [400] * 4, "test": [50] * 4}
    assert finished(opened()).report().n_examples == {"validation": [None] * 4, "test": [None] * 4}


def test_settings_are_a_dict_of_their_own_in_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    def greedy(settings: dict[str, float], seed: int, task: int, state: bytes) -> object:
        assert settings.pop("kept") == 0.5
        return [0.5] * 4, b""

    monkeypatch.setattr(trainers, "train", greedy)
    assert finished(opened()).report().records[0].failure is None


def test_what_is_against_the_rules_ends_the_run_and_keeps_what_it_had() -> None:
    (record,) = finished(opened("not_a_number")).report().records
    assert record.failure == (
        f"trainer `{HERE}:not_a_number`, task 2: the validation score on task 0 is nan. Give a number, 0 where there "
        "is none."
    )
    assert record.tasks_done == 2
    assert record.validation[1:] == by_hand()[:2]


def test_what_the_function_raises_is_raised() -> None:
    with pytest.raises(ValueError, match="the rate is too high"):
        finished(opened("raises"))
    with pytest.raises(RuntimeError, match=r"sys.exit\('no such file'\)"):
        finished(opened("exits"))


@pytest.mark.parametrize("name", ["train", "in_a_folder"])
def test_its_checkpoint_has_the_state(name: str) -> None:
    trainer = opened(name)
    while not trainer.done:
        trainer.train_next_task()
        again = OutsideTrainer.restore(trainer.checkpoint(), trainer.stream)
        assert again is not None
        assert again.checkpoint() == trainer.checkpoint()
        trainer = again
    assert trainer.report().records[0].validation[1:] == by_hand()


def test_nothing_is_left_in_the_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    finished(opened("in_a_folder"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (f"{HERE}:trian", "unknown function in module `tests.training.outside.trainers` `trian`"),
        ("tests.no_such:train", "there is no module `tests.no_such`"),
        ("train", "a function is named `package.module:function`"),
        (f"{HERE}:takes_three", "it is called with (settings, seed, task, state), but takes (settings"),
    ],
)
def test_a_function_that_is_none(path: str, said: str) -> None:
    with pytest.raises(InputError) as told:
        function_at(path)
    assert str(told.value).startswith(f"trainer `{path}`: ")
    assert said in str(told.value)


def test_a_module_in_the_current_folder_is_found_and_may_import_when_it_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "outside_late.py").write_text("SCORES = [0.25, 0.75]\n")
    (tmp_path / "outside_mine.py").write_text(
        "def train(settings, seed, task, state):\n    from outside_late import SCORES\n    return SCORES, b''\n"
    )
    monkeypatch.chdir(tmp_path)
    assert called(function_at("outside_mine:train"), {}, 0, 0, None) == ([0.25, 0.75], b"")
