"""Amounts instead of classes: they train by the same loop, and with all that does not ask for classes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cfsweep.bundle.described import Origin
from cfsweep.bundle.manifest import Cut
from cfsweep.bundle.model import of_pack
from cfsweep.config import Scenario, StreamConfig
from cfsweep.errors import InputError
from cfsweep.hypers import Value
from cfsweep.testing import CNN, MLP, finish, make_pack, values_of
from cfsweep.testing.packs import assert_same, off_values, outcomes, restored, varied_runs, weights
from cfsweep.training import batches
from cfsweep.training.engine.layout import Layout
from cfsweep.training.first_task_cache import first_task_keys
from cfsweep.training.ingredients import registry
from cfsweep.training.pack import Pack
from cfsweep.training.spec import RunSpec
from cfsweep.training.streams import Stream, Task
from cfsweep.training.streams._own_data import checked_examples, own_stream
from cfsweep.training.streams._own_tasks import OwnTask
from cfsweep.training.targets import target_of
from cfsweep.training.targets.regression import Regression


class Own(Regression):
    """The same, as a target of the user's own."""

    name = "own"


ORIGIN = Origin(
    "study",
    None,
    "sweep",
    StreamConfig(),
    Cut(validation_frac=0.1, steering_frac=None, split_seed=0, split=0, refit=False),
)
UNIT = (torch.zeros(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64))


def numbers_stream(shape: tuple[int, ...] = (6,), n_train: int = 22) -> Stream:
    """Three tasks, each with a linear map of its own from x (n, *shape) to y (n, 2)."""
    rng, tasks, at = np.random.default_rng(0), [], 0
    n = n_train + 14
    x = rng.normal(size=(3 * n, *shape)).astype(np.float32)
    y = np.empty((3 * n, 2))
    for number in range(3):
        own = slice(at, at + n)
        flat = x[own].reshape(n, -1)
        y[own] = flat @ rng.normal(size=(flat.shape[1], 2)) / flat.shape[1] ** 0.5 + number
        train, validation, test = np.split(np.arange(at, at + n), [n_train, n_train + 6])
        tasks.append(
            Task(str(number), (), train, validation, test, steering=validation)
        )  # what stops is seen in curves
        at += n
    return Stream("numbers", torch.from_numpy(x), torch.from_numpy(y), tuple(tasks), unit=UNIT, target="regression")


def errors(pack: Pack, part: str) -> list[float]:
    """By hand, the negative root of the mean squared error on each task."""
    found = []
    for number, task in enumerate(pack.stream.tasks):
        mask = pack.context.outputs.masks[max(pack.next_task - 1, 0), number]
        predicted = pack.predictions(number, part)[0].double()[:, mask]
        wrong = predicted - pack.stream.y[torch.from_numpy(getattr(task, part))].float().double()
        found.append(-((sum(v**2 for v in wrong.flatten().tolist()) / wrong.numel()) ** 0.5))
    return found


# ------------------------------------------------------------------------------------------------ what trains

FITTING = sorted(name for name, kind in registry.items() if not kind.needs_classes)
SHARED = [name for name in FITTING if "domain-il" in registry[name].scenarios]
CASES: list[tuple[Scenario, tuple[str, ...], dict[str, Value]]] = [
    ("domain-il", (), {}),
    *(("domain-il", (name,), {}) for name in SHARED if name != "ewc"),
    *(("domain-il", ("ewc",), {"ewc_fisher": fisher}) for fisher in ("true", "predicted", "empirical")),
    ("domain-il", ("replay",), {"replay_mode": "class-balanced"}),
    ("domain-il", ("replay", "ewc", "early-stopping"), {}),
    *(("task-il", names, {}) for names in ((), ("a-gem",), ("der++",), ("ewc",), ("generative-replay",), ("mas",))),
    *(("task-il", names, {}) for names in (("replay",), ("adapters",), ("packnet",), ("replay", "ewc"))),
]


def test_most_ingredients_fit() -> None:
    wanted = {
        "a-gem",
        "der++",
        "early-stopping",
        "ewc",
        "feature-distillation",
        "adapters",
        "generative-replay",
        "mas",
        "packnet",
        "replay",
        "si",
    }
    assert wanted <= set(FITTING)


