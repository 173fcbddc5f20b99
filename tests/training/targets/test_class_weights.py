"""Class weights by hand, in the loss and its gradient, in a whole training, and in what goes on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from cfsweep.bundle import continue_, load, write
from cfsweep.config import Space, StreamConfig, StudyConfig
from cfsweep.errors import InputError
from cfsweep.testing import finish, make_pack, values_of
from cfsweep.training import batches
from cfsweep.training.first_task_cache import first_task_keys
from cfsweep.training.spec import RunSpec
from cfsweep.training.streams import Stream, Task, load_stream
from cfsweep.training.targets import class_weights
from cfsweep.training.targets.classification import Classification

ABOUT = {"study_id": "0123456789ab", "git_revision": None}


def rare(n_tasks: int = 2) -> Stream:
    """Tasks of two classes, of which the second is rare, more so in the second task."""
    rng, tasks = np.random.default_rng(0), []
    y: list[int] = []
    for number in range(n_tasks):
        n_rare, begin = (4, 2)[number], len(y)
        y += [0] * (20 - n_rare) + [1] * n_rare + [0, 1, 0, 1]
        places = np.arange(begin, begin + 24)
        tasks.append(Task(str(number), (0, 1), places[:20], places[20:22], places[22:]))
    x = torch.from_numpy(rng.normal(size=(len(y), 3)).astype(np.float32))
    return Stream("rare", x, torch.tensor(y), tuple(tasks), class_weights="balanced")


def test_balanced_weights_by_hand() -> None:
    """20 / (2 * 16) and 20 / (2 * 4), of the first task; the mean weight of its examples is 1."""
    assert class_weights(rare()) == (0.625, 2.5)
    assert 16 * 0.625 + 4 * 2.5 == 20
    assert class_weights(replace(rare(), class_weights=None)) == ()
    assert class_weights(replace(rare(), learned_weights=(7.0,))) == (7.0, 2.5), "what is known stays"


def test_no_later_task_and_no_held_out_example_has_a_say() -> None:
    stream = rare()
    y = stream.y.clone()
    y[20:] = 1
    assert class_weights(replace(stream, y=y)) == class_weights(stream)


def test_given_weights_go_by_the_users_labels() -> None:
    stream = replace(rare(), class_ids=(10, 30), class_weights={"30": 4.0})
    assert class_weights(stream) == (1.0, 4.0)
    with pytest.raises(InputError, match="unknown label `20`"):
        class_weights(replace(stream, class_weights={"20": 1.0}))


@pytest.mark.parametrize("seed", range(5))
def test_loss_and_gradient_are_those_of_autograd(seed: int) -> None:
    torch.manual_seed(seed)
    weights, labels = torch.rand(4) + 0.1, torch.randint(0, 4, (2, 7))
    outputs = torch.randn(2, 7, 4, requires_grad=True)
    mask, target = torch.ones(4, dtype=torch.bool), Classification(weights)
    one_by_one = torch.nn.functional.cross_entropy(outputs.flatten(0, 1), labels.flatten(), reduction="none")
    by_hand = (one_by_one * weights[labels.flatten()]).reshape(2, 7).mean(1)
    (expected,) = torch.autograd.grad(by_hand.sum(), outputs, retain_graph=True)
    loss, gradient = target.loss_and_gradient(outputs.detach(), labels, mask)
    torch.testing.assert_close(loss, by_hand.detach())
    torch.testing.assert_close(gradient, expected)
    torch.testing.assert_close(target.losses(outputs, labels, mask).mean(-1), by_hand)


def test_it_is_a_plain_loop() -> None:
    stream = rare()
    run = RunSpec(0, 3, values_of((), optimizer="sgd"))
    pack = make_pack(stream, (), (run,), "domain-il")
    module = pack.context.lifted.module
    with torch.no_grad():
        for name, value in pack.context.layout.unflatten(pack.stack.theta[0]).items():
            module.get_parameter(name).copy_(value)
    weights = torch.tensor([0.625, 2.5])
    for task in range(2):
        own = torch.optim.SGD(module.parameters(), lr=0.01, momentum=0.9)
        for order in batches.orders([run], stream.tasks[task].train, task, 3, 5, [], {})[0]:
            for at in range(0, len(order), 5):
                chosen = torch.from_numpy(order[at : at + 5])
                own.zero_grad()
                x = (stream.x[chosen] - stream.shift) * stream.scale
                losses = nn.functional.cross_entropy(module(x), stream.y[chosen], reduction="none")
                (losses * weights[stream.y[chosen]]).mean().backward()
                own.step()
    expected = pack.context.layout.flatten({name: p.detach().clone() for name, p in module.named_parameters()})
    torch.testing.assert_close(finish(pack).stack.theta[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["replay", "der++", "a-gem", "er-ace", "ewc", "lwf"])
def test_with_every_kind_of_loss_a_run_alone_is_as_in_a_pack(name: str) -> None:
    runs = tuple(RunSpec(k, k, values_of((name,))) for k in range(2))
    scenarios: dict[str, Any] = {"er-ace": "class-il", "lwf": "task-il"}
    scenario = scenarios.get(name, "domain-il")
    together = finish(make_pack(rare(), (name,), runs, scenario))
    plain = finish(make_pack(replace(rare(), class_weights=None), (name,), runs, scenario))
    for k, run in enumerate(runs):
        alone = finish(make_pack(rare(), (name,), (run,), scenario))
        torch.testing.assert_close(alone.stack.theta[0], together.stack.theta[k], rtol=1e-3, atol=1e-4)
    assert not torch.equal(together.stack.theta, plain.stack.theta)


def test_the_first_task_is_another_one() -> None:
    def key(stream: Stream) -> str:
        pack = make_pack(stream, scenario="domain-il")
        return first_task_keys(pack.context, pack.stack.theta)[0]

    assert key(rare()) == key(rare()) != key(replace(rare(), class_weights=None))


def test_outputs_that_stand_for_several_classes_take_the_first_ones_weight() -> None:
    stream = rare()
    y = stream.y.clone()
    y[24:] += 2
    apart = replace(stream, y=y, tasks=(stream.tasks[0], replace(stream.tasks[1], classes=(2, 3))))
    assert class_weights(apart) == pytest.approx((0.625, 2.5, 20 / 36, 5.0))
    outputs = Classification().outputs(apart, "domain-il")
    found = Classification().for_stream(apart, outputs)
    assert isinstance(found, Classification)
    assert found.weights is not None
    assert found.weights.tolist() == [0.625, 2.5]
    with pytest.raises(InputError, match="output 0 stands for several classes"):
        Classification().for_stream(replace(apart, class_weights={"0": 2.0}), outputs)


def test_amounts_have_no_class_weights() -> None:
    labels = torch.zeros(4, 1, dtype=torch.float64)
    task = Task("a", (), np.arange(2), np.array([2]), np.array([3]))
    unit = (torch.zeros(1), torch.ones(1))
    stream = Stream("amounts", torch.zeros(4, 3), labels, (task,), unit=unit, target="regression")
    with pytest.raises(InputError, match="target `regression`: it knows no `class_weights`"):
        make_pack(replace(stream, class_weights="balanced"), scenario="domain-il")


def test_what_goes_on_has_the_weights_that_it_began_with(tmp_path: Path) -> None:
    """To the last bit the run that had all tasks in one stream."""
    folder, two = tmp_path / "tasks", tmp_path / "two"
    folder.mkdir()
    two.mkdir()
    rng = np.random.default_rng(4)
    for number in range(3):
        n_rare = 6 + 6 * number
        y = np.repeat([0, 1], [60 - n_rare, n_rare])
        x = (rng.normal(size=(60, 4)) + y[:, None]).astype(np.float32)
        np.savez(folder / f"{number}.npz", x_train=x, y_train=y, x_test=x[::5], y_test=y[::5])
        if number < 2:
            (two / f"{number}.npz").write_bytes((folder / f"{number}.npz").read_bytes())
    config = StreamConfig(name=str(folder), scenario="domain-il", class_weights="balanced", validation_frac=0.2)
    stream, first = load_stream(config), config.model_copy(update={"name": str(two)})
    pack = finish(make_pack(load_stream(first), ("replay",), scenario="domain-il"))
    write(pack, StudyConfig(space=Space(ingredients=("replay",)), stream=first), ABOUT, tmp_path / "model")
    assert load(tmp_path / "model").about.class_weights == class_weights(stream) != ()
    continue_(tmp_path / "model", folder / "2.npz", {}, tmp_path / "new")
    whole = finish(make_pack(stream, ("replay",), scenario="domain-il"))
    own = dict(load(tmp_path / "new").network().named_parameters())
    for name, value in whole.context.layout.unflatten(whole.stack.theta[0]).items():
        assert torch.equal(own[name], value), name
