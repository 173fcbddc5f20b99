"""ER-ACE: who competes with whom, by hand; a whole run against a plain loop; and the scenario it is for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cfsweep.config import NetworkConfig, Scenario, StreamConfig
from cfsweep.errors import InputError
from cfsweep.metrics import plasticity, stability
from cfsweep.testing import finish, make_pack, small_stream, twins_agree, values_of
from cfsweep.training.ingredients import Drawn, hypers_of, registry
from cfsweep.training.spec import RunSpec, score_rows
from cfsweep.training.streams import load_stream
from tests.training.helpers import PlainReservoir


def masks_of(task: int, buffer: float = 9.0) -> Tensor:
    """(T, n_outputs): what is active for the batch's examples of each task while `task` is trained."""
    pack = make_pack(small_stream(), ("er-ace",))
    (ingredient,) = pack.context.ingredients
    return ingredient.active_classes(
        pack.context.outputs.masks[task], {"er_ace_buffer": torch.tensor(buffer)}, task
    ).int()


def test_new_examples_compete_among_their_own_classes() -> None:
    assert masks_of(1).tolist() == [[1, 1, 1, 1, 0, 0], [0, 0, 1, 1, 0, 0], [1, 1, 1, 1, 0, 0]]
    assert masks_of(2).tolist() == [[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 1, 1]]


def test_switched_off_all_compete_among_all_seen() -> None:
    assert masks_of(1, buffer=0.0).tolist() == [[1, 1, 1, 1, 0, 0]] * 3


def test_drawn_examples_compete_among_all_seen_by_hand() -> None:
    """log 4 where four classes are active and all logits are equal."""
    (ingredient,) = make_pack(small_stream(), ("er-ace",)).context.ingredients
    logits = torch.zeros(2, 6)
    mask = torch.tensor([[1, 1, 1, 1, 0, 0]] * 2, dtype=torch.bool)
    drawn = Drawn(torch.tensor([0, 3]), mask, logits, logits)
    assert ingredient.replay_loss(drawn, {}).item() == pytest.approx(np.log(4), rel=1e-6)


def test_a_class_that_comes_again_is_one_of_the_tasks_own() -> None:
    """Task 1 of class 1, seen before, and class 3: its new examples compete between these two."""
    stream = small_stream()
    y = stream.y.clone()
    y[36:72][y[36:72] == 2] = 1
    tasks = (stream.tasks[0], replace(stream.tasks[1], classes=(1, 3)), stream.tasks[2])
    pack = make_pack(replace(stream, y=y, tasks=tasks), ("er-ace",))
    values = {"er_ace_buffer": torch.tensor(9.0)}
    (ingredient,) = pack.context.ingredients
    assert ingredient.active_classes(pack.context.outputs.masks[1], values, 1)[1].int().tolist() == [0, 1, 0, 1, 0, 0]
    finish(pack)
    assert pack.records[0].failure is None


class PlainErAce(PlainReservoir):
    """New examples among the task's own classes; beside them, draws from the buffer among all classes seen."""

    buffer_hyper = "er_ace_buffer"

    def train_task(self, number: int) -> None:
        """The buffer to draw from holds this task already, as it will at its end."""
        self.number = number
        before = (list(self.buffer), self.offered)
        self.update_buffer(number, self.stream.tasks[number])
        self.ahead, self.drawn = list(self.buffer), self.draws(number, int(self.values["batch_size"]))
        self.buffer, self.offered = before
        super().train_task(number)

    def batch_loss(self, indices: NDArray[np.int64], learned: int) -> Tensor:
        own = list(self.stream.tasks[learned - 1].classes)
        return self.cross_entropy(indices, own)

    def penalty(self) -> Tensor:
        drawn = np.array([self.ahead[place] for place in self.drawn.pop(0)])
        return self.cross_entropy(drawn, self.active(0, self.number + 1))

    def cross_entropy(self, indices: NDArray[np.int64], active: list[int]) -> Tensor:
        right = torch.tensor([active.index(int(self.outputs.labels[index])) for index in indices])
        return nn.functional.cross_entropy(self.network(self.x[indices])[:, active], right)


@pytest.mark.parametrize("seed", range(3))
def test_a_whole_run_is_that_of_a_plain_loop(seed: int) -> None:
    run = RunSpec(0, seed, values_of(("er-ace",), optimizer="sgd", lr=0.05, er_ace_buffer=9))
    pack, plain = twins_agree(("er-ace",), PlainErAce, small_stream(seed=seed), run, "class-il", atol=2e-6)
    assert isinstance(plain, PlainErAce)
    assert pack.stack.buffers["er-ace"][0].indices.tolist() == plain.buffer
    assert pack.records[0].stored_bytes == 9 * 36 * 4


def test_the_latest_task_is_learned_and_the_old_ones_are_kept() -> None:
    """With old examples alone in the buffer, nothing would set new classes against old ones: the latest task's accuracy
    would stay near zero while it is trained."""
    stream = load_stream(StreamConfig(name="split-digits", scenario="class-il"))
    values = {name: hyper.default for name, hyper in hypers_of(("er-ace",)).items()}
    run = RunSpec(0, 0, {**values, "epochs": 8, "batch_size": 16, "lr": 0.005})
    pack = make_pack(stream, ("er-ace",), (run,), network=NetworkConfig(name="mlp", args={"hidden": [64]}))
    matrix = score_rows(finish(pack).records[0].test, len(stream.tasks))[1:]
    assert plasticity(matrix) > 0.9
    assert stability(matrix) > 0.8


def test_it_is_for_class_il() -> None:
    scenarios: tuple[Scenario, ...] = ("task-il", "domain-il")
    for scenario in scenarios:
        with pytest.raises(InputError, match="`er-ace` works in class-il, but got scenario="):
            make_pack(small_stream(), ("er-ace",), scenario=scenario)


@pytest.mark.parametrize(
    ("name", "value"), [("er_ace_buffer", -1), ("er_ace_buffer", 2.5), ("er_ace_buffer", float("nan"))]
)
def test_values_outside_the_rules_are_refused(name: str, value: float) -> None:
    hyper = next(hyper for hyper in registry["er-ace"].hypers if hyper.name == name)
    with pytest.raises(InputError, match=f"`0 <= {name}.* must hold, but got {name}={value}"):
        hyper.check(value, "space.yaml")
