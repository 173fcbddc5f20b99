"""What all closed forms do: no step that no answer needs, and one training for runs that differ in answers alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from cfsweep.config import NetworkConfig
from cfsweep.errors import InputError
from cfsweep.hypers import Value
from cfsweep.testing import finish, make_pack, small_stream, values_of
from cfsweep.testing.packs import CNN, MLP, outcomes, restored
from cfsweep.training.first_task_cache import first_task_keys
from cfsweep.training.ingredients import MOVES_FEATURES, ClosedForm, hypers_of, registry
from cfsweep.training.pack import Pack
from cfsweep.training.spec import PackSpec, RunSpec
from cfsweep.training.streams import StreamConfig, load_stream
from tests.training.ingredients.closed_forms import LINEAR

CLOSED = [name for name, kind in registry.items() if issubclass(kind, ClosedForm)]
SEARCHED: dict[str, tuple[str, tuple[float, float, float], dict[str, Value]]] = {
    "slda": ("slda_shrinkage", (0.01, 1.0, 0.3), {}),
    "ranpac": ("ranpac_ridge", (1.0, 1e5, 1e3), {"ranpac_ridge_by": "given"}),
}


def theta_of(pack: Pack) -> torch.Tensor:
    return pack.stack.theta.clone()


@pytest.mark.parametrize("name", CLOSED)
@pytest.mark.parametrize(("network", "adapts"), [(LINEAR, "first-task"), (MLP, "never"), (CNN, "never")])
def test_where_no_step_can_change_an_answer_none_is_taken(name: str, network: NetworkConfig, adapts: str) -> None:
    pack = make_pack(small_stream(), (name,), network=network, **{f"{name}_adapts": adapts})
    before = theta_of(pack)
    finish(pack)
    assert torch.equal(pack.stack.theta, before)
    assert pack.records[0].steps == 0
    assert np.mean(pack.records[0].test[-1]) > 0.6, "and yet it has learned"


@pytest.mark.parametrize("name", CLOSED)
def test_the_network_learns_the_first_task_and_no_other(name: str) -> None:
    pack, naive = (make_pack(small_stream(), names, scenario="class-il") for names in ((name,), ()))
    for one in (pack, naive):
        one.train_next_task()
    after_first = theta_of(pack)
    assert torch.equal(after_first, naive.stack.theta), "by the output layer, as without it"
    assert torch.equal(finish(pack).stack.theta, after_first)
    assert pack.records[0].steps == naive.records[0].steps


@pytest.mark.parametrize("name", CLOSED)
def test_on_features_nothing_is_forgotten_in_task_il(name: str) -> None:
    """The means of a class stay as they are; a shared covariance, or Gram matrix, moves on with what comes."""
    record = finish(make_pack(small_stream(), (name,), network=LINEAR, scenario="task-il")).records[0]
    for task in range(3):
        ends = [row[task] for row in record.test[task + 1 :]]
        assert min(ends) >= ends[0] - 0.25
        if name == "ncm":
            assert len(set(ends)) == 1


@pytest.mark.parametrize("name", SEARCHED)
@pytest.mark.parametrize("network", [MLP, LINEAR])
def test_runs_that_differ_in_answers_alone_share_all_else(name: str, network: NetworkConfig) -> None:
    searched, (one, two, three), given = SEARCHED[name]
    values = (one, 0.0, two, three, three)
    runs = tuple(RunSpec(k, 0, values_of((name,), **{searched: x}, **given)) for k, x in enumerate(values))
    pack = make_pack(small_stream(), (name,), runs, scenario="class-il", network=network)
    while not pack.done:
        pack.train_next_task()
        assert len(pack.stack) == 2, "one row for those that are on, one for the one that is off"
        for same in (pack, restored(pack)):
            for number, task in enumerate(same.stream.tasks):
                right = same.predictions(number) == same.context.outputs.labels[torch.from_numpy(task.test)]
                scores = [record.test[-1][number] for record in same.records]
                assert right.double().mean(1).tolist() == scores
    together, apart = outcomes(pack), []
    for run in runs:
        alone = finish(make_pack(small_stream(), (name,), (run,), scenario="class-il", network=network))
        apart += outcomes(alone)
    assert together == apart
    assert len({str(of["test"]) for of in together}) > 2, "the values have a say"
    keys = first_task_keys(pack.context, pack.context.initial_weights())
    assert len(set(keys)) == 4, "between packs a first task comes with its scores"


class Kept(dict[str, bytes]):
    """A cache of first tasks in memory."""

    def get(self, keys: Iterable[str]) -> dict[str, bytes]:  # type: ignore[override]
        return {key: self[key] for key in keys if key in self}

    def put(self, contents: Mapping[str, bytes]) -> None:
        self.update(contents)


@pytest.mark.parametrize("name", SEARCHED)
def test_a_first_task_that_another_pack_has_left_joins_those_that_share_its_row(name: str) -> None:
    searched, values, given = SEARCHED[name]
    runs = tuple(RunSpec(k, 0, values_of((name,), **{searched: x}, **given)) for k, x in enumerate(values))
    cache = Kept()

    def trained(of: tuple[RunSpec, ...], first_tasks: Kept | None) -> Pack:
        spec = PackSpec(MLP, "class-il", (name,), of)
        return finish(Pack(spec, small_stream(), first_tasks=first_tasks))

    trained(runs[1:2], cache)
    assert len(cache) == 1
    pack = trained(runs, cache)
    assert len(cache) == 3
    assert len(pack.stack) == 1
    assert outcomes(pack) == outcomes(trained(runs, None))


def test_within_the_first_task_the_output_layer_answers_and_later_no_curve_is_noted() -> None:
    pack, naive = (finish(make_pack(small_stream(), names, curves=2)) for names in (("ncm",), ()))
    first = [row for row in naive.records[0].curves if row[0] == 0]
    assert pack.records[0].curves == first


def test_a_stop_rule_may_end_the_first_task() -> None:
    names, stream = ("slda", "early-stopping"), small_stream()
    pack = finish(make_pack(stream, names, (RunSpec(0, 0, values_of(names, epochs=9, lr=0.05)),)))
    record = pack.records[0]
    assert record.failure is None
    assert 0 < record.steps < 9 * 5


@pytest.mark.parametrize("other", [name for name, kind in registry.items() if issubclass(kind, MOVES_FEATURES)])
def test_what_moves_old_features_is_refused(other: str) -> None:
    with pytest.raises(InputError, match=rf"space: `ncm` and `{other}` do not go together: the one goes by statistics"):
        hypers_of(["ncm", other], "space")


def test_two_that_answer_are_refused() -> None:
    with pytest.raises(InputError, match=r"can answer in place of the output layer, but `ncm` and `slda` do"):
        hypers_of(["ncm", "slda"])


class StillHead(nn.Module):
    def __init__(self, input_shape: tuple[int, ...], n_outputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(input_shape)), 5))
        self.head = nn.Linear(5, n_outputs).requires_grad_(False)

    def forward(self, x: torch.Tensor) -> Any:
        return self.head(self.body(x))


def test_an_output_layer_that_is_held_still_is_refused() -> None:
    network = NetworkConfig(name=f"{__name__}:StillHead")
    with pytest.raises(InputError, match=r"`slda`: the output layer `head` must be trainable, but is held still"):
        make_pack(small_stream(), ("slda",), network=network)


def test_a_task_that_brings_one_class_again_adds_to_it() -> None:
    stream = small_stream(n_tasks=2)
    (first, second), y = stream.tasks, stream.y.clone()
    y[second.train[0]] = 1
    again = replace(stream, y=y, tasks=(first, replace(second, classes=(1, 2, 3))))
    pack = finish(make_pack(again, ("ncm",), network=LINEAR, scenario="class-il"))
    counts = pack.stack.states["ncm"]["counts"][0, :, 0].tolist()
    assert counts == np.bincount(y[np.concatenate([first.train, second.train])]).tolist()


@pytest.mark.parametrize("name", CLOSED)
def test_a_task_that_the_first_weights_know_is_counted_and_no_step_is_taken(name: str) -> None:
    stream = replace(small_stream(), n_learned=1)
    pack = finish(make_pack(stream, (name,), scenario="class-il"))
    counts = pack.stack.states[name]["counts"][0, :, 0].tolist()
    assert counts == np.bincount(stream.y[np.concatenate([task.train for task in stream.tasks])]).tolist()
    assert pack.records[0].steps == 0


@pytest.mark.slow
def test_on_digits_means_are_below_discriminants_and_these_no_better_than_random_features() -> None:
    """As McDonnell et al. 2023 order them; class-incremental, each on the pixels themselves, five seeds."""
    stream = load_stream(StreamConfig(name="split-digits", scenario="class-il"))
    ends = {}
    given: dict[str, dict[str, Value]] = {"ncm": {}, "slda": {}, "ranpac": {"ranpac_projection": 500}}
    for name in CLOSED:
        runs = tuple(RunSpec(0, seed, values_of((name,), **given[name])) for seed in range(5))
        pack = finish(make_pack(stream, (name,), runs, scenario="class-il", network=LINEAR))
        ends[name] = np.mean([record.test[-1] for record in pack.records])
    assert ends["ncm"] + 0.02 < ends["slda"] <= ends["ranpac"]
