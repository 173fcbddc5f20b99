"""Packs: failing and dropped runs, curves, restoring, randomness, and what they refuse."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from cfsweep.config import NetworkConfig
from cfsweep.errors import InputError
from cfsweep.testing.packs import (
    CNN,
    MLP,
    UNLIFTABLE,
    assert_same,
    finish,
    make_pack,
    outcomes,
    restored,
    small_stream,
    values_of,
    varied_runs,
    weights,
)
from cfsweep.training import batches
from cfsweep.training.engine.randomness import _PURPOSES, generator, torch_seed
from cfsweep.training.ingredients import registry
from cfsweep.training.ingredients.der import DerPlusPlus
from cfsweep.training.pack import Pack
from cfsweep.training.spec import PackReport, PackSpec, RunRecord, RunSpec, score_rows
from tests.training.helpers import rights

# ------------------------------------------------------------------------------------------------ runs that fail


def test_a_run_that_diverges_fails_with_the_reason_and_the_rest_go_on_bitwise() -> None:
    stream, names = small_stream(), ("ewc", "replay")
    runs = [RunSpec(k, 0, values_of(names, optimizer="sgd", lr=0.01 * (k + 1))) for k in range(4)]
    wild = list(runs)
    wild[1] = RunSpec(1, 0, {**runs[1].values, "lr": 1e30})
    tame, mixed = make_pack(stream, names, tuple(runs)), make_pack(stream, names, tuple(wild))
    tame.train_next_task()
    report = mixed.train_next_task()
    failed = report.records[1]
    assert failed.failure is not None
    assert failed.failure.startswith("the loss was not finite at task 0, step ")
    assert failed.failure.endswith("(lr=1e+30)")
    assert "\n" not in failed.failure
    assert len(failed.validation) == len(failed.test) == 1  # the untrained network
    assert mixed.stack.alive == [0, 2, 3]
    assert torch.equal(weights(mixed), weights(tame)[[0, 2, 3]])
    tame.drop([runs[1].key])
    assert torch.equal(weights(finish(mixed)), weights(finish(tame)))
    rest = [outcomes(tame)[k] == outcomes(mixed)[k] for k in (0, 2, 3)]
    assert all(rest)
    assert [r.failure for r in mixed.records[::2]] == [None, None]


def test_the_step_at_which_the_loss_breaks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = small_stream()
    x = stream.x.clone()
    x[stream.tasks[1].train[4]] = torch.nan
    pack = make_pack(replace(stream, x=x), runs=varied_runs((), 3, epochs=1, batch_size=22), network=MLP)
    pack.train_next_task()
    report = pack.train_next_task()
    assert all(r.failure and "at task 1, step 1 (lr=" in r.failure for r in report.records)
    assert report.done
    assert pack.done
    assert all(len(r.test) == 2 for r in report.records)
    with pytest.raises(ValueError, match="done"):
        pack.train_next_task()


def test_weights_that_break_in_the_last_step_are_noticed() -> None:
    pack = make_pack(small_stream(), optimizer="sgd", lr=1e38, epochs=1, batch_size=64)
    pack.stack.theta *= 1e10
    record = pack.train_next_task().records[0]
    assert record.failure is not None
    assert record.failure.startswith(("the weights were not finite after task 0", "the loss was not finite"))


def test_a_failed_run_stays_failed_after_restoring() -> None:
    stream = small_stream()
    runs = tuple(RunSpec(k, 0, values_of((), optimizer="sgd", lr=lr)) for k, lr in enumerate([0.01, 1e30, 0.1]))
    pack = make_pack(stream, runs=runs)
    pack.train_next_task()
    again = restored(pack)
    assert again.records == pack.records
    assert_same(finish(again), finish(pack))


# ------------------------------------------------------------------------------------------------ dropping


def test_dropping_all_runs_ends_the_pack() -> None:
    pack = make_pack(small_stream(), runs=varied_runs((), 3))
    pack.train_next_task()
    pack.drop([(0, 0), (77, 5)])  # one that is not there is no matter
    assert not pack.done
    assert len(weights(pack)) == 2
    pack.drop([(1, 1), (2, 0)])
    assert pack.done
    assert [len(r.test) for r in pack.report().records] == [2, 2, 2]


def test_runs_that_share_a_row_can_be_dropped_apart() -> None:
    runs = tuple(RunSpec(k, 0, values_of(("ewc",), ewc_lambda=10.0**k)) for k in range(4))
    pack = make_pack(small_stream(), ("ewc",), runs)
    assert len(pack.stack) == 1
    pack.train_next_task()
    assert len(pack.stack) == 1, "λ has not taken effect yet"
    pack.drop([(0, 0), (2, 0)])
    assert pack.stack.alive == [1, 3]
    pack.train_next_task()
    assert len(pack.stack) == 2
    for row, k in enumerate((1, 3)):
        alone = make_pack(small_stream(), ("ewc",), (runs[k],))
        alone.train_next_task()
        alone.train_next_task()
        torch.testing.assert_close(weights(pack)[row], weights(alone)[0], rtol=1e-4, atol=1e-5)


# ------------------------------------------------------------------------------------------------ what is reported


def test_an_earlier_report_does_not_change() -> None:
    pack = make_pack(small_stream(), curves=2)
    first = pack.train_next_task()
    kept = [len(first.records[0].test), len(first.records[0].validation), len(first.records[0].curves)]
    finish(pack)
    assert (
        [len(first.records[0].test), len(first.records[0].validation), len(first.records[0].curves)]
        == kept
        == [2, 2, 2]
    )


def test_report_says_where_and_what() -> None:
    stream = small_stream()
    report = make_pack(stream, ("ewc",)).train_next_task()
    assert (report.task, report.done) == (0, False)
    assert report.n_examples == {"validation": [6, 6, 6], "test": [8, 8, 8]}
    assert report.n_parameters == 36 * 12 + 12 + 12 * 9 + 9 + 9 * 6 + 6
    assert report.peak_bytes is not None
    assert report.peak_bytes > 2**20
    assert report.device == "cpu"
    assert report.host
    assert report.fisher_convention == "true label, mean over examples of squared per-example gradients"
    assert report.penalty_convention == "0.5 * lambda * sum F (theta - theta*)^2, separate"
    record = report.records[0]
    assert record.steps == 15  # 3 epochs of 22 examples in batches of 5
    assert record.train_s > 0
    assert record.tasks_done == 1
    lost = PackReport.of_failure(RunRecord(1, 2, failure="the worker died"), report.n_examples)
    assert lost.done
    assert lost.task == -1, "it has trained none"
    rows = score_rows(record.test, n_tasks=3)
    assert rows.shape == (2, 3)
    assert (rows == np.array(record.test)).all()
    assert (rights(record.test, stream) <= 8).all(), "shares of 8"


@pytest.mark.parametrize("points", [1, 3, 100])
def test_curves_are_validation_accuracies_along_the_way_and_change_nothing(points: int) -> None:
    stream = small_stream()
    plain, pack = finish(make_pack(stream)), finish(make_pack(stream, curves=points))
    assert torch.equal(weights(plain), weights(pack))
    curves = pack.records[0].curves
    assert curves == sorted(curves, key=lambda row: row[:2])
    for task in range(3):
        steps = sorted({step for t, step, *_ in curves if t == task})
        assert len(steps) == min(points, 15)
        assert 1 <= steps[0] <= steps[-1] <= 15
        for step in steps:
            assert [seen for t, s, seen, _ in curves if (t, s) == (task, step)] == list(range(task + 1))
    assert all(accuracy * 6 == pytest.approx(round(accuracy * 6)) for *_, accuracy in curves)


# ------------------------------------------------------------------------------------------------ randomness


def test_random_streams_depend_on_seed_task_epoch_and_purpose_alone() -> None:
    drawn = {
        (seed, purpose, task, epoch): tuple(generator(seed, purpose, task, epoch).integers(2**63, size=2).tolist())
        for seed, purpose, task, epoch in itertools.product((0, 1, 12345), _PURPOSES, range(3), range(3))
    }
    assert len(set(drawn.values())) == len(drawn)
    state = np.random.get_state()[1].copy()  # noqa: NPY002 - the global one must stay as it is
    torch_state = torch.get_rng_state()
    again = generator(1, "order", 2, 1).integers(2**63, size=2)
    assert tuple(again.tolist()) == drawn[1, "order", 2, 1]
    assert torch_seed(3, "init") == torch_seed(3, "init", task=0) != torch_seed(4, "init")
    finish(make_pack(small_stream(), ("ewc", "replay")))
    assert np.array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_state)


def test_each_epoch_is_a_permutation_of_its_own() -> None:
    runs = varied_runs((), 4)
    examples = np.arange(100, 150)
    orders = batches.orders(runs, examples, 1, 3, 8, [], {})
    assert orders.shape == (4, 3, 50)
    assert (np.sort(orders, -1) == examples).all()
    assert np.array_equal(orders[0], orders[2]), "runs 0 and 2 have the same seed"
    assert len({tuple(order) for row in orders[:2] for order in row}) == 6
    chosen, uniform, _ = batches.examples_to_consolidate(runs, examples, 0, 20, 0)
    assert all(len(set(row)) == 20 for row in chosen)
    assert ((uniform >= 0) & (uniform < 1)).all()


def test_seeds_draw_their_own_weights() -> None:
    pack = make_pack(small_stream(), runs=varied_runs((), 4), share_first_task=False)
    first, second, third, _ = weights(pack)
    assert torch.equal(first, third)
    assert (first != second).all()


# ------------------------------------------------------------------------------------------------ plain data


@pytest.mark.parametrize("network", [MLP, CNN], ids=lambda network: network.name)
def test_spec_travels_as_plain_data(network: NetworkConfig) -> None:
    for joint, names in ((True, ()), (False, ("ewc", "packnet"))):
        spec = PackSpec(network, "task-il", names, varied_runs(names, 3), joint, 4)
        assert PackSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
        assert PackSpec.from_dict(spec.to_dict()) == spec
    assert PackSpec(MLP, "task-il", (), varied_runs((), 1)).method == "naive"
    assert spec.method == "ewc+packnet"
    assert PackSpec(MLP, "task-il", (), varied_runs((), 1), joint=True).method == "joint"


# ------------------------------------------------------------------------------------------------ networks of one's own


def test_a_network_that_cannot_be_lifted_is_refused_in_packs_of_several() -> None:
    with pytest.raises(InputError, match=r"packs:unliftable`: .*Train it in packs of one run") as caught:
        make_pack(small_stream(), runs=varied_runs((), 2), network=UNLIFTABLE)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("names", [(), ("ewc",), ("packnet",), ("ewc", "replay")], ids="+".join)
def test_such_a_network_runs_alone_the_same_each_time_and_after_restoring(names: tuple[str, ...]) -> None:
    stream = small_stream()

    def fresh() -> Pack:
        return make_pack(stream, names, network=UNLIFTABLE, batch_size=6, curves=1)

    whole = finish(fresh())
    assert all(whole.records[0].test[t + 1][t] >= 5 / 8 for t in range(3))
    torch.randn(5)  # the state of the global numbers has no say
    assert_same(finish(fresh()), whole)
    pack = fresh()
    while not pack.done:
        saved = pack.checkpoint()
        pack.train_next_task()  # what becomes of this one has no say
        pack = Pack.restore(saved, stream)
        pack.train_next_task()
    assert_same(pack, whole)
    statistics = (dict(p.context.lifted.module.named_buffers()) for p in (pack, whole))
    assert all(map(torch.equal, *(named.values() for named in statistics)))


class Current(DerPlusPlus):
    """Its buffer holds examples of the task in training, with the logits that the network has as the task begins."""

    name = "current"
    holds_current_task = True


def test_the_logits_that_a_source_asks_for_are_those_of_evaluation_also_when_restored() -> None:
    stream, name = small_stream(), f"{__name__}:Current"
    whole = finish(make_pack(stream, (name,), network=UNLIFTABLE, batch_size=6))
    pack = make_pack(stream, (name,), network=UNLIFTABLE, batch_size=6)
    while not pack.done:
        pack = restored(pack)
        pack.train_next_task()
    assert_same(pack, whole)


def refusals() -> list[tuple[Callable[[], object], str]]:
    return [
        (lambda: Pack(PackSpec(MLP, "task-il", (), ()), small_stream()), "at least one run"),
        (
            lambda: make_pack(small_stream(), ("packnet",), scenario="class-il"),
            "works in task-il, but got scenario=class-il",
        ),
        (
            lambda: make_pack(small_stream(), ("ewx",), (RunSpec(0, 0, {}),)),
            "unknown ingredient `ewx`.*closest first: ewc",
        ),
        (lambda: make_pack(small_stream(), ("ewc", "ewc"), varied_runs((), 1)), "`ewc` is listed twice"),
    ]


@pytest.mark.parametrize("number", range(len(refusals())))
def test_bad_packs_are_refused_in_one_line(number: int) -> None:
    act, line = refusals()[number]
    with pytest.raises(InputError, match=line) as caught:
        act()
    assert "\n" not in str(caught.value)


# ------------------------------------------------------------------------------------------------ models


def test_a_model_is_the_checkpoint_of_a_pack_of_that_run_alone() -> None:
    """Of runs that share a row, too; none of a run that has failed or was dropped, nor before the end."""
    stream, names = small_stream(), ("ewc", "replay")
    values = [values_of(names, optimizer="sgd", lr=lr) for lr in (0.01, 1e30, 0.02, 0.02, 0.03)]
    runs = tuple(RunSpec(k, 7, given) for k, given in enumerate(values))
    pack = make_pack(stream, names, runs)
    pack.spec = replace(pack.spec, keep_models=True)
    pack.train_next_task()
    pack.drop([runs[4].key])
    assert pack.models() == {}
    finish(pack)
    assert len(pack.stack) < len(pack.stack.alive) == 3, "two are equal"
    found = pack.models()
    assert set(found) == {runs[k].key for k in (0, 2, 3)}
    for k in (0, 2, 3):
        model = Pack.restore(found[runs[k].key], stream)
        assert model is not None
        alone = restored(finish(make_pack(stream, names, (runs[k],))))
        assert (model.spec.runs, model.done, model.stack.alive, len(model.stack)) == ((runs[k],), True, [0], 1)
        assert model.records[0] == pack.records[k]
        assert torch.equal(weights(model)[0], pack.stack.theta[int(pack.stack.row_of[pack.stack.alive.index(k)])])
        torch.testing.assert_close(weights(model), weights(alone))
        content, theirs = model.stack.to_content(), alone.stack.to_content()
        for kind in ("states", "optimizer"):
            torch.testing.assert_close(content[kind], theirs[kind])
        assert str(content["buffers"]) == str(theirs["buffers"])
        assert content["optimizer_steps"] == theirs["optimizer_steps"]


@pytest.mark.parametrize("name", registry)
def test_a_model_answers_as_its_run_did_whatever_the_remedy_keeps(name: str) -> None:
    stream = small_stream()
    pack = make_pack(stream, (name,), varied_runs((name,), 3))
    pack.spec = replace(pack.spec, keep_models=True)
    finish(pack)
    n_tasks = len(stream.tasks)
    for i, run in enumerate(pack.spec.runs):
        model = Pack.restore(pack.models()[run.key], stream)
        assert model is not None
        model.records[0].test.clear()
        model.scoring.note(model.records, n_tasks)
        assert model.records[0].test == [pack.records[i].test[-1]]


def test_a_network_that_cannot_be_lifted_leaves_its_statistics() -> None:
    stream, run = small_stream(), RunSpec(0, 0, values_of(("ewc",)))
    pack = make_pack(stream, ("ewc",), (run,), network=UNLIFTABLE)
    pack.spec = replace(pack.spec, keep_models=True)
    finish(pack)
    model = Pack.restore(pack.models()[run.key], stream)
    assert model is not None
    for name, value in pack.context.statistics().items():
        assert torch.equal(model.context.statistics()[name], value)
    assert model.context.statistics()


def test_who_wants_no_models_has_none() -> None:
    assert finish(make_pack(small_stream(), (), (RunSpec(0, 0, values_of(())),))).models() == {}


@pytest.mark.parametrize("parts", [("validation",), ("test",)])
def test_what_does_not_score_a_run_is_not_looked_at_and_changes_nothing(parts: tuple[str, ...]) -> None:
    stream, names = small_stream(), ("ewc", "replay")
    both = finish(make_pack(stream, names, varied_runs(names, 3)))
    pack = make_pack(stream, names, varied_runs(names, 3))
    one = finish(Pack(replace(pack.spec, parts=parts), stream))
    (other,) = {"validation", "test"} - {*parts}
    assert torch.equal(weights(one), weights(both))
    for mine, theirs in zip(one.records, both.records, strict=True):
        assert getattr(mine, parts[0]) == getattr(theirs, parts[0])
        assert getattr(mine, other) == []
        assert mine.tasks_done == theirs.tasks_done == len(stream.tasks)
    assert PackSpec.from_dict(one.spec.to_dict()) == one.spec
    content = pack.spec.to_dict()
    del content["parts"], content["keep_models"]
    assert PackSpec.from_dict(content) == replace(pack.spec, parts=("validation",)), "an earlier version wrote it"
