"""What the examples of a task are for: steering beside validation, and several splits, for every stream."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cfsweep.config import StreamConfig
from cfsweep.errors import InputError
from cfsweep.training.engine.store import store_on
from cfsweep.training.streams import Stream, Task, load_stream, registry
from cfsweep.training.streams._assemble import stratified_cut
from tests.training.streams.test_streams import needs_data, write_cifar

Load = Callable[..., Stream]
CIFARS = {"split-cifar10": "CIFAR10", "split-cifar100": "CIFAR100"}
EMBEDDED = ("split-digits", "own function", "own folder", "own columns")


def own_tasks() -> list[Any]:
    """Three tasks of 3 classes, two of them shared, whose test data are to be chosen."""
    rng = np.random.default_rng(0)
    return [((rng.normal(size=(91 + k, 4)), k + np.arange(91 + k) % 3),) for k in range(3)]


def own_columns() -> list[Any]:
    """The same, of numbers that float32 would round too much, with test data."""
    return [((x + 1e9, y), (x[:9] + 1e9, y[:9])) for ((x, y),) in own_tasks()]


@pytest.fixture(
    params=[
        *EMBEDDED,
        *CIFARS,
        *(pytest.param(name, marks=needs_data) for name in registry if name not in (*EMBEDDED, *CIFARS)),
    ]
)
def load(request: pytest.FixtureRequest, tmp_path: Path) -> Load:
    """Loads a stream with other settings; each built-in one, and those of one's own."""
    name, given = request.param, {}
    if name in CIFARS:
        write_cifar(tmp_path, CIFARS[name], per_class=9)
        given = {"data": str(tmp_path)}
    elif name == "own folder":
        for k, ((x, y),) in enumerate(own_tasks()):
            np.savez(tmp_path / f"task-{k}.npz", x_train=x, y_train=y, x_test=x[:9], y_test=y[:9])
        name = str(tmp_path)
    elif name in ("own function", "own columns"):
        name = f"{__name__}:{name.replace('own function', 'own_tasks').replace(' ', '_')}"
    elif name == "permuted-mnist":
        given = {"n_tasks": 2}
    return lambda **settings: load_stream(StreamConfig(name=name, **given, **settings))


def same_parts(one: Task, other: Task, *parts: str) -> bool:
    return all(np.array_equal(one.parts[part], other.parts[part]) for part in parts)


def assert_cut(stream: Stream, task: Task, shares: dict[str, float]) -> None:
    """No example has two uses, and each share of each class is there, rounded half up."""
    together = np.concatenate(list(task.parts.values()))
    assert len(np.unique(together)) == len(together)
    assert all(rows.dtype == np.int64 and (np.diff(rows) > 0).all() for rows in task.parts.values())
    y = stream.y.numpy()
    for label in task.classes:
        n = {part: int((y[rows] == label).sum()) for part, rows in task.parts.items()}
        whole = n["train"] + n["validation"] + n["steering"]
        for part, share in shares.items():
            assert n[part] == int(share * whole + 0.5) >= 1
        assert n["train"] >= 1


def test_steering_examples_are_cut_from_the_training_data_alone(load: Load) -> None:
    for validation, steering, seed in ((0.1, 0.1, 0), (0.2, 0.3, 7)):
        settings: dict[str, Any] = {"validation_frac": validation, "split_seed": seed}
        before, stream = load(**settings), load(steering_frac=steering, **settings)
        assert before.digest != stream.digest
        for old, task in zip(before.tasks, stream.tasks, strict=True):
            assert_cut(stream, old, {"validation": validation})
            assert_cut(stream, task, {"validation": validation, "steering": steering})
            assert len(old.steering) == 0
            assert same_parts(old, task, "validation", "test")
            assert np.array_equal(np.sort(np.concatenate([task.train, task.steering])), old.train)


def test_splits_share_examples_and_test_data_and_cut_the_rest_anew(load: Load) -> None:
    shares = {"validation": 0.2, "steering": 0.1}
    settings: dict[str, Any] = {"validation_frac": 0.2, "steering_frac": 0.1, "split_seed": 3}
    alone, stream = load(**settings), load(splits=3, **settings)
    splits = [stream.of_split(number) for number in range(3)]
    assert splits[0] is stream
    assert stream.of_split(2) is splits[2]
    assert len({split.digest for split in splits}) == 3
    assert stream.digest == alone.digest, "the first one is that of a study without others"
    for split in splits:
        assert split.x is stream.x
        assert split.y is stream.y
        assert (split.files, split.standardised) == (stream.files, stream.standardised)
        for task, first in zip(split.tasks, stream.tasks, strict=True):
            assert_cut(split, task, shares)
            assert (task.name, task.classes) == (first.name, first.classes)
            assert same_parts(task, first, "test")
            assert [len(part) for part in task.parts.values()] == [len(part) for part in first.parts.values()]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        for task, another in zip(splits[one].tasks, splits[other].tasks, strict=True):
            assert not np.array_equal(task.validation, another.validation)
    again = load(splits=2, **settings).of_split(1)
    assert again.digest == splits[1].digest, "further splits change none"


def test_further_splits_go_by_the_seed_of_the_split_too(load: Load) -> None:
    """Two studies that differ in it share no way of cutting the data."""
    one, other = (load(splits=2, split_seed=seed) for seed in (3, 4))
    for number in (0, 1):
        pairs = zip(one.of_split(number).tasks, other.of_split(number).tasks, strict=True)
        assert not all(same_parts(first, second, "validation") for first, second in pairs)


