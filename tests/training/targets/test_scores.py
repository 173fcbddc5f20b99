"""The scores against their definitions, written out as loops."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cfsweep.config import StreamConfig
from cfsweep.errors import InputError
from cfsweep.testing import finish, make_pack
from cfsweep.training.streams import Stream, load_stream
from cfsweep.training.targets import Score, _scores, registry, scores_of, target_of
from cfsweep.training.targets.classification import Classification
from cfsweep.training.targets.multi_label import MultiLabel

Values = NDArray[Any]


def scores(target: str) -> dict[str, Score]:
    return {score.name: score for score in target_of(target).scores}


# ------------------------------------------------------------------------------------------------ slow twins


def roc_auc(positive: list[bool], values: list[float]) -> float:
    """Mann & Whitney: how often a positive example has the larger value than a negative one; half of the ties."""
    pairs = [
        (a, b) for (yes, a), (no, b) in itertools.product(zip(positive, values, strict=True), repeat=2) if yes > no
    ]
    return sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs) / len(pairs)


def average_precision(positive: list[bool], values: list[float]) -> float:
    """The sum over the thresholds of how much recall it adds, times the precision there."""
    total, before, n = 0.0, 0.0, sum(positive)
    for threshold in sorted(set(values), reverse=True):
        taken = [yes for yes, value in zip(positive, values, strict=True) if value >= threshold]
        recall, precision = sum(taken) / n, sum(taken) / len(taken)
        total, before = total + (recall - before) * precision, recall
    return total


def f1(truth: list[bool], said: list[bool]) -> float:
    both = sum(a and b for a, b in zip(truth, said, strict=True))
    return 0.0 if not both else 2 * both / (sum(truth) + sum(said))


def macro(of_one: Any, truth: list[int], values: Values, classes: list[int]) -> float:
    return float(np.mean([of_one([t == c for t in truth], values[:, c].tolist()) for c in classes]))


@pytest.mark.parametrize("seed", range(20))
def test_scores_of_classes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    k, n = int(rng.integers(2, 5)), 30
    logits = torch.from_numpy(rng.normal(size=(2, n, k)).round(1)).float()  # with ties
    labels = torch.from_numpy(rng.integers(0, k, n))
    labels[:k] = torch.arange(k)
    mask = torch.ones(k, dtype=torch.bool)
    target = Classification()
    found = {
        name: target.measured(score, target.answers(score, logits, mask), labels, mask).tolist()
        for name, score in scores("classification").items()
    }
    truth = labels.tolist()
    for row in range(2):
        p = torch.softmax(logits[row].double(), -1).numpy()
        said = logits[row].argmax(-1).tolist()
        right = [a == b for a, b in zip(truth, said, strict=True)]
        recalls = [np.mean([r for r, t in zip(right, truth, strict=True) if t == c]) for c in range(k)]
        asked = [1] if k == 2 else list(range(k))
        assert found["accuracy"][row] == pytest.approx(np.mean(right))
        assert found["balanced_accuracy"][row] == pytest.approx(np.mean(recalls))
        own_f1 = [f1([t == c for t in truth], [s == c for s in said]) for c in range(k)]
        assert found["macro_f1"][row] == pytest.approx(np.mean(own_f1))
        single = target.probabilities(logits[row], mask).numpy()  # the ties are those of float32
        assert found["roc_auc"][row] == pytest.approx(macro(roc_auc, truth, single, asked))
        assert found["pr_auc"][row] == pytest.approx(macro(average_precision, truth, single, asked))
        log_loss = np.mean([-math.log(p[i, t]) for i, t in enumerate(truth)])
        assert found["neg_log_loss"][row] == pytest.approx(-log_loss, rel=1e-5)


@pytest.mark.parametrize("seed", range(20))
def test_areas_are_those_of_scikit_learn(seed: int) -> None:
    from sklearn import metrics

    rng = np.random.default_rng(seed)
    positive, values = rng.random(50) < rng.uniform(0.05, 0.9), rng.normal(size=50).round(seed % 3)
    positive[:2] = True, False
    assert _scores.roc_auc(positive, values) == pytest.approx(metrics.roc_auc_score(positive, values), rel=1e-12)
    expected = metrics.average_precision_score(positive, values)
    assert _scores.average_precision(positive, values) == pytest.approx(expected, rel=1e-12)


def test_by_hand() -> None:
    target, mask = Classification(), torch.tensor([True, True])
    p = torch.tensor([[[0.9, 0.1], [0.6, 0.4], [0.65, 0.35], [0.2, 0.8]]])  # of scikit-learn's example: 0.75
    labels = torch.tensor([0, 0, 1, 1])
    found = {name: s for name, s in scores("classification").items() if s.by_probability}
    values = {name: target.measured(score, p, labels, mask).item() for name, score in found.items()}
    assert values["roc_auc"] == 0.75
    assert values["pr_auc"] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert values["neg_log_loss"] == pytest.approx(math.log(0.9 * 0.6 * 0.35 * 0.8) / 4)


def test_among_the_active_outputs_alone() -> None:
    """Of three classes two are active: the score is that of the two."""
    target, score = Classification(), scores("classification")["roc_auc"]
    logits, labels = torch.tensor([[[0.0, 9.0, 1.0], [1.0, 9.0, 0.0], [0.0, 9.0, 3.0]]]), torch.tensor([0, 0, 2])
    mask = torch.tensor([True, False, True])
    assert target.measured(score, target.answers(score, logits, mask), labels, mask).item() == 1.0
    labels[0] = 1  # its output is not active: nobody can say how likely it is
    assert target.measured(score, target.answers(score, logits, mask), labels, mask).isnan().all()


def test_the_positive_class_is_the_one_that_is_named() -> None:
    """Of two rare examples the model puts one first: of the others' class nearly all is right."""
    stream = replace(digits("pr_auc"), tasks=digits().tasks[:1])
    mask, labels = torch.tensor([True, True]), torch.tensor([0, 0, 1, 1, 1, 1])
    p = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.1, 0.9], [0.1, 0.9], [0.3, 0.7]])[None]
    values = []
    for positive in (None, 1, 0):
        (score,) = scores_of(replace(stream, positive=positive))
        values.append(Classification().measured(score, p, labels, mask).item())
    assert (
        values[0]
        == values[1]
        == pytest.approx(average_precision([y == 1 for y in labels.tolist()], p[0, :, 1].tolist()))
    )
    assert values[2] == pytest.approx(average_precision([y == 0 for y in labels.tolist()], p[0, :, 0].tolist()))
    assert values[2] != values[1]
    with pytest.raises(InputError, match="unknown label `yes`"):
        scores_of(replace(stream, positive="yes"))


