"""Early stopping against the textbook's algorithm 7.1, epoch by epoch."""

from __future__ import annotations

import pytest
import torch

from cfsweep.config import Scenario
from cfsweep.errors import InputError
from cfsweep.testing import PlainLoop
from cfsweep.testing.packs import finish, make_pack, small_stream, values_of, weights
from cfsweep.training.ingredients import hypers_of
from cfsweep.training.ingredients.early_stopping import EarlyStopping
from cfsweep.training.spec import RunSpec
from tests.training.helpers import early_stopped, steered_by_validation

NAMES = ("early-stopping",)
EPOCHS = 8


def walk(accuracies: list[float], patience: int) -> tuple[int, int]:
    """(the epoch after which the run has finished, the epoch whose weights it keeps), both from 1."""
    ingredient = EarlyStopping(CONTEXT, {"epochs": len(accuracies)})
    values = {"patience": torch.tensor(float(patience))}
    state = ingredient.initial_state(torch.zeros(2))
    theta, state, finished = ingredient.check(torch.zeros(2), state, values, torch.rand(3), 1, 0)
    for epoch, accuracy in enumerate(accuracies, start=1):
        shown = torch.tensor([0.9, accuracy, 0.0], dtype=torch.float64)  # of tasks 0, 1 (the current one) and 2
        theta, state, finished = ingredient.check(torch.full((2,), float(epoch)), state, values, shown, 1, epoch)
        if bool(finished):
            break
    return epoch, int(theta[0])


def algorithm_7_1(accuracies: list[float], patience: int) -> tuple[int, int]:
    """Goodfellow, Bengio & Courville 2016, with v the validation error; it also ends with the last epoch."""
    best, v, j, i = 0, float("inf"), 0, 0
    while j < patience and i < len(accuracies):
        error = 1 - accuracies[i]
        i += 1
        if error < v:
            j, best, v = 0, i, error
        else:
            j += 1
    return i, best


def test_by_hand() -> None:
    """0.5, 0.7, 0.7, 0.6, 0.8: with patience 2 it ends after epoch 4 with epoch 2, the first of the two best."""
    assert walk([0.5, 0.7, 0.7, 0.6, 0.8], 2) == (4, 2)
    assert walk([0.5, 0.7, 0.7, 0.6, 0.8], 1) == (3, 2)
    assert walk([0.5, 0.7, 0.7, 0.6, 0.8], 3) == (5, 5)
    assert walk([0.0, 0.0, 0.0], 2) == (3, 1), "the first epoch is the best so far, even at accuracy 0"
    assert walk([0.7, 0.6, 0.6], 3) == (3, 1), "the best epoch counts at the end of the task too"
    assert walk([0.7, 0.6, 0.6], 0) == (3, 3), "off"


def test_it_is_algorithm_7_1() -> None:
    torch.manual_seed(0)
    for _ in range(200):
        accuracies = (torch.randint(7, (int(torch.randint(1, 12, ())),)) / 6).tolist()  # with ties
        for patience in (1, 2, 3, 20):
            assert walk(accuracies, patience) == algorithm_7_1(accuracies, patience)


@pytest.mark.parametrize(("optimizer", "scenario"), [("sgd", "task-il"), ("adam", "class-il"), ("adamw", "domain-il")])
def test_whole_runs_agree_with_a_plain_loop(optimizer: str, scenario: Scenario) -> None:
    stream, seen = small_stream(seed=1), []
    for seed, patience in ((0, 1), (1, 1), (2, 3)):
        values = values_of(NAMES, optimizer=optimizer, patience=patience, epochs=EPOCHS, lr=0.005)
        run = RunSpec(0, seed, values)
        pack, plain, steps = make_pack(stream, NAMES, (run,), scenario), PlainLoop(stream, run, scenario), 0
        for task in range(3):
            record = pack.train_next_task().records[0]
            taken, epoch = early_stopped(plain, task, patience)
            steps += taken
            assert record.steps == steps
            assert record.validation[-1] == plain.accuracies(task + 1, "validation")
            torch.testing.assert_close(weights(pack)[0], plain.theta(), rtol=1e-3, atol=2e-4)
            seen.append((taken, epoch))
    assert len(set(seen)) > 2
    assert any(taken < 5 * EPOCHS for taken, _ in seen)


def test_a_task_ends_with_the_best_accuracy_that_was_seen() -> None:
    names = ("early-stopping", "replay")
    stream, given = steered_by_validation(small_stream()), {"patience": 9, "epochs": EPOCHS}
    pack = finish(make_pack(stream, names, scenario="class-il", curves=EPOCHS - 1, **given))
    record = pack.records[0]
    for task in range(3):
        along = [a for t, _, seen, a in record.curves if t == seen == task]
        assert len(along) == EPOCHS - 1
        assert record.validation[task + 1][task] >= max(along)


def test_it_does_not_go_with_packnet() -> None:
    for names in (("packnet", "early-stopping"), ("forgetting-limit", "packnet")):
        with pytest.raises(InputError, match="`packnet` do not go together: the one ends a task early"):
            hypers_of(names)


@pytest.mark.parametrize("value", [-1, 1.5, "three"])
def test_patience_is_a_number_of_epochs(value: object) -> None:
    with pytest.raises(InputError, match=r"0 <= patience, a whole number.*0 is off") as caught:
        EarlyStopping.hypers[0].check(value, "space.yaml")
    assert "\n" not in str(caught.value)


CONTEXT = make_pack(small_stream(), NAMES).context.ingredients[0].context
