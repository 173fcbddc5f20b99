"""What is said of tasks on whose validation examples a score has no value, or one that rests on few of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from cfsweep.config import Scenario, Space, StreamConfig, StudyConfig
from cfsweep.sweeping.blind_tasks import FEWEST, few_positives_note, unscored_note
from cfsweep.sweeping.notes import notes
from cfsweep.testing import small_stream
from cfsweep.training.ingredients import hypers_of
from cfsweep.training.streams import Stream, Task


def stream_with(*counts: tuple[int, int]) -> Stream:
    """A task for each pair, with so many negative and positive validation examples."""
    tasks, labels, n = [], [], 0
    for number, (negative, positive) in enumerate(counts):
        y = np.repeat([0, 1, 0, 1], [negative, positive, 3, 3])
        places, none = np.arange(n, n + len(y)), np.empty(0, np.int64)
        tasks.append(Task(f"month {number}", (0, 1), places[-6:], places[:-6], none))
        labels.append(y)
        n += len(y)
    y = torch.from_numpy(np.concatenate(labels))
    return replace(small_stream(), x=torch.rand(n, 1, 6, 6), y=y, tasks=tuple(tasks), scores=("roc_auc",))


def config_in(scenario: Scenario = "domain-il") -> StudyConfig:
    return StudyConfig(space=Space(), stream=StreamConfig(scenario=scenario))


def test_few_positives_or_negatives_are_told_with_their_task_and_number() -> None:
    stream = stream_with((90, FEWEST - 1), (3, 40), (90, FEWEST), (FEWEST, 5), (20, 0), (0, 0))
    assert few_positives_note(config_in(), stream) == (
        "`roc_auc`: fewer than 10 validation examples are positive, or are not, on `month 0` (9), `month 1` (3), "
        "`month 3` (5), so that chance moves it far there. Raise `stream.validation_frac`, or make fewer, larger tasks."
    )
    assert few_positives_note(config_in(), stream_with((90, FEWEST), (FEWEST, 90))) is None


def test_where_there_is_no_value_at_all_that_alone_is_said() -> None:
    stream = stream_with((90, 20), (90, 0), (90, 20))
    assert few_positives_note(config_in(), stream) is None
    assert "no value on the validation examples of `month 1`" in str(unscored_note(config_in(), stream))


@pytest.mark.parametrize(("scores", "told"), [(("accuracy",), False), (("accuracy", "pr_auc"), True), ((), False)])
def test_it_is_said_of_scores_that_rank_positives_alone(scores: tuple[str, ...], told: bool) -> None:
    stream = replace(stream_with((90, 4), (90, 4)), scores=scores)
    found = few_positives_note(config_in(), stream)
    assert (found is not None) == told
    assert found is None or found.startswith("`pr_auc`: fewer than")


@pytest.mark.parametrize("scenario", ["task-il", "class-il"])
def test_of_several_classes_the_rarest_counts(scenario: Scenario) -> None:
    """In each task of the small stream as many examples of its two classes are for validation."""
    stream = replace(small_stream(), scores=("roc_auc",))
    n = len(stream.tasks[0].validation) // 2
    assert 0 < n < FEWEST
    assert f"`{stream.tasks[0].name}` ({n})" in str(few_positives_note(config_in(scenario), stream))


def test_of_several_labels_too_and_it_is_among_the_notes() -> None:
    y = torch.zeros(60, 2)
    y[:30, 0], y[:4, 1] = 1, 1
    y = torch.cat([y, y])
    none = np.empty(0, np.int64)
    tasks = tuple(Task(name, (), np.arange(n, n + 60), np.arange(n, n + 60), none) for n, name in ((0, "a"), (60, "b")))
    stream = replace(small_stream(), x=torch.rand(120, 4), y=y, tasks=tasks, target="multi-label", scores=("pr_auc",))
    said = [note for note in notes(config_in(), hypers_of(()), stream) if "fewer than 10" in note]
    assert len(said) == 1
    assert "on `a` (4), `b` (4)" in said[0]
