"""The first task, shared between packs: the same results with and without, for every ingredient, and keys that tell
apart whatever can act in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cfsweep.config import SCENARIOS, NetworkConfig, Scenario, StreamConfig
from cfsweep.hypers import Value
from cfsweep.testing import packs
from cfsweep.testing.packs import (
    CNN,
    MLP,
    UNLIFTABLE,
    assert_equal,
    assert_same,
    finish,
    make_pack,
    outcomes,
    restored,
    scenario_for,
    small_stream,
    values_of,
    weights,
)
from cfsweep.training import first_task_cache
from cfsweep.training.first_task_cache import FirstTask
from cfsweep.training.ingredients import registry
from cfsweep.training.loop import TaskLoop
from cfsweep.training.pack import Pack
from cfsweep.training.spec import PackSpec, RunSpec
from cfsweep.training.streams import Stream, load_stream


class Shelf:
    """First tasks in memory, and how often each was found."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}
        self.found: list[str] = []

    def get(self, keys: Iterable[str]) -> Mapping[str, bytes]:
        found = {key: self.contents[key] for key in keys if key in self.contents}
        self.found += found
        return found

    def put(self, contents: Mapping[str, bytes]) -> None:
        assert not contents.keys() & self.contents.keys(), "what is known is not trained again"
        self.contents.update(contents)


def pack_on(
    shelf: Shelf | None,
    stream: Stream,
    names: tuple[str, ...],
    runs: tuple[RunSpec, ...],
    scenario: Scenario | None = None,
    network: NetworkConfig = MLP,
    curves: int = 1,
    **more: Any,
) -> Pack:
    spec = PackSpec(network, scenario or scenario_for(*names), names, runs, curve_points_per_task=curves)
    return Pack(spec, stream, first_tasks=shelf, **more)


def runs_of(names: tuple[str, ...], numbers: Iterable[int], seeds: int = 2, **given: Value) -> tuple[RunSpec, ...]:
    """Runs that differ in what takes effect later, from number to number, and in nothing else but the seed."""

    def value(name: str, default: Value, number: int) -> Value:
        assert isinstance(default, int | float)
        return type(default)(default / (1 + number % 3))

    runs = []
    for number in numbers:
        hypers = [h for name in names for h in registry[name].hypers if not h.static and h.takes_effect == "later"]
        own = {h.name: value(h.name, h.default, number) for h in hypers}
        runs.append(RunSpec(number, number % seeds, values_of(names, **own, **given)))
    return tuple(runs)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """(task, rows) of each task that is really trained."""
    seen: list[tuple[int, int]] = []
    run = TaskLoop.run

    def noted(self: TaskLoop, *given: Any) -> None:
        seen.append((self.task, len(self.stack)))
        run(self, *given)

    monkeypatch.setattr(TaskLoop, "run", noted)
    return seen


# ------------------------------------------------------------------------------------------------ the same results


def check(names: tuple[str, ...], trained: list[tuple[int, int]], **options: Any) -> None:
    """A first pack leaves what a second one finds, in part and whole; and all have the results that they have alone."""
    stream, given = small_stream(), options.pop("given", {})
    shelf = Shelf()
    first, second, third = (runs_of(names, numbers, 3, **given) for numbers in ((0, 3), (4, 6, 5), (10, 9, 8)))
    plain = finish(pack_on(None, stream, names, (*first, *second, *third), **options))
    for runs, rows in ((first, 1), (second, 2), (third, 0)):
        own = [k for k, run in enumerate(plain.spec.runs) if run in runs]
        expected, theta = [outcomes(plain)[k] for k in own], weights(plain)[own]
        trained.clear()
        pack = pack_on(shelf, stream, names, runs, **options)
        pack.train_next_task()
        assert [n for task, n in trained if task == 0] == ([rows] if rows else []), "only what nobody has trained"
        again = finish(restored(pack)) if runs is second else None
        finish(pack)
        assert outcomes(pack) == expected
        assert again is None or outcomes(again) == expected
        torch.testing.assert_close(weights(pack), theta, rtol=1e-3, atol=1e-4)
    assert len(shelf.contents) == 3, "one for each seed"