@pytest.mark.parametrize(
    ("scenario", "names", "given"), CASES, ids=lambda v: "+".join(v) if isinstance(v, tuple) else str(v or "")
)
def test_it_trains_and_its_matrix_is_that_of_the_predictions(
    scenario: Scenario, names: tuple[str, ...], given: dict[str, Value]
) -> None:
    stream = numbers_stream()
    pack = make_pack(stream, names, scenario=scenario, lr=0.02, **given)
    by_hand = {part: [errors(pack, part)] for part in ("validation", "test")}
    while not pack.done:
        pack = restored(pack)
        pack.train_next_task()
        for part, rows in by_hand.items():
            rows.append(errors(pack, part))
    record = pack.records[0]
    assert record.failure is None
    for part, rows in by_hand.items():
        np.testing.assert_allclose(getattr(record, part), rows, rtol=1e-6)
    fell = [record.test[task + 1][task] > 0.9 * record.test[task][task] for task in range(3)]
    assert fell[0], "the error on a task falls when its turn comes"
    assert all(fell) or names, "naive has nothing to hold on to"
    assert_same(pack, finish(make_pack(stream, names, scenario=scenario, lr=0.02, **given)))


LOOKING = ("a-gem", "der++", "early-stopping", "ewc", "forgetting-limit", "generative-replay", "mas", "replay")


@pytest.mark.parametrize("name", LOOKING)
def test_off_is_naive_and_alone_is_as_in_a_pack_for_what_looks_at_labels_or_scores(name: str) -> None:
    stream = numbers_stream()
    naive = finish(make_pack(stream, scenario="domain-il"))
    for off in off_values(registry[name]):
        assert_same(finish(make_pack(stream, (name,), scenario="domain-il", **off)), naive)
    runs = varied_runs((name,), 3)
    together = finish(make_pack(stream, (name,), runs, "domain-il"))
    for k, run in enumerate(runs):
        alone = finish(make_pack(stream, (name,), (run,), "domain-il"))
        torch.testing.assert_close(weights(alone)[0], weights(together)[k], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_it_is_a_plain_loop(optimizer: str) -> None:
    run = RunSpec(0, 3, values_of((), optimizer=optimizer))
    plain_loop(make_pack(numbers_stream(), (), (run,), "domain-il"), run, optimizer)


def plain_loop(pack: Pack, run: RunSpec, optimizer: str, heads: bool = False) -> None:
    """Requires that the pack comes to what torch does, task by task; `heads`: each has two outputs of its own."""
    stream, module = pack.stream, pack.context.lifted.module
    with torch.no_grad():
        for name, value in pack.context.layout.unflatten(pack.stack.theta[0]).items():
            module.get_parameter(name).copy_(value)
    for task in range(3):
        kinds: dict[str, Any] = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}
        extra = {"momentum": 0.9} if optimizer == "sgd" else {}
        own = kinds[optimizer](module.parameters(), lr=0.01, **extra)
        outputs = slice(2 * task, 2 * task + 2) if heads else slice(None)
        for order in batches.orders([run], stream.tasks[task].train, task, 3, 5, [], {})[0]:
            for at in range(0, len(order), 5):
                chosen = torch.from_numpy(order[at : at + 5])
                own.zero_grad()
                nn.functional.mse_loss(module(stream.x[chosen])[:, outputs], stream.y[chosen].float()).backward()
                own.step()
    expected = pack.context.layout.flatten({name: p.detach().clone() for name, p in module.named_parameters()})
    torch.testing.assert_close(finish(pack).stack.theta[0], expected, rtol=1e-4, atol=1e-5)


# ------------------------------------------------------------------------------------------------ importances


def fisher_by_hand(
    module: nn.Module, layout: Layout, theta: Tensor, x: Tensor, labels: Tensor, uniform: NDArray[Any], kind: str
) -> Tensor:
    """The mean over examples of the squared gradient of -½‖y - f(x)‖², one example at a time."""
    with torch.no_grad():
        for name, piece in layout.unflatten(theta).items():
            module.get_parameter(name).copy_(piece)
    total = {name: torch.zeros_like(p) for name, p in module.named_parameters()}
    for one, label, u in zip(x, labels, uniform, strict=True):
        module.zero_grad()
        found = module(one.unsqueeze(0))[0]
        normal = torch.distributions.Normal(found.detach(), 1.0)
        y = {"empirical": label, "predicted": found.detach(), "true": normal.icdf(torch.from_numpy(u))}[kind]
        torch.distributions.Normal(found, 1.0).log_prob(y).sum().backward()
        for name, parameter in module.named_parameters():
            assert parameter.grad is not None
            total[name] += parameter.grad.square() / len(x)
    return layout.flatten(total)


