"""ER-ACE: who competes with whom, by hand; a whole run against a plain loop; and the scenario it is for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cfsweep.config import NetworkConfig, Scenario, StreamConfig
from cfsweep.errors import InputError
from cfsweep.hypers import Value
from cfsweep.metrics import plasticity, stability
from cfsweep.training.ingredients import Answers, Batch, hypers_of, registry
from cfsweep.training.engine.randomness import generator
from cfsweep.training.spec import RunSpec, score_rows
from cfsweep.training.streams import Stream, load_stream
from cfsweep.testing.packs import MLP, finish, make_pack, small_stream, values_of
from tests.training.test_whole_run import PlainLoop


def masks_of(task: int, buffer: float = 9.0) -> Tensor:
    """(T, n_outputs): what is open to the batch's examples of each task while `task` is trained."""
    pack = make_pack(small_stream(), ("er-ace",))
    (ingredient,) = pack.context.ingredients
    return ingredient.open_outputs(pack.context.outputs.masks[task], {"er_ace_buffer": torch.tensor(buffer)}, task).int()


def test_new_examples_compete_among_their_own_classes() -> None:
    assert masks_of(1).tolist() == [[1, 1, 1, 1, 0, 0], [0, 0, 1, 1, 0, 0], [1, 1, 1, 1, 0, 0]]
    assert masks_of(2).tolist() == [[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 1, 1]]


def test_switched_off_all_compete_among_all_seen() -> None:
    assert masks_of(1, buffer=0.0).tolist() == [[1, 1, 1, 1, 0, 0]] * 3


def test_recalled_examples_compete_among_all_seen_by_hand() -> None:
    """log 4 where four classes are open and all logits are equal."""
    (ingredient,) = make_pack(small_stream(), ("er-ace",)).ingredients
    answers = Answers(torch.zeros(2, 6), {})
    mask = torch.tensor([[1, 1, 1, 1, 0, 0]] * 2, dtype=torch.bool)
    batch = Batch(torch.tensor([0, 3]), mask, answers, answers)
    assert ingredient.recalled_loss(batch, {}, {}).item() == pytest.approx(np.log(4), rel=1e-6)


def test_a_class_that_comes_again_is_one_of_the_tasks_own() -> None:
    """Task 1 of class 1, seen before, and class 3: its new examples compete between these two."""
    stream = small_stream()
    y = stream.y.clone()
    y[36:72][y[36:72] == 2] = 1
    tasks = (stream.tasks[0], replace(stream.tasks[1], classes=(1, 3)), stream.tasks[2])
    pack = make_pack(replace(stream, y=y, tasks=tasks), ("er-ace",))
    values = {"er_ace_buffer": torch.tensor(9.0)}
    (ingredient,) = pack.context.ingredients
    assert ingredient.open_outputs(pack.context.outputs.masks[1], values, 1)[1].int().tolist() == [0, 1, 0, 1, 0, 0]
    finish(pack)
    assert pack.records[0].failure is None


class PlainErAce(PlainLoop):
    """New examples among the task's own classes; beside them, draws from the buffer among all classes seen."""

    def __init__(self, stream: Stream, run: RunSpec) -> None:
        in_batch: dict[str, Value] = {"replay_ratio": 0.0, "replay_buffer": run.values["er_ace_buffer"]}
        super().__init__(stream, replace(run, values={**run.values, **in_batch}), "class-il", MLP, joint=False)
        self.number = 0

    def train_task(self, number: int) -> None:
        """The buffer to draw from holds this task already, as it will at its end."""
        self.number = number
        before = (list(self.buffer), self.seen)
        self.remember(number, self.stream.tasks[number])
        self.ahead, (self.buffer, self.seen) = list(self.buffer), before
        size, epochs = int(self.values["batch_size"]), int(self.values["epochs"])
        n_steps = epochs * -(-len(self.stream.tasks[number].train) // size)
        self.draws = list(generator(self.run.seed, "draw", number).integers(len(self.ahead), size=(n_steps, size)))
        super().train_task(number)

    def batch_loss(self, indices: np.ndarray, learned: int) -> Tensor:
        own = list(self.stream.tasks[learned - 1].classes)
        return self.cross_entropy(indices, own)

    def penalty(self) -> Tensor:
        recalled = np.array([self.ahead[draw] for draw in self.draws.pop(0)])
        return self.cross_entropy(recalled, self.allowed(0, self.number + 1)) if self.number else torch.zeros(())

    def cross_entropy(self, indices: np.ndarray, open_: list[int]) -> Tensor:
        right = torch.tensor([open_.index(int(self.outputs.labels[index])) for index in indices])
        return nn.functional.cross_entropy(self.network(self.x[indices])[:, open_], right)


@pytest.mark.parametrize("seed", range(3))
def test_a_whole_run_is_that_of_a_plain_loop(seed: int) -> None:
    stream = small_stream(seed=seed)
    given: dict[str, Value] = {"optimizer": "sgd", "lr": 0.05, "er_ace_buffer": 9}
    run = RunSpec(0, seed, values_of(("er-ace",), **given))
    plain = PlainErAce(stream, run)
    matrix = plain.train()
    pack = finish(make_pack(stream, ("er-ace",), (run,)))
    flat = pack.context.layout.flatten({k: p.detach() for k, p in plain.network.named_parameters()})
    assert (pack.stack.theta[0] - flat).abs().max() < 2e-6
    assert pack.records[0].test == matrix
    assert pack.stack.buffers["er-ace"][0].indices.tolist() == plain.buffer
    assert pack.records[0].stored_bytes == 9 * 36 * 4


def test_the_latest_task_is_learned_and_the_old_ones_are_kept() -> None:
    """With old examples alone in the buffer, nothing would set new classes against old ones: the latest task's accuracy
    would stay near zero while it is trained."""
    stream = load_stream(StreamConfig(name="split-digits", scenario="class-il"))
    values = {name: hyper.default for name, hyper in hypers_of(("er-ace",)).items()}
    run = RunSpec(0, 0, {**values, "epochs": 8, "batch_size": 16, "lr": 0.005})
    pack = make_pack(stream, ("er-ace",), (run,), network=NetworkConfig(name="mlp", args={"hidden": [64]}))
    matrix = score_rows(finish(pack).records[0].test, pack.report().n_examples["test"])[1:]
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
