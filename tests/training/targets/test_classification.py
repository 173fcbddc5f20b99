"""Scenarios by hand: which label, which outputs; and how answers are counted."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from cfsweep.config import SCENARIOS, Scenario
from cfsweep.training.targets.classification import masked_log_softmax, outputs_for
from cfsweep.training.pack import Pack
from cfsweep.training.streams import Stream, Task
from cfsweep.testing.packs import CNN, MLP, finish, make_pack, small_stream


def three_tasks() -> Stream:
    """Classes (0, 2), (1, 3) and (4,); examples in the order of the labels below, one per part."""
    y = torch.tensor([0, 2, 0, 1, 3, 3, 4, 4, 4])
    tasks = [
        Task(str(k), classes, *(np.array([3 * k + part]) for part in range(3)))
        for k, classes in enumerate([(0, 2), (1, 3), (4,)])
    ]
    return Stream("by hand", torch.zeros(9, 2), y, tuple(tasks))


def opened(mask: torch.Tensor) -> list[int]:
    return [int(i) for i in mask.nonzero().flatten()]


def test_task_il_by_hand() -> None:
    outputs = target_of("classification").outputs(three_tasks(), "task-il")
    assert outputs.n_outputs == 5
    assert outputs.labels.tolist() == [0, 2, 0, 1, 3, 3, 4, 4, 4]
    assert outputs.task_of.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    for learned in (0, 1, 2, -1):
        assert [opened(outputs.masks[learned, i]) for i in range(3)] == [[0, 2], [1, 3], [4]]


def test_class_il_by_hand() -> None:
    outputs = target_of("classification").outputs(three_tasks(), "class-il")
    assert outputs.labels.tolist() == [0, 2, 0, 1, 3, 3, 4, 4, 4]
    for learned, classes in ((0, [0, 2]), (1, [0, 1, 2, 3]), (2, [0, 1, 2, 3, 4]), (-1, [0, 1, 2, 3, 4])):
        assert all(opened(outputs.masks[learned, i]) == classes for i in range(3))


def test_domain_il_by_hand() -> None:
    outputs = target_of("classification").outputs(three_tasks(), "domain-il")
    assert outputs.n_outputs == 2
    assert outputs.labels.tolist() == [0, 1, 0, 0, 1, 1, 0, 0, 0]
    assert outputs.masks.all()


def test_masked_log_softmax_is_the_softmax_of_the_open_outputs() -> None:
    logits, mask = torch.randn(4, 5), torch.tensor([True, False, True, True, False])
    log_p = masked_log_softmax(logits, mask)
    torch.testing.assert_close(log_p[:, mask], torch.log_softmax(logits[:, mask], -1))
    assert (log_p[:, ~mask] == -torch.inf).all()


def answers_one_by_one(pack: Pack, task: int, part: str) -> list[int]:
    """What the network chooses for each example, by a loop over examples and outputs."""
    stream, chosen = pack.stream, []
    learned, scenario = pack.next_task, pack.spec.scenario
    parameters = {k: v[0] for k, v in pack.context.layout.unflatten(pack.weights_for(task, learned)).items()}
    for index in getattr(stream.tasks[task], part):
        x = (stream.x[index : index + 1] - stream.shift) * stream.scale
        logits = torch.func.functional_call(pack.context.lifted.module, parameters, (x,))[0].tolist()
        allowed = list(range(len(logits)))
        if scenario == "task-il":
            allowed = list(stream.tasks[task].classes)
        elif scenario == "class-il" and learned:
            allowed = [c for k in range(learned) for c in stream.tasks[k].classes]
        chosen.append(max(allowed, key=lambda c: logits[c]))
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
                right = (
                    np.array(chosen) == target_of("classification").outputs(stream, scenario).labels[getattr(stream.tasks[task], part)].numpy()
                ).sum()
                if pack.next_task:
                    assert getattr(pack.records[0], part)[-1][task] == right
            if pack.done:
                break
            pack.train_next_task()


def test_accuracy_matrix_is_filled_and_starts_with_the_untrained_network() -> None:
    stream = small_stream()
    untrained = make_pack(stream)
    right = [
        int((untrained.predictions(i)[0] == untrained.context.outputs.labels[task.test]).sum())
        for i, task in enumerate(stream.tasks)
    ]
    record = finish(make_pack(stream)).records[0]
    assert np.shape(record.test) == np.shape(record.validation) == (4, 3)
    assert record.test[0] == right
    assert all(record.test[t + 1][t] >= 6 for t in range(3)), "each task is learned when its turn comes"


def test_evaluation_in_chunks_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = dataclasses.replace(small_stream())
    whole = finish(make_pack(stream)).records[0]
    monkeypatch.setattr("cfsweep.training.evaluation.CHUNK_FLOATS", 1)
    assert finish(make_pack(stream)).records[0].test == whole.test