def test_each_split_is_standardised_by_its_own_training_examples(load: Load) -> None:
    stream = load(splits=2, steering_frac=0.2, standardise="scalar")
    for split in map(stream.of_split, range(2)):
        train = np.concatenate([task.train for task in split.tasks])
        seen = (split.x[train].double() - split.shift) * split.scale
        assert abs(float(seen.mean())) < 1e-5
        assert abs(float(seen.std(unbiased=False)) - 1) < 1e-5
    assert stream.shift != stream.of_split(1).shift


def test_the_streams_here_are_all_there_are() -> None:
    assert registry.keys() - {*EMBEDDED, *CIFARS} == {
        *("split-mnist", "split-fashion-mnist", "permuted-mnist", "mnist-halves", "mnist-fashion")
    }


@needs_data
def test_an_image_has_one_use_in_all_permutations() -> None:
    stream = load_stream(StreamConfig(name="permuted-mnist", n_tasks=2, steering_frac=0.1, splits=2))
    n_images = len(stream.x) // 2
    for split in map(stream.of_split, range(2)):
        for part, rows in split.tasks[0].parts.items():
            assert np.array_equal(split.tasks[1].parts[part], rows + n_images)


def test_a_cut_by_hand_and_against_a_slow_one() -> None:
    """8 of one class and 5 of another by 0.25 and 0.3: 2 and 2 (2.4) of the one, 1 (1.25) and 2 (1.5) of the other."""
    labels = np.array([0] * 8 + [1] * 5)
    kept, first, second = stratified_cut(labels, (0.25, 0.3), 0, "here")
    assert [np.bincount(labels[part]).tolist() for part in (kept, first, second)] == [[4, 2], [2, 1], [2, 2]]
    for seed in range(20):
        labels = np.random.default_rng(seed).integers(0, 3, size=60)
        rng, expected = np.random.default_rng(seed), ([], [], [])
        for label in range(3):
            order = rng.permutation(np.flatnonzero(labels == label)).tolist()
            n, m = int(0.2 * len(order) + 0.5), int(0.35 * len(order) + 0.5)
            for part, members in zip(expected, (order[n + m :], order[:n], order[n : n + m]), strict=True):
                part.extend(members)
        found = stratified_cut(labels, (0.2, 0.35), seed, "here")
        assert [part.tolist() for part in found] == [sorted(part) for part in expected]
        assert np.array_equal(found[1], stratified_cut(labels, (0.2,), seed, "here")[1])


def test_too_few_examples_for_both_shares_are_refused_in_one_line() -> None:
    said = r"validation_frac=0.5, steering_frac=0.5: too few .* a share of 0.5 and of 0.5 of its \d+ .* and 0\. Add"
    with pytest.raises(InputError, match=said) as caught:
        load_stream(StreamConfig(validation_frac=0.5, steering_frac=0.5))
    assert "\n" not in str(caught.value)


def test_a_digest_tells_what_is_for_steering() -> None:
    stream = load_stream(StreamConfig(steering_frac=0.1))
    first, *others = stream.tasks
    moved = replace(first, steering=first.steering[1:], train=np.sort(np.append(first.train, first.steering[0])))
    swapped = replace(first, steering=first.validation, validation=first.steering)
    digests = {replace(stream, tasks=(task, *others)).digest for task in (first, moved, swapped)}
    assert len(digests) == 3


# ------------------------------------------------------------------------------------------------ where they train


def test_splits_that_take_turns_are_each_made_ready_once(monkeypatch: pytest.MonkeyPatch) -> None:
    stream, device = load_stream(StreamConfig(splits=3)), torch.device("cpu")
    stores = [store_on(device, stream.of_split(k % 3)) for k in range(9)]
    assert [store is stores[k % 3] for k, store in enumerate(stores)] == [True] * 9
    for number, store in enumerate(stores[:3]):
        split = stream.of_split(number)
        rows = torch.from_numpy(split.tasks[0].train)
        assert torch.equal(store[rows], (split.x[rows].float() - split.shift) * split.scale)
    monkeypatch.setattr("cfsweep.training.engine.store.FLOAT_BYTES", 2 * 4 * stream.x.numel())
    fresh = replace(stream, x=stream.x + 1)
    kept = [store_on(device, fresh.of_split(k)) for k in (0, 1, 2, 1)]
    assert kept[3] is kept[1], "two fit"
    assert store_on(device, fresh) is not kept[0], "and no third one"


def test_splits_of_a_large_stream_have_its_examples_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cfsweep.training.engine.store.FLOAT_BYTES", 1)
    stream, device = load_stream(StreamConfig(splits=2)), torch.device("cpu")
    one, other = store_on(device, stream), store_on(device, stream.of_split(1))
    assert other.x is one.x
    rows = torch.arange(5)
    for split, store in ((stream, one), (stream.of_split(1), other)):
        assert torch.equal(store[rows], (split.x[rows].float() - split.shift) * split.scale)


def test_refitted_each_split_trains_on_its_validation_examples_too(load: Load) -> None:
    stream = load(splits=2, validation_frac=0.2, steering_frac=0.1)
    whole = stream.refitted()
    assert (whole.x is stream.x, whole.standardised) == (True, stream.standardised)
    for number in range(2):
        for task, before in zip(whole.of_split(number).tasks, stream.of_split(number).tasks, strict=True):
            assert task.train.tolist() == sorted({*before.train.tolist(), *before.validation.tolist()})
            assert (len(task.validation), task.train.dtype) == (0, np.int64)
            assert same_parts(task, before, "test", "steering")
    assert whole.of_split(1).digest != whole.digest != stream.digest
    assert len(stream.tasks[0].validation), "what it was made of stays"