@pytest.mark.parametrize("kind", sorted(registry))
def test_every_ingredient_goes_on_from_it(kind: str, trained: list[tuple[int, int]]) -> None:
    check((kind,), trained, given={"epochs": 2})


@pytest.mark.parametrize("kind", ["ewc", "packnet", "si", "replay"])
def test_with_an_optimizer_that_goes_on(kind: str, trained: list[tuple[int, int]]) -> None:
    check((kind,), trained, given={"optimizer_state": "kept", "weight_decay": 0.01})


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_in_every_scenario(scenario: Scenario, trained: list[tuple[int, int]]) -> None:
    check(("ewc", "replay", "warmup"), trained, scenario=scenario)


def test_with_a_cnn(trained: list[tuple[int, int]]) -> None:
    check(("ewc", "der++"), trained, network=CNN, given={"epochs": 1})


def test_a_network_that_cannot_be_lifted_takes_its_statistics_along() -> None:
    stream, shelf = small_stream(), Shelf()
    for number in (0, 2):
        runs = runs_of(("ewc",), [number], batch_size=6)
        plain, pack = (finish(pack_on(s, stream, ("ewc",), runs, network=UNLIFTABLE)) for s in (None, shelf))
        assert_same(pack, plain)
        for name, statistic in plain.context.lifted.module.named_buffers():
            assert torch.equal(pack.context.lifted.module.get_buffer(name), statistic)
    assert len(shelf.found) == 1


METHODS: list[tuple[tuple[str, ...], Scenario]] = [
    (("ewc",), "class-il"),
    (("replay", "ewc"), "domain-il"),
    (("packnet",), "task-il"),
    (("der++", "cosine", "early-stopping"), "class-il"),
]


@pytest.mark.parametrize(("names", "scenario"), METHODS, ids=lambda x: x if isinstance(x, str) else "+".join(x))
def test_on_real_images_to_the_last_bit(names: tuple[str, ...], scenario: Scenario) -> None:
    """Where matrix products have the size that they have in use, and round alike in packs of any size."""
    stream, shelf = load_stream(StreamConfig(n_tasks=2, steering_frac=0.1)), Shelf()
    options: dict[str, Any] = {"scenario": scenario, "network": NetworkConfig(name="mlp"), "curves": 2}
    given: dict[str, Value] = {"batch_size": 64, "lr": 1e-3, "epochs": 1 + ("early-stopping" in names)}
    for numbers in ((0, 2), (4, 5, 7, 6), (8, 9, 10, 11)):
        runs = runs_of(names, numbers, **given)
        plain, pack = (finish(pack_on(s, stream, names, runs, **options)) for s in (None, shelf))
        assert outcomes(pack) == outcomes(plain)
        assert_equal(weights(pack), weights(plain))
    assert len(shelf.contents) == 2
    assert len(shelf.found) == 3


# ------------------------------------------------------------------------------------------------ runs that end early


def test_what_failed_fails_again_without_being_trained(trained: list[tuple[int, int]]) -> None:
    stream, shelf = small_stream(), Shelf()
    failures = set()
    for number in (0, 1, 2):
        wild, tame = (runs_of(("ewc",), [n], 1, optimizer="sgd", lr=lr)[0] for n, lr in ((number, 1e30), (9, 0.01)))
        plain, pack = (finish(pack_on(s, stream, ("ewc",), (wild, tame))) for s in (None, shelf))
        assert outcomes(pack) == outcomes(plain)
        assert pack.stack.alive == [1]
        failures.add(pack.records[0].failure)
    assert len(failures) == 1
    assert "not finite at task 0" in str(failures)
    trained.clear()
    alone = pack_on(shelf, stream, ("ewc",), runs_of(("ewc",), [5], 1, optimizer="sgd", lr=1e30))
    report = alone.train_next_task()
    assert report.done
    assert trained == []
    assert report.records[0].failure in failures


def test_a_run_dropped_before_the_first_step_takes_and_leaves_nothing(trained: list[tuple[int, int]]) -> None:
    stream, shelf = small_stream(), Shelf()
    runs = runs_of(("ewc",), range(4), 4)
    pack = pack_on(shelf, stream, ("ewc",), runs)
    pack.drop([runs[1].key])
    pack.train_next_task()
    assert len(shelf.contents) == 3
    again = pack_on(shelf, stream, ("ewc",), runs)
    again.drop([runs[0].key, runs[1].key])
    again.train_next_task()
    assert [len(record.validation) for record in again.records] == [0, 0, 2, 2]
    assert [task for task, _ in trained] == [0]


