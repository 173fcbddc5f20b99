"""Scenarios by hand: which label, which outputs; and how answers are counted."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from cfsweep.config import SCENARIOS, Scenario
from cfsweep.errors import InputError
from cfsweep.testing.packs import CNN, MLP, finish, make_pack, small_stream
from cfsweep.training.pack import Pack
from cfsweep.training.streams import Stream, Task
from cfsweep.training.targets.classification import Classification, masked_log_softmax


def three_tasks() -> Stream:
    """Classes (0, 2), (1, 3) and (4,); examples in the order of the labels below, one per part."""
    y = torch.tensor([0, 2, 0, 1, 3, 3, 4, 4, 4])
    tasks = [
        Task(str(k), classes, *(np.array([3 * k + part]) for part in range(3)))
        for k, classes in enumerate([(0, 2), (1, 3), (4,)])
    ]
    return Stream("by hand", torch.zeros(9, 2), y, tuple(tasks))


def active(mask: torch.Tensor) -> list[int]:
    return [int(i) for i in mask.nonzero().flatten()]


def test_task_il_by_hand() -> None:
    outputs = Classification().outputs(three_tasks(), "task-il")
    assert outputs.n_outputs == 5
    assert outputs.labels.tolist() == [0, 2, 0, 1, 3, 3, 4, 4, 4]
    assert outputs.task_of.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    for learned in (0, 1, 2, -1):
        assert [active(outputs.masks[learned, i]) for i in range(3)] == [[0, 2], [1, 3], [4]]


def test_class_il_by_hand() -> None:
    outputs = Classification().outputs(three_tasks(), "class-il")
    assert outputs.labels.tolist() == [0, 2, 0, 1, 3, 3, 4, 4, 4]
    for learned, classes in ((0, [0, 2]), (1, [0, 1, 2, 3]), (2, [0, 1, 2, 3, 4]), (-1, [0, 1, 2, 3, 4])):
        assert all(active(outputs.masks[learned, i]) == classes for i in range(3))


def test_domain_il_by_hand() -> None:
    outputs = Classification().outputs(three_tasks(), "domain-il")
    assert outputs.n_outputs == 2
    assert outputs.labels.tolist() == [0, 1, 0, 0, 1, 1, 0, 0, 0]
    assert outputs.masks.all()


def stream_of(*classes: tuple[int, ...], class_ids: tuple[int, ...] = ()) -> Stream:
    """A task for each tuple, with one training example of each of its classes."""
    tasks, at = [], 0
    for number, own in enumerate(classes):
        rows, at = np.arange(at, at + len(own)), at + len(own)
        tasks.append(Task(str(number), own, rows, rows[:0], rows[:0]))
    y = torch.tensor([label for own in classes for label in own])
    return Stream("by hand", torch.zeros(at, 2), y, tuple(tasks), class_ids=class_ids)


@pytest.mark.parametrize(
    ("classes", "labels"),
    [
        ([(0, 1), (0, 1)], [0, 1, 0, 1]),
        ([(0, 1, 2), (1, 2)], [0, 1, 2, 1, 2]),  # a task that lacks a class moves no other
        ([(1, 2), (0, 1, 2)], [1, 2, 0, 1, 2]),
        ([(0, 1), (2, 3), (1, 2)], [0, 1, 2, 3, 1, 2]),  # the last ties the first two
        ([(0, 1), (2, 3)], [0, 1, 0, 1]),
        ([(0, 1, 2), (3, 4)], [0, 1, 2, 0, 1]),
        ([(2, 3), (0, 1)], [0, 1, 0, 1]),
        ([(0, 1, 2)], [0, 1, 2]),
    ],
)
def test_in_domain_il_tasks_that_share_classes_share_outputs(classes: list[tuple[int, ...]], labels: list[int]) -> None:
    outputs = Classification().outputs(stream_of(*classes), "domain-il")
    assert outputs.labels.tolist() == labels
    assert outputs.n_outputs == max(labels) + 1
    assert outputs.meaning.startswith("an output is a class")
    assert ("place" in outputs.meaning) == (len({c for own in classes for c in own}) == len(labels))


@pytest.mark.parametrize(
    ("classes", "shared", "apart"),
    [
        ([(0, 1), (0, 1), (2, 3)], "10", "2"),
        ([(0, 1), (2, 3), (2, 3)], "12", "1"),
        ([(0, 1), (1, 2), (3, 4), (4, 5)], "11", "2"),
    ],
)
def test_in_domain_il_some_that_share_classes_beside_others_are_refused(
    classes: list[tuple[int, ...]], shared: str, apart: str
) -> None:
    with pytest.raises(InputError) as caught:
        Classification().outputs(stream_of(*classes, class_ids=(10, 11, 12, 13, 14, 15)), "domain-il")
    line = str(caught.value)
    assert f"but some share class {shared}, and task `{apart}` has none of the classes of task `0`. Give" in line
    assert "\n" not in line
    for scenario in ("task-il", "class-il"):
        Classification().outputs(stream_of(*classes), scenario)


@pytest.mark.parametrize("seed", range(30))
def test_whether_tasks_share_classes_is_what_a_search_over_all_chains_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    classes = [tuple(sorted(rng.choice(6, rng.integers(1, 4), replace=False).tolist())) for _ in range(4)]
    linked = np.array([[bool(set(a) & set(b)) for b in classes] for a in classes])
    all_tied = bool(np.linalg.matrix_power(linked.astype(int), 4).all())
    none_tied = linked.sum() == 4
    stream = stream_of(*classes)
    if not all_tied and not none_tied:
        with pytest.raises(InputError, match="either all tasks share classes or no two do"):
            Classification().outputs(stream, "domain-il")
        return
    labels = Classification().outputs(stream, "domain-il").labels.tolist()
    by_place = [place for own in classes for place in range(len(own))]
    assert labels == (by_place if none_tied else stream.y.tolist())


def test_masked_log_softmax_is_the_softmax_of_the_active_outputs() -> None:
    logits, mask = torch.randn(4, 5), torch.tensor([True, False, True, True, False])
    log_p = masked_log_softmax(logits, mask)
    torch.testing.assert_close(log_p[:, mask], torch.log_softmax(logits[:, mask], -1))
    assert (log_p[:, ~mask] == -torch.inf).all()


def answers_one_by_one(pack: Pack, task: int, part: str) -> list[int]:
    """What the network chooses for each example, by a loop over examples and outputs."""
    stream, chosen = pack.stream, []
    learned, scenario = pack.next_task, pack.spec.scenario
    parameters = {k: v[0] for k, v in pack.context.layout.unflatten(pack.scoring.weights_for(task, learned)).items()}
    for index in getattr(stream.tasks[task], part):
        x = (stream.x[index : index + 1] - stream.shift) * stream.scale
        logits = torch.func.functional_call(pack.context.lifted.module, parameters, (x,))[0].tolist()
        candidates = list(range(len(logits)))
        if scenario == "task-il":
            candidates = list(stream.tasks[task].classes)
        elif scenario == "class-il" and learned:
            candidates = [c for k in range(learned) for c in stream.tasks[k].classes]
        chosen.append(max(candidates, key=lambda c: logits[c]))
    return chosen


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_evaluation_is_a_plain_loop(scenario: Scenario) -> None:
    stream = small_stream()
    for network in (MLP, CNN):
        pack = make_pack(stream, ("ewc",), scenario=scenario, network=network)
        while True:
            for task, part in ((t, p) for t in range(3) for p in ("validation", "test")):
                chosen = answers_one_by_one(pack, task, part)
                assert pack.predictions(task, part)[0].tolist() == chosen
                labels = Classification().outputs(stream, scenario).labels[getattr(stream.tasks[task], part)].numpy()
                if pack.next_task:
                    score = int((np.array(chosen) == labels).sum()) / len(labels)
                    assert getattr(pack.records[0], part)[-1][task] == score
            if pack.done:
                break
            pack.train_next_task()


def test_accuracy_matrix_is_filled_and_starts_with_the_untrained_network() -> None:
    stream = small_stream()
    untrained = make_pack(stream)
    right = [
        int((untrained.predictions(i)[0] == untrained.context.outputs.labels[task.test]).sum()) / len(task.test)
        for i, task in enumerate(stream.tasks)
    ]
    record = finish(make_pack(stream)).records[0]
    assert np.shape(record.test) == np.shape(record.validation) == (4, 3)
    assert record.test[0] == right
    assert all(record.test[t + 1][t] >= 6 / 8 for t in range(3)), "each task is learned when its turn comes"


def test_evaluation_in_chunks_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = dataclasses.replace(small_stream())
    whole = finish(make_pack(stream)).records[0]
    monkeypatch.setattr("cfsweep.training.engine.evaluation.CHUNK_FLOATS", 1)
    assert finish(make_pack(stream)).records[0].test == whole.test


def test_sampled_labels_follow_the_softmax_and_are_active() -> None:
    torch.manual_seed(0)
    n, target = 20_000, Classification()
    logits = 2 * torch.randn(6)
    mask = torch.tensor([0, 1, 1, 0, 1, 0], dtype=torch.bool)
    labels = target.sample(logits.expand(n, 6), mask.expand(n, 6), torch.rand(n))
    p = masked_log_softmax(logits, mask).exp()
    frequency = torch.bincount(labels, minlength=6) / n
    assert (frequency[~mask] == 0).all()
    assert ((frequency - p).abs() < 4 * (p * (1 - p) / n).sqrt() + 1e-9).all()
    top = torch.full((5,), np.nextafter(np.float32(1), np.float32(0)))
    for _ in range(20):  # a total just under the uniform number must not choose an inactive output
        assert mask[target.sample(2 * torch.randn(5, 6), mask.expand(5, 6), top)].all()


@pytest.mark.parametrize("seed", range(3))
def test_losses_and_likelihoods_are_those_of_autograd_and_torch(seed: int) -> None:
    torch.manual_seed(seed)
    target, mask = Classification(), torch.rand(3, 7, 5) < 0.6
    mask[..., 2] = True
    labels = torch.distributions.Categorical(mask.float()).sample()
    outputs = (3 * torch.randn(3, 7, 5)).requires_grad_(True)
    alone = [
        torch.nn.functional.cross_entropy(o[m][None], (m.cumsum(0) - 1)[label][None])
        for o, m, label in zip(outputs.flatten(0, 1), mask.flatten(0, 1), labels.flatten(), strict=True)
    ]
    expected = torch.stack(alone).view(3, 7)
    torch.testing.assert_close(target.losses(outputs, labels, mask), expected)
    torch.testing.assert_close(target.log_likelihood(outputs, labels, mask), -expected)
    mean, gradient = target.loss_and_gradient(outputs.detach(), labels, mask)
    torch.testing.assert_close(mean, expected.mean(1))
    torch.testing.assert_close(gradient, torch.autograd.grad(expected.mean(1).sum(), outputs, retain_graph=True)[0])
    found = target.log_likelihood_gradient(outputs.detach(), labels, mask)
    torch.testing.assert_close(found, torch.autograd.grad(-expected.sum(), outputs)[0])


def test_the_variance_of_an_accuracy_is_that_of_a_binomial() -> None:
    score = Classification.scores[0]
    assert score.name == "accuracy"
    assert score.bounds == (0.0, 1.0)
    assert score.variance is not None
    assert score.variance(np.array([0.5, 1.0]), np.array([4.0, 9.0])).tolist() == [0.0625, 0.0]