@pytest.mark.parametrize("name", ["roc_auc", "pr_auc"])
def test_without_a_positive_example_there_is_no_value(name: str) -> None:
    target, mask, score = Classification(), torch.tensor([True, True]), scores("classification")[name]
    p = torch.tensor([[[0.9, 0.1], [0.6, 0.4]]])
    assert target.measured(score, p, torch.tensor([0, 0]), mask).isnan().all()
    assert score.undefined_if


@pytest.mark.parametrize("seed", range(10))
def test_scores_of_several_labels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(rng.normal(size=(1, 20, 3)).round(1)).float()
    labels = torch.from_numpy(rng.integers(0, 2, (20, 3))).float()
    labels[:2, 0], labels[:, 2] = torch.tensor([0.0, 1.0]), 1.0  # the last one always holds: it tells nothing
    mask, target = torch.ones(3, dtype=torch.bool), MultiLabel()
    found = {
        name: target.measured(score, target.answers(score, logits, mask), labels, mask).item()
        for name, score in scores("multi-label").items()
    }
    truth, said = labels.numpy() > 0, (logits[0] > 0).numpy()
    assert found["label_accuracy"] == pytest.approx((truth == said).mean())
    assert found["exact_match"] == pytest.approx(np.mean([(a == b).all() for a, b in zip(truth, said, strict=True)]))
    own = [f1(truth[:, c].tolist(), said[:, c].tolist()) for c in range(3)]
    assert found["macro_f1"] == pytest.approx(np.mean(own))
    for name, of_one in (("roc_auc", roc_auc), ("pr_auc", average_precision)):
        p = logits[0].sigmoid().numpy()
        expected = np.mean([of_one(truth[:, c].tolist(), p[:, c].tolist()) for c in range(2)])
        assert found[name] == pytest.approx(expected)