@pytest.mark.parametrize("kind", ["true", "predicted", "empirical"])
@pytest.mark.parametrize("network", [MLP, CNN], ids=lambda network: network.name)
def test_the_fisher_of_ewc_is_that_of_the_likelihood(network: Any, kind: str) -> None:
    """Of the predicted label it is zero: the gradient at the mode of a Gaussian is zero."""
    stream = numbers_stream((1, 6, 6))
    pack = make_pack(stream, ("ewc",), scenario="domain-il", network=network, ewc_fisher=kind, ewc_examples=9)
    pack.train_next_task()
    context = pack.context
    chosen, uniform, _ = batches.examples_to_consolidate(
        pack.spec.runs, stream.tasks[0].train, 0, 9, 0, label_shape=(2,)
    )
    x, labels = stream.x[chosen[0]], stream.y[chosen[0]].float()
    expected = fisher_by_hand(context.lifted.module, context.layout, pack.stack.theta[0], x, labels, uniform[0], kind)
    found = pack.stack.states["ewc"]["curvature"][0]
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6)
    assert bool(found.any()) == (kind != "predicted")
    assert uniform.shape == (1, 9, 2)
    assert len(np.unique(uniform)) == 18, "each number of a label is drawn by itself"


# ------------------------------------------------------------------------------------------------ stop rules


def test_early_stopping_goes_back_to_the_least_error() -> None:
    names = ("early-stopping",)
    pack = finish(make_pack(numbers_stream(), names, scenario="domain-il", lr=0.1, patience=1, epochs=8, curves=7))
    record = pack.records[0]
    for task in range(3):
        along = [value for t, _, seen, value in record.curves if t == seen == task]
        assert record.validation[task + 1][task] >= max(along)
    assert record.steps < 3 * 8 * 5, "some task ends early"


def test_the_limit_on_forgetting_holds_for_errors() -> None:
    pack = finish(make_pack(numbers_stream(), ("forgetting-limit",), scenario="domain-il", forgetting_limit=0.1))
    matrix = np.array(pack.records[0].validation)
    falls = [(matrix[t, :t] - matrix[t + 1, :t]).mean() for t in (1, 2)]
    assert max(falls) <= 0.1 + 1e-6
    naive = np.array(finish(make_pack(numbers_stream(), scenario="domain-il")).records[0].validation)
    assert max((naive[t, :t] - naive[t + 1, :t]).mean() for t in (1, 2)) > 0.1


# ------------------------------------------------------------------------------------------------ what does not fit


@pytest.mark.parametrize("name", sorted(set(registry) - set(FITTING)))
def test_what_needs_classes_is_refused_in_one_line(name: str) -> None:
    said = f"`{name}` needs classes, but this stream's target is regression. Remove `{name}` from the ingredients"
    with pytest.raises(InputError, match=said) as caught:
        make_pack(numbers_stream(), (name,), scenario=registry[name].scenarios[0])
    assert "\n" not in str(caught.value)
    assert {"icarl", "lwf"} <= set(registry) - set(FITTING)


def test_distilled_labels_that_need_classes_are_refused_in_one_line() -> None:
    said = "generative_labels=distilled needs classes, but this stream's target is regression. Take"
    with pytest.raises(InputError, match=said) as caught:
        make_pack(numbers_stream(), ("generative-replay",), scenario="domain-il", generative_labels="distilled")
    assert "\n" not in str(caught.value)


def test_unknown_and_odd_targets_are_refused_in_one_line() -> None:
    for name, said in (
        ("regresion", "stream: unknown target `regresion`. Known, closest first: regression"),
        ("torch.nn:ReLU", "stream: target `torch.nn:ReLU`: it must be a subclass of Target, but got .*ReLU"),
        ("no_such_package:Numbers", "there is no module `no_such_package`"),
    ):
        with pytest.raises(InputError, match=said) as caught:
            make_pack(replace(numbers_stream(), target=name))
        assert "\n" not in str(caught.value)


# ------------------------------------------------------------------------------------------------ by its path


def test_by_its_path_it_is_the_same_target() -> None:
    built_in = finish(make_pack(numbers_stream(), ("ewc",), scenario="domain-il"))
    stream = replace(numbers_stream(), target=f"{__name__}:Own")
    assert isinstance(target_of(stream.target), Own)
    assert outcomes(finish(make_pack(stream, ("ewc",), scenario="domain-il"))) == outcomes(built_in)


