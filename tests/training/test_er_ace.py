"""ER-ACE: who competes with whom, by hand; a whole run against a plain loop; and the scenario it is for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cfsweep.config import Scenario
from cfsweep.errors import InputError
from cfsweep.hypers import Value
from cfsweep.training.ingredients import hypers_of, registry
from cfsweep.training.ingredients._base import EMPTY_MEMORY
from cfsweep.training.randomness import generator
from cfsweep.training.spec import RunSpec
from tests.training.conformance import MLP, finish, make_pack, tiny_stream, values_of
from tests.training.test_whole_run import PlainLoop


def masks_of(task: int, **given: float) -> Tensor:
    """(T, n_outputs): what is open to the examples of each task while `task` is trained."""
    pack = make_pack(tiny_stream(), ("er-ace",))
    (ingredient,) = pack.ingredients
    values = {"er_ace_ratio": torch.tensor(0.5), "er_ace_buffer": torch.tensor(9.0)}
    values |= {name: torch.tensor(value) for name, value in given.items()}
    return ingredient.open_outputs(pack.outputs.masks[task], values, task).int()


def test_new_examples_compete_among_their_own_classes_replayed_ones_among_all_seen() -> None:
    assert masks_of(1).tolist() == [[1, 1, 1, 1, 0, 0], [0, 0, 1, 1, 0, 0], [1, 1, 1, 1, 0, 0]]
    assert masks_of(2).tolist() == [[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 1, 1]]


@pytest.mark.parametrize("off", ["er_ace_ratio", "er_ace_buffer"])
def test_switched_off_all_compete_among_all_seen(off: str) -> None:
    assert masks_of(1, **{off: 0.0}).tolist() == [[1, 1, 1, 1, 0, 0]] * 3


def test_a_class_that_comes_again_is_one_of_the_tasks_own() -> None:
    """Task 1 of class 1, seen before, and class 3: its new examples compete between these two."""
    stream = tiny_stream()
    y = stream.y.clone()
    y[36:72][y[36:72] == 2] = 1
    tasks = (stream.tasks[0], replace(stream.tasks[1], classes=(1, 3)), stream.tasks[2])
    pack = make_pack(replace(stream, y=y, tasks=tasks), ("er-ace",))
    values = {"er_ace_ratio": torch.tensor(0.5), "er_ace_buffer": torch.tensor(9.0)}
    (ingredient,) = pack.ingredients
    assert ingredient.open_outputs(pack.outputs.masks[1], values, 1)[1].int().tolist() == [0, 1, 0, 1, 0, 0]
    finish(pack)
    assert pack.records[0].failure is None


class PlainErAce(PlainLoop):
    """One example at a time: its own task's classes if it is new, all classes seen if it is replayed."""

    def batch_loss(self, indices: np.ndarray, learned: int) -> Tensor:
        logits, losses = self.network(self.x[indices]), []
        for row, index in enumerate(indices):
            new = int(self.outputs.task_of[index]) == learned - 1
            open_ = list(self.stream.tasks[learned - 1].classes) if new else self.allowed(0, learned)
            right = torch.tensor([open_.index(int(self.outputs.labels[index]))])
            losses.append(nn.functional.cross_entropy(logits[row : row + 1, open_], right))
        return torch.stack(losses).mean()


@pytest.mark.parametrize("seed", range(3))
def test_a_whole_run_is_that_of_a_plain_loop(seed: int) -> None:
    stream = tiny_stream(seed=seed)
    given: dict[str, Value] = {"optimizer": "sgd", "lr": 0.05, "er_ace_ratio": 0.4, "er_ace_buffer": 9}
    run = RunSpec(0, seed, values_of(("er-ace",), **given))
    # The same share of the batch, from the same reservoir.
    replay = replace(run, values=values_of(("replay",), optimizer="sgd", lr=0.05, replay_ratio=0.4, replay_buffer=9))
    plain = PlainErAce(stream, replay, "class-il", MLP, joint=False)
    matrix = plain.train()
    pack = finish(make_pack(stream, ("er-ace",), (run,)))
    flat = pack.layout.flatten({k: p.detach() for k, p in plain.network.named_parameters()})
    assert (pack.stack.theta[0] - flat).abs().max() < 2e-6
    assert pack.records[0].test == matrix
    assert pack.stack.memories["er-ace"][0].indices.tolist() == plain.buffer
    assert pack.records[0].stored_bytes == 9 * 36 * 4
    symmetric = finish(make_pack(stream, ("replay",), (replay,), "class-il"))
    assert (symmetric.stack.theta[0] - flat).abs().max() > 1e-3


def test_buffer_and_batch_are_those_of_replay() -> None:
    given = {"er_ace_ratio": 0.3, "er_ace_buffer": 7, "replay_ratio": 0.3, "replay_buffer": 7}
    found = []
    for name in ("replay", "er-ace"):
        (ingredient,) = make_pack(tiny_stream(), (name,), scenario="class-il").ingredients
        memory = ingredient.remember(EMPTY_MEMORY, np.arange(40), given, generator(0, "remember"))
        found.append(ingredient.rehearse(np.arange(100, 122), 5, memory, given, generator(0, "rehearse")).tolist())
    assert found[0] == found[1]


def test_it_is_for_class_il_and_not_beside_replay() -> None:
    scenarios: tuple[Scenario, ...] = ("task-il", "domain-il")
    for scenario in scenarios:
        with pytest.raises(InputError, match="`er-ace` works in class-il, but got scenario="):
            make_pack(tiny_stream(), ("er-ace",), scenario=scenario)
    for pair in (("replay", "er-ace"), ("er-ace", "replay")):
        with pytest.raises(InputError, match="do not go together: each of them fills a share of the batch"):
            hypers_of(pair)


@pytest.mark.parametrize(
    ("name", "value"), [("er_ace_ratio", -0.1), ("er_ace_ratio", 1.0), ("er_ace_buffer", -1), ("er_ace_buffer", 2.5)]
)
def test_values_outside_the_rules_are_refused(name: str, value: float) -> None:
    hyper = next(hyper for hyper in registry["er-ace"].hypers if hyper.name == name)
    with pytest.raises(InputError, match=f"`0 <= {name}.* must hold, but got {name}={value}"):
        hyper.check(value, "space.yaml")
