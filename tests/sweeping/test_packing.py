"""Which runs share a pack, and how many trials are asked for at once."""

from __future__ import annotations

import pytest

from cfsweep.config import StudyConfig
from cfsweep.sweeping.packing import pack_runs, trials_per_pack
from cfsweep.training.ingredients import hypers_of
from cfsweep.training.spec import PackSpec, RunSpec
from tests.sweeping.in_process import tiny

HYPERS = hypers_of(("ewc", "replay"))


def runs(n: int, **values: list[object]) -> list[RunSpec]:
    defaults = {name: hyper.default for name, hyper in HYPERS.items()}
    return [RunSpec(i, 0, {**defaults, **{k: v[i % len(v)] for k, v in values.items()}}) for i in range(n)]  # type: ignore[dict-item]


def sizes(packs: list[PackSpec]) -> list[int]:
    return [len(pack.runs) for pack in packs]


def test_numbers_never_split_a_pack() -> None:
    different = runs(6, lr=[0.1, 0.01], ewc_lambda=[0.0, 1.0, 2.0], replay_ratio=[0.1, 0.2], replay_buffer=[5, 6])
    assert sizes(pack_runs(tiny(), HYPERS, different, 8)) == [6]


@pytest.mark.parametrize("name", [name for name, hyper in HYPERS.items() if hyper.static])
def test_each_static_setting_does(name: str) -> None:
    hyper = HYPERS[name]
    values: list[object] = list(hyper.choices[:2]) if hyper.choices else [1, 2]
    packs = pack_runs(tiny(), HYPERS, runs(6, **{name: values}), 8)
    assert sizes(packs) == [3, 3]
    assert [{run.values[name] for run in pack.runs} for pack in packs] == [{value} for value in values]


def test_no_pack_is_larger_than_the_limit_and_no_run_is_lost() -> None:
    packs = pack_runs(tiny(), HYPERS, runs(11, epochs=[1, 2]), 4)
    assert sorted(sizes(packs)) == [1, 2, 4, 4]
    assert sorted(run.trial for pack in packs for run in pack.runs) == list(range(11))


def test_a_pack_travels_as_plain_data() -> None:
    for pack in pack_runs(tiny(), HYPERS, runs(3), 2):
        assert PackSpec.from_dict(pack.to_dict()) == pack


@pytest.mark.parametrize(
    ("size", "seeds", "remaining", "workers", "wanted"),
    [(8, 1, 100, 2, 8), (8, 3, 100, 2, 2), (8, 1, 6, 2, 3), (8, 1, 1, 4, 1), (2, 5, 10, 2, 1), (1, 1, 10, 2, 1)],
)
def test_how_many_trials_at_once(size: int, seeds: int, remaining: int, workers: int, wanted: int) -> None:
    assert trials_per_pack(size, seeds, remaining, workers) == wanted


def test_what_a_pack_says_of_its_study() -> None:
    config: StudyConfig = tiny(curve_points_per_task=3)
    (pack,) = pack_runs(config, HYPERS, runs(1), 8)
    assert (pack.network, pack.scenario, pack.curve_points_per_task) == (config.space.network, "task-il", 3)