# ------------------------------------------------------------------------------------------------ seconds and bytes


def test_a_run_counts_its_first_task_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the weights of a run have cost, whoever else may use them, is what its method would cost alone."""
    seconds = iter(range(1000))
    monkeypatch.setattr("cfsweep.training.stack.time.perf_counter", lambda: float(next(seconds)))
    stream, shelf = small_stream(), Shelf()
    first = pack_on(shelf, stream, ("ewc",), runs_of(("ewc",), range(4), 1)).train_next_task()
    costs = {record.train_s for record in first.records}
    assert len(costs) == 1
    assert min(costs) >= 1, "one row, not a quarter of one each"
    monkeypatch.setattr("cfsweep.training.stack.time.perf_counter", lambda: 0.0)
    later = pack_on(shelf, stream, ("ewc",), runs_of(("ewc",), [7], 1)).train_next_task()
    assert {record.train_s for record in later.records} == costs
    assert later.records[0].steps == first.records[0].steps > 0


def test_rows_that_part_in_the_middle_share_the_seconds_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("cfsweep.training.stack.time.perf_counter", lambda: now[0])
    advance = TaskLoop._advance

    def takes_time(self: TaskLoop, until: int) -> None:
        now[0] += len(self.stack) * (until - self.step)  # one second for each row's step
        advance(self, until)

    monkeypatch.setattr(TaskLoop, "_advance", takes_time)
    monkeypatch.setattr("cfsweep.training.pack.time.perf_counter", lambda: now[0])
    runs = tuple(RunSpec(k, 0, values_of(("packnet",), packnet_rate=0.1 * k)) for k in range(1, 4))
    report = make_pack(small_stream(), ("packnet",), runs).train_next_task()
    assert [record.train_s for record in report.records] == pytest.approx([record.steps for record in report.records])


# ------------------------------------------------------------------------------------------------ keys


def keys(stream: Stream, names: tuple[str, ...] = ("ewc",), network: NetworkConfig = MLP, **given: Any) -> str:
    options = {k: given.pop(k) for k in ("scenario", "curves") if k in given}
    run = RunSpec(given.pop("trial", 0), given.pop("seed", 0), values_of(names, **given))
    return pack_on(Shelf(), stream, names, (run,), network=network, **options).first_task_keys[0]


def test_what_takes_effect_later_has_no_say_in_the_key() -> None:
    stream = small_stream()
    assert keys(stream) == keys(small_stream(), trial=7, ewc_lambda=3.0, ewc_gamma=0.5)


def other_class(stream: Stream) -> Stream:
    y = stream.y.clone()
    y[stream.tasks[0].train[0]] ^= 1
    return replace(stream, y=y)


def brighter(stream: Stream) -> Stream:
    x = stream.x.clone()
    x[-1] += 1e-3
    return replace(stream, x=x)


def without_one(stream: Stream) -> Stream:
    first, *rest = stream.tasks
    return replace(stream, tasks=(replace(first, train=first.train[1:]), *rest))


OTHER_STREAMS: dict[str, Callable[[Stream], Stream]] = {
    "label": other_class,
    "example": brighter,
    "split": without_one,
    "shift": lambda s: replace(s, shift=s.shift + 0.1),
    "scale": lambda s: replace(s, scale=s.scale * 2),
    "fewer tasks": lambda s: replace(s, tasks=s.tasks[:2]),
    "augmented": lambda s: replace(s, augment=("crop",)),
}


@pytest.mark.parametrize("change", OTHER_STREAMS)
def test_other_data_has_another_key(change: str) -> None:
    stream = small_stream()
    assert keys(OTHER_STREAMS[change](stream)) != keys(stream)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"lr": 0.011},
        {"momentum": 0.5},
        {"weight_decay": 0.1},
        {"epochs": 4},
        {"optimizer": "sgd"},
        {"optimizer_state": "kept"},
        {"ewc_fisher": "empirical"},
        {"scenario": "class-il"},
        {"curves": 2},
        {"names": ()},
        {"names": ("ewc", "l2-sp")},
        {"network": CNN},
        {"network": NetworkConfig(name="mlp", args={"hidden": [12, 8]})},
    ],
    ids=str,
)
def test_whatever_takes_effect_has_a_say_in_the_key(change: dict[str, Any]) -> None:
    stream = small_stream()
    assert keys(stream, **change) != keys(stream)


def test_the_rate_of_packnet_takes_effect_in_the_middle_of_the_first_task() -> None:
    stream = small_stream()
    assert keys(stream, ("packnet",), packnet_rate=0.3) != keys(stream, ("packnet",), packnet_rate=0.4)


def test_a_network_of_ones_own_that_computes_something_else_has_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    stream, before = small_stream(), keys(small_stream(), network=UNLIFTABLE)
    made = packs.unliftable

    def doubled(input_shape: tuple[int, ...], n_outputs: int) -> torch.nn.Module:
        module = made(input_shape, n_outputs)
        forward = module.forward
        module.forward = lambda x: 2 * forward(x)  # type: ignore[method-assign]
        return module

    assert keys(stream, network=UNLIFTABLE) == before
    monkeypatch.setattr(packs, "unliftable", doubled)
    assert keys(stream, network=UNLIFTABLE) != before


def test_a_transform_of_ones_own_whose_code_has_changed_has_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = replace(small_stream(), augment=("tests.training.own_transforms:jitter",))
    before = keys(stream)
    assert keys(stream) == before
    monkeypatch.setattr(first_task_cache.own_code, "digests", lambda modules: dict.fromkeys(modules, "other"))
    assert keys(stream) != before


def test_other_code_and_another_device_have_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = small_stream()
    before = keys(stream)
    with monkeypatch.context() as patched:
        patched.setattr(first_task_cache, "_device_kind", lambda device: "another")
        assert keys(stream) != before
    read = Path.read_text

    def changed(path: Path, *args: Any, **options: Any) -> str:
        return read(path, *args, **options) + ("# changed" if path.name == "optimizers.py" else "")

    made_by = first_task_cache.made_by()
    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_text", changed)
        first_task_cache.made_by.cache_clear()
        assert first_task_cache.made_by() != made_by
        assert keys(stream) != before
    first_task_cache.made_by.cache_clear()
    assert keys(stream) == before


def test_naive_and_joint_share_their_first_task() -> None:
    stream, shelf = small_stream(), Shelf()
    runs = (RunSpec(0, 0, values_of(())),)
    for joint in (False, True):
        spec = PackSpec(MLP, "task-il", (), runs, joint=joint)
        plain, pack = finish(Pack(spec, stream)), finish(Pack(spec, stream, first_tasks=shelf))
        assert_same(pack, plain)
    assert len(shelf.contents) == len(shelf.found) == 1


def test_nothing_is_shared_where_nothing_is_to_be(trained: list[tuple[int, int]]) -> None:
    shelf, runs = Shelf(), runs_of(("ewc",), range(3), 1)
    pack_on(shelf, small_stream(), ("ewc",), runs, share_first_task=False).train_next_task()
    assert trained == [(0, 3)]
    assert not shelf.contents


def test_a_first_task_travels_whole() -> None:
    stream, shelf = small_stream(), Shelf()
    pack = pack_on(shelf, stream, ("ewc",), runs_of(("ewc",), [0], optimizer_state="kept"))
    pack.train_next_task()
    ((_, content),) = shelf.contents.items()
    kept = FirstTask.from_bytes(content, torch.device("cpu"))
    assert kept.row is not None
    assert torch.equal(kept.row["theta"], pack.stack.theta[0])
    assert kept.row["optimizer_steps"] == pack.stack.optimizer_steps == 15
    record = kept.record_of(4, 0)
    assert record.key == (4, 0)
    assert replace(record, trial=0, stored_bytes=pack.records[0].stored_bytes) == pack.records[0]
    numbers = sum(np.prod(t.shape) for t in [kept.row["theta"], *kept.row["optimizer"].values()])
    assert len(content) < 4 * numbers * 4, "a row, not the whole stack"
