"""The constant answer by hand, and against a slow search over what a network that ignores its input could answer."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from cfsweep.config import SCENARIOS, Scenario
from cfsweep.metrics import forward_transfer
from cfsweep.testing import small_stream
from cfsweep.training.constant_answer import class_counts, constant_answer, majority_shares
from cfsweep.training.streams import Stream, Task
from cfsweep.training.targets.classification import Classification

Counts = tuple[dict[int, int], dict[int, int], dict[int, int]]  # of training, validation, test, by class


def stream_of(*tasks: Counts, class_ids: tuple[int, ...] = ()) -> Stream:
    """A stream with so many examples of each class in each part of each task."""
    labels: list[int] = []
    made = []
    for number, parts in enumerate(tasks):
        places = []
        for part in parts:
            begin = len(labels)
            labels += [label for label, n in part.items() for _ in range(n)]
            places.append(np.arange(begin, len(labels)))
        made.append(Task(f"month {number}", tuple(sorted(set(parts[0]))), *places))
    return Stream("by hand", torch.zeros(len(labels), 1), torch.tensor(labels), tuple(made), class_ids=class_ids)


BINARY = stream_of(
    ({0: 9, 1: 1}, {0: 4, 1: 1}, {0: 3, 1: 1}),
    ({0: 2, 1: 13}, {0: 1, 1: 3}, {0: 1, 1: 1}),
    ({0: 9, 1: 4}, {0: 3, 1: 1}, {0: 9, 1: 1}),
)
APART = stream_of(
    ({0: 3, 1: 5}, {0: 1, 1: 4}, {0: 1, 1: 1}),
    ({2: 7, 3: 1}, {2: 3, 3: 1}, {2: 1, 3: 3}),
)


def test_in_domain_il_by_hand() -> None:
    """After the second task there were 11 of class 0 and 14 of class 1, after the third 20 and 18."""
    found = constant_answer(BINARY, "domain-il").steering
    assert found["validation"] == [[0.5, 0.5, 0.5], [0.8, 0.25, 0.75], [0.2, 0.75, 0.25], [0.8, 0.25, 0.75]]
    assert found["test"] == [[0.5, 0.5, 0.5], [0.75, 0.5, 0.9], [0.25, 0.5, 0.1], [0.75, 0.5, 0.9]]


def test_in_task_il_each_task_has_an_answer_of_its_own() -> None:
    """Also where all share their outputs: the task is known."""
    assert constant_answer(APART, "task-il").steering["validation"] == [[0.5, 0.5], [0.8, 0.5], [0.8, 0.75]]
    assert constant_answer(BINARY, "task-il").steering["validation"] == [
        [0.5, 0.5, 0.5],
        [0.8, 0.5, 0.5],
        [0.8, 0.75, 0.5],
        [0.8, 0.75, 0.75],
    ]


def test_in_class_il_one_answer_stands_for_all_classes_so_far() -> None:
    """Five of class 1, then seven of class 2."""
    assert constant_answer(APART, "class-il").steering["validation"] == [[0.25, 0.25], [0.8, 0.0], [0.0, 0.75]]


def test_where_no_two_tasks_share_a_class_domain_il_answers_with_a_place() -> None:
    """Three of the first and five of the second place, then ten and six."""
    assert constant_answer(APART, "domain-il").steering["validation"] == [[0.5, 0.5], [0.8, 0.25], [0.2, 0.75]]


def test_the_lowest_of_equals_is_the_answer() -> None:
    even = ({2: 5, 0: 5, 1: 4}, {0: 1, 1: 2, 2: 4}, {0: 1, 1: 1, 2: 2})
    assert constant_answer(stream_of(even, even), "domain-il").steering["test"][1:] == [[0.25, 0.25]] * 2


def test_ties_are_seen_though_shares_are_not_exact() -> None:
    """14 of class 0 and of class 1 in all; as floats, 1 / 14 * 14 + 13 / 23 * 23 is less than 14."""
    first = ({0: 1, 1: 13}, {0: 3, 1: 1}, {0: 1, 1: 1})
    later = ({0: 13, 1: 1, 2: 9}, {0: 1, 1: 1, 2: 2}, {0: 1, 1: 1, 2: 2})
    assert 1 / 14 * 14 + 13 / 23 * 23 < 14
    assert constant_answer(stream_of(first, later), "domain-il").steering["validation"][2] == [0.75, 0.25]


def random_stream(rng: np.random.Generator) -> Stream:
    """Up to four tasks of some of four classes, few examples each, so that there are ties."""
    shared = bool(rng.integers(2))
    tasks: list[Counts] = []
    for number in range(int(rng.integers(2, 5))):
        classes = rng.permutation(4)[: rng.integers(1, 5)].tolist() if shared else [2 * number, 2 * number + 1]
        classes = sorted({0, *classes}) if shared else classes  # class 0 ties them
        tasks.append(tuple({c: int(rng.integers(1, 6)) for c in classes} for _ in range(3)))  # type: ignore[arg-type]
    return stream_of(*tasks)


def slow(stream: Stream, scenario: Scenario, part: str, after: int, task: int) -> float:
    """One cell by lists and counters."""
    outputs = Classification().outputs(stream, scenario)
    active = outputs.masks[after, task].nonzero().flatten().tolist()
    answers = [outputs.labels[i].item() for i in getattr(stream.tasks[task], part)]
    if scenario == "task-il":
        known = [task] if task <= after else []
    else:
        known = list(range(after + 1))
    trained = Counter(outputs.labels[i].item() for k in known for i in stream.tasks[k].train)
    best = [label for label in active if trained[label] and trained[label] == max(trained[k] for k in active)]
    chances = [answers.count(label) / len(answers) for label in (best[:1] or active)]
    return sum(chances) / len(chances)


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("seed", range(20))
def test_it_is_what_counting_by_hand_gives(seed: int, scenario: Scenario) -> None:
    stream = random_stream(np.random.default_rng(seed))
    found = constant_answer(stream, scenario).steering
    assert set(found) == {"validation", "test"}
    n_tasks = len(stream.tasks)
    for part, rows in found.items():
        by_hand = [[slow(stream, scenario, part, t, i) for i in range(n_tasks)] for t in range(-1, n_tasks)]
        np.testing.assert_allclose(rows, by_hand, rtol=1e-12)


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("seed", range(10))
def test_no_bias_alone_learns_a_better_answer_for_the_training_data(seed: int, scenario: Scenario) -> None:
    """A network that ignores its input has one vector of outputs, and in task-il may have one for each task. None of
    many answers more of the data that it has seen than the constant answer does, evaluated on just those."""
    rng = np.random.default_rng(seed)
    stream = random_stream(rng)
    stream = replace(stream, tasks=tuple(replace(task, validation=task.train) for task in stream.tasks))
    outputs, target = Classification().outputs(stream, scenario), Classification()
    n = np.array([len(task.train) for task in stream.tasks])
    last = len(stream.tasks) - 1
    best = np.array(constant_answer(stream, scenario).steering["validation"][-1])

    def right(bias: torch.Tensor) -> np.ndarray:
        shares = []
        for number, task in enumerate(stream.tasks):
            answer = target.predict(bias.expand(1, len(task.train), -1), outputs.masks[last, number])
            shares.append(float(target.scores[0].of(answer, outputs.labels[task.train])))
        return np.array(shares)

    found = np.array([right(torch.randn(outputs.n_outputs)) for _ in range(200)])
    if scenario == "task-il":
        assert (found <= best + 1e-12).all()
    assert (found @ n).max() <= best @ n + 1e-9


def test_nothing_learned_is_no_forward_transfer_in_task_il() -> None:
    rows = np.array(constant_answer(APART, "task-il").steering["validation"])
    assert forward_transfer(rows[1:], rows[0]) == 0.0


def test_classes_are_counted_by_the_users_names() -> None:
    named = replace(APART, class_ids=(10, 20, 30, 40))
    assert class_counts(APART) == [{0: (3, 0, 1), 1: (5, 0, 4)}, {2: (7, 0, 3), 3: (1, 0, 1)}]
    assert class_counts(named) == [{10: (3, 0, 1), 20: (5, 0, 4)}, {30: (7, 0, 3), 40: (1, 0, 1)}]
    first, second = APART.tasks
    steered = replace(first, train=first.train[:-2], steering=first.train[-2:])  # the last two are of class 1
    assert class_counts(replace(APART, tasks=(steered, second)))[0] == {0: (3, 0, 1), 1: (3, 2, 4)}
    assert majority_shares(named) == [0.8, 0.75]


def test_where_no_example_validates_the_shares_are_of_those_to_train_on() -> None:
    whole = APART.refitted()
    assert majority_shares(whole) == [9 / 13, 10 / 12]
    assert set(constant_answer(whole, "task-il", ("test",)).steering) == {"test"}


def test_of_a_stream_of_images() -> None:
    stream = small_stream()
    found = np.array(constant_answer(stream, "class-il").steering["test"])
    assert found.shape == (len(stream.tasks) + 1, len(stream.tasks))
    assert ((found >= 0) & (found <= 1)).all()


# ------------------------------------------------------------------------------------------------ other scores


def test_scores_that_go_by_probabilities_see_how_often_each_label_occurs() -> None:
    """After the first task class 1 has a probability of 0.1; no example stands out, so that half of all pairs are in
    the right order."""
    stream = replace(BINARY, scores=("neg_log_loss", "roc_auc", "accuracy", "balanced_accuracy"))
    found = constant_answer(stream, "domain-il")
    assert found.scores["accuracy"] == constant_answer(BINARY, "domain-il").steering
    assert found.scores["roc_auc"]["validation"] == [[0.5] * 3] * 4
    assert found.scores["balanced_accuracy"]["validation"] == [[0.5] * 3] * 4
    rows = found.steering["validation"]
    assert rows[0] == pytest.approx([np.log(0.5)] * 3)
    assert rows[1][0] == pytest.approx(0.8 * np.log(0.9) + 0.2 * np.log(0.1))
    assert rows[2][1] == pytest.approx(0.25 * np.log(11 / 25) + 0.75 * np.log(14 / 25))
    assert set(found.further["validation"]) == {"roc_auc", "accuracy", "balanced_accuracy"}


def test_of_amounts_it_is_the_mean_of_the_training_data_so_far() -> None:
    stream = amounts_stream([1.0, 3.0, 10.0], [5.0, 7.0, 9.0])
    found = constant_answer(stream, "domain-il").steering["validation"]
    assert found[0] == pytest.approx([-8.0, -7.0]), "the mean of the first task's, before anything is learned"
    assert found[1] == pytest.approx([-8.0, -7.0])
    assert found[2] == pytest.approx([-6.0, -5.0])


def amounts_stream(*tasks: list[float]) -> Stream:
    """Each with so many training examples, of which the last one validates and tests."""
    labels = torch.tensor([amount for task in tasks for amount in task], dtype=torch.float64)[:, None]
    made = []
    for number, amounts in enumerate(tasks):
        *train, held_out = range(3 * number, 3 * number + len(amounts))
        made.append(Task(str(number), (), np.array(train), np.array([held_out]), np.array([held_out])))
    unit = (torch.tensor([2.0], dtype=torch.float64), torch.tensor([1.0], dtype=torch.float64))
    return Stream("amounts", torch.zeros(len(labels), 1), labels, tuple(made), unit=unit, target="regression")


def test_of_several_labels_it_is_how_often_each_holds() -> None:
    labels = torch.tensor([[1.0, 0], [1, 1], [0, 1], [1, 1]], dtype=torch.float64)
    task = Task("a", (), np.arange(3), np.array([2, 3]), np.array([3]))
    stream = Stream("labels", torch.zeros(4, 1), labels, (task,), target="multi-label", scores=("label_accuracy",))
    assert constant_answer(stream, "domain-il").steering["validation"] == [[0.25], [0.75]]
