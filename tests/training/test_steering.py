"""What stop rules look at: held out for them, counted where it must be kept, and no more than they say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from cfsweep.config import Scenario
from cfsweep.errors import InputError
from cfsweep.hypers import Hyper
from cfsweep.testing.packs import finish, make_pack, path_to, small_stream, values_of
from cfsweep.training import targets
from cfsweep.training.ingredients import Ingredient, StopRule, reads_of, registry
from cfsweep.training.ingredients._base import State, Values
from cfsweep.training.spec import RunSpec
from cfsweep.training.streams import Stream
from cfsweep.training.targets import Outputs
from cfsweep.training.targets.classification import Classification

READS = {
    "ncm": ["keeps statistics of the features of old examples"],
    "slda": ["keeps statistics of the features of old examples"],
    "ranpac": ["keeps statistics of the features of old examples"],
    "ewc": ["keeps old weights"],
    "l2-sp": ["keeps old weights"],
    "mas": ["keeps old weights"],
    "si": ["keeps old weights"],
    "a-gem": ["keeps old examples"],
    "a-gem-online": ["keeps old examples"],
    "der++": ["keeps old examples"],
    "der++-online": ["keeps old examples"],
    "gdumb": ["keeps old examples"],
    "icarl": ["keeps old examples", "keeps the previous network"],
    "er-ace": ["keeps old examples"],
    "generative-replay": ["keeps a generator of old examples, and the previous network, which labels them"],
    "replay": ["keeps old examples"],
    "feature-distillation": ["keeps the previous network"],
    "lwf": ["keeps the previous network"],
    "adapters": ["keeps weights or a mask for each task"],
    "freeze": [],
    "packnet": ["keeps weights or a mask for each task"],
    "cosine": [],
    "discriminative-lr": [],
    "warmup": [],
    "early-stopping": ["looks at held-out examples of the current task"],
    "forgetting-limit": ["looks at held-out examples of all tasks so far, and keeps them"],
}


def test_what_each_ingredient_reads() -> None:
    assert {name: [read.what for read in reads_of(kind)] for name, kind in registry.items()} == READS


@pytest.mark.parametrize("name", registry)
def test_what_is_said_to_be_kept_is_what_is_stored(name: str) -> None:
    record = finish(make_pack(small_stream(), (name,))).records[0]
    assert (record.stored_bytes > 0) == any(read.kept for read in reads_of(registry[name]))


def test_steering_examples_of_old_tasks_count_in_bytes() -> None:
    """6 of each task, 36 floats each; a rule that is off, or looks at the current task alone, keeps none."""
    stream, names = small_stream(), ("early-stopping", "forgetting-limit")
    runs = tuple(
        RunSpec(k, 0, values_of(names, forgetting_limit=x, patience=k)) for k, x in enumerate((0.05, 1.0, 0.5))
    )
    pack = make_pack(stream, names, runs, "domain-il")
    for task in range(3):
        report = pack.train_next_task()
        kept = (task + 1) * 6 * 36 * 4
        assert [record.stored_bytes for record in report.records] == [kept, 0, kept]


# ------------------------------------------------------------------------------------------------ what is shown


class Noting(StopRule):
    """It notes what it is shown."""

    name, summary, paper, hypers = "noting", "", "", (Hyper("noting", "float", 1.0, "", off=0.0),)
    looks_at_old = True

    def initial_state(self, theta: Tensor) -> State:
        return {"shown": torch.zeros(3, dtype=torch.float64)}

    def n_checks(self, epochs: int) -> int:
        return 1

    def check(
        self, theta: Tensor, state: State, values: Values, scores: Tensor, task: int, number: int
    ) -> tuple[Tensor, State, Tensor]:
        return theta, {"shown": scores}, torch.zeros((), dtype=torch.bool)


class NotingTheCurrent(Noting):
    """It says that it looks at the current task alone."""

    name, hypers = "noting-the-current", (Hyper("noting_the_current", "float", 1.0, "", off=0.0),)
    looks_at_old = False


def shown_by_hand(stream: Stream, scores: list[list[float]], task: int, tasks: Iterable[int]) -> list[float]:
    return [scores[task][seen] if seen in tasks else 0.0 for seen in range(len(stream.tasks))]


@pytest.mark.parametrize("scenario", ["task-il", "domain-il"])
def test_a_rule_is_shown_scores_on_the_steering_examples_it_says(scenario: Scenario) -> None:
    stream, kinds = small_stream(), (Noting, NotingTheCurrent)
    as_validation = replace(stream, tasks=tuple(replace(t, validation=t.steering) for t in stream.tasks))
    whole = finish(make_pack(as_validation, scenario=scenario)).records[0].validation[1:]
    assert whole != finish(make_pack(stream, scenario=scenario)).records[0].validation[1:]
    pack = make_pack(stream, tuple(map(path_to, kinds)), scenario=scenario)
    for task in range(3):
        pack.train_next_task()
        for kind, tasks in zip(kinds, (range(task + 1), [task]), strict=True):
            shown = pack.stack.states[kind.name]["shown"][0].tolist()
            assert shown == shown_by_hand(stream, whole, task, tasks)


# ------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize("name", ["early-stopping", "forgetting-limit"])
def test_a_stream_without_steering_examples_is_refused(name: str) -> None:
    stream = small_stream()
    last = replace(stream.tasks[2], steering=np.empty(0, np.int64))
    said = f"^stream `small`, task `2`: `{name}` needs steering examples, but there is none. Set `stream.steering_frac`"
    with pytest.raises(InputError, match=said) as caught:
        make_pack(replace(stream, tasks=(*stream.tasks[:2], last)), (name,))
    assert "\n" not in str(caught.value)


class Narrow(Classification):
    """It knows the parts of a task that there were once."""

    name = "narrow"

    def outputs(self, stream: Stream, scenario: Scenario) -> Outputs:
        bare = [replace(task, steering=task.steering[:0]) for task in stream.tasks]
        return super().outputs(replace(stream, tasks=tuple(bare)), scenario)


def test_a_target_that_does_not_know_them_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(targets.registry, "narrow", Narrow)
    stream = replace(small_stream(), target="narrow")
    make_pack(stream, ("ewc",))
    with pytest.raises(InputError, match=r"^target `narrow`: .* not the steering ones of `0`. Go over `task.parts`"):
        make_pack(stream, ("early-stopping",))


class Silent(Noting):
    """It does not say what it looks at."""

    name = "silent"


def test_a_rule_that_does_not_say_what_it_looks_at_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Noting, "looks_at_old")
    with pytest.raises(InputError, match=r"Silent must have looks_at_old, but lacks it\. Define it"):
        make_pack(small_stream(), (path_to(Silent),))


def test_all_of_ones_own_that_keeps_state_says_so() -> None:
    class Keeping(Ingredient, piece=True):
        def initial_state(self, theta: Tensor) -> State:
            return {"theta": theta}

    assert [read.what for read in reads_of(Keeping)] == ["keeps a state of its own"]