def test_another_target_and_other_code_of_it_have_another_first_task(monkeypatch: pytest.MonkeyPatch) -> None:
    def key(stream: Stream) -> str:
        pack = make_pack(stream, scenario="domain-il")
        return first_task_keys(pack.context, pack.stack.theta)[0]

    stream = numbers_stream()
    by_path = replace(stream, target=f"{__name__}:Own")
    assert key(stream) == key(numbers_stream()) != key(by_path)
    before = key(by_path)
    monkeypatch.setattr("cfsweep.training.first_task_cache._sources", lambda kind: "changed")
    assert key(by_path) != before


# ------------------------------------------------------------------------------------------------ its own


def test_the_scores_are_those_of_scikit_learn_in_the_users_units() -> None:
    """On a stream whose amounts are far from 0 and large."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(120, 3)).astype(np.float32)
    y = np.column_stack([5e5 + 1e4 * x[:, 0], 3 * x[:, 1] + 0.1 * rng.normal(size=120)])
    folder = [(part[0], part[1]) for part in ((x[:60], y[:60]), (x[60:], y[60:]))]
    config = StreamConfig(
        name="amounts", scenario="domain-il", target="regression", scores=("r2", "neg_rmse", "neg_mae")
    )
    given = [
        OwnTask(str(k), checked_examples(*part, "here", target="regression"), None) for k, part in enumerate(folder)
    ]
    stream = replace(own_stream(config, given, {}), target=config.target, scores=config.scores)
    pack = finish(make_pack(stream, (), scenario="domain-il", lr=0.05, epochs=40))
    model = of_pack(pack, ORIGIN)
    for number, task in enumerate(stream.tasks):
        said, truth = np.array(model.predict(stream.x[task.test], number)), stream.y[task.test].numpy()
        squares = (said - truth) ** 2
        by_hand = {
            "r2": 1 - (squares.sum(0) / ((truth - truth.mean(0)) ** 2).sum(0)).mean(),
            "neg_rmse": -(squares.mean() ** 0.5),
            "neg_mae": -np.abs(said - truth).mean(),
        }
        for place, name in enumerate(config.scores):
            assert float(pack.scores(number)[place, 0]) == pytest.approx(by_hand[name], rel=1e-4)
    assert pack.records[0].test[-1][-1] > 0.9, "it learns, whatever the units"
    assert set(pack.records[0].further["test"]) == {"neg_rmse", "neg_mae"}


def test_the_unit_is_that_of_the_first_tasks_training_data_alone() -> None:
    config = StreamConfig(name="amounts", scenario="domain-il", target="regression")
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(100, 2)).astype(np.float32), rng.normal(7, 3, 100)

    def stream_of(y: NDArray[Any]) -> Stream:
        """Two tasks, each with 40 training examples, in their order, and then 10 test examples."""
        parts = [
            checked_examples(x[at], y[at], "here", target="regression") for at in np.split(np.arange(100), [40, 50, 90])
        ]
        return own_stream(config, [OwnTask("a", *parts[:2]), OwnTask("b", *parts[2:])], {})

    stream, elsewhere = stream_of(y), y.copy()
    train = stream.tasks[0].train
    elsewhere[np.setdiff1d(np.arange(100), train)] += 1e6
    assert stream.unit is not None
    assert [value.item() for value in stream.unit] == pytest.approx([y[train].mean(), y[train].std()])
    assert stream_of(elsewhere).unit == stream.unit
    alike = stream_of(np.full(100, 5.0))
    assert alike.unit is not None
    assert [value.item() for value in alike.unit] == [5.0, 1.0]


def test_there_are_no_classes_to_tell_apart() -> None:
    with pytest.raises(InputError, match="the scenario must be domain-il, where all tasks share the outputs, or task"):
        make_pack(numbers_stream(), scenario="class-il")


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_with_a_head_for_each_task_it_is_a_plain_loop_over_its_outputs(optimizer: str) -> None:
    stream = numbers_stream()
    run = RunSpec(0, 3, values_of((), optimizer=optimizer))
    pack = make_pack(stream, (), (run,), "task-il")
    plain_loop(pack, run, optimizer, heads=True)


@pytest.mark.parametrize("name", ["packnet", "adapters"])
def test_what_is_learned_of_a_task_stays_where_each_has_weights_of_its_own(name: str) -> None:
    record = finish(make_pack(numbers_stream(), (name,), scenario="task-il")).records[0]
    for task in range(2):
        assert record.test[-1][task] == record.test[task + 1][task]