# ------------------------------------------------------------------------------------------------ of a stream


def digits(*names: str) -> Stream:
    return load_stream(StreamConfig(name="split-digits", scores=names))


def test_the_first_score_steers_and_the_others_are_recorded() -> None:
    pack = finish(make_pack(digits("roc_auc", "accuracy"), scenario="domain-il"))
    plain = finish(make_pack(digits(), scenario="domain-il"))
    record = pack.records[0]
    assert record.further["validation"]["accuracy"] == plain.records[0].validation
    assert record.further["test"]["accuracy"] == plain.records[0].test
    assert not plain.records[0].further
    for task, value in enumerate(record.test[-1]):
        assert value == float(pack.scores(task)[0, 0])
    assert record.validation != record.further["validation"]["accuracy"]


def own_score(labels: Values, predictions: Values) -> float:
    return float((labels == predictions).mean())


def likelihood(labels: Values, probabilities: Values) -> float:
    return float(probabilities[np.arange(len(labels)), labels].mean())


likelihood.by_probability = True  # type: ignore[attr-defined]
likelihood.bounds = (0.0, 1.0)  # type: ignore[attr-defined]


def broken(labels: Values, predictions: Values) -> float:
    raise KeyError("no such thing")


def beyond(labels: Values, predictions: Values) -> float:
    return 2.0


beyond.bounds = (0.0, 1.0)  # type: ignore[attr-defined]


def test_a_score_of_ones_own() -> None:
    stream = digits(f"{__name__}:own_score", f"{__name__}:likelihood")
    assert [score.name for score in scores_of(stream)] == ["own_score", "likelihood"]
    pack = finish(make_pack(stream, scenario="task-il"))
    assert pack.records[0].validation == finish(make_pack(digits(), scenario="task-il")).records[0].validation
    (found,) = pack.records[0].further["validation"].values()
    assert 0.5 < found[-1][-1] < 1


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("rmse", "unknown score `rmse`. Known, closest first:"),
        ("tests.no:such", "there is no module"),
        (f"{__name__}:math", "unknown function in module"),
        (f"{__name__}:digits", None),
        (f"{__name__}:broken", "it failed (KeyError: 'no such thing')"),
        (f"{__name__}:beyond", "it must lie within (0.0, 1.0) or be NaN, but is 2"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(name: str, said: str | None) -> None:
    with pytest.raises(InputError) as caught:
        finish(make_pack(digits(name), scenario="task-il"))
    assert "\n" not in str(caught.value)
    assert said is None or said in str(caught.value)


def test_each_score_once() -> None:
    with pytest.raises(InputError, match="each score can be measured once, but `accuracy` is named twice"):
        scores_of(digits("accuracy", "roc_auc", "accuracy"))


def test_a_task_on_which_a_score_has_no_value_is_null_and_the_run_goes_on() -> None:
    """Of the second task's validation examples none is positive."""
    stream = load_stream(StreamConfig(name="split-digits", scores=("roc_auc", "accuracy")))
    second = stream.tasks[1]
    negative = second.validation[(stream.y[second.validation] == second.classes[0]).numpy()]
    tasks = (stream.tasks[0], replace(second, validation=negative), *stream.tasks[2:])
    record = finish(make_pack(replace(stream, tasks=tasks), scenario="task-il")).records[0]
    assert record.failure is None
    found = np.array(record.validation)
    assert np.isnan(found[:, 1]).all()
    assert not np.isnan(np.delete(found, 1, axis=1)).any()
    assert not np.isnan(record.further["validation"]["accuracy"]).any()


@pytest.mark.parametrize("target", sorted(registry))
def test_every_score_says_between_what_it_lies_and_when_it_has_no_value(target: str) -> None:
    names = [score.name for score in target_of(target).scores]
    assert len(set(names)) == len(names)
    for score in target_of(target).scores:
        low, high = score.bounds
        assert low < high
        assert score.name.startswith("neg_") == (high == 0)
