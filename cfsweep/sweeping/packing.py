"""Which runs go into which pack."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cfsweep.config import StudyConfig
from cfsweep.hypers import Hyper
from cfsweep.training.spec import PackSpec, RunSpec


def pack_runs(
    config: StudyConfig,
    hypers: Mapping[str, Hyper],
    runs: Iterable[RunSpec],
    size: int,
    ingredients: tuple[str, ...] | None = None,
    joint: bool = False,
) -> list[PackSpec]:
    """Packs of at most `size` runs; runs share a pack only if they agree in every static setting, and in the split that
    their seeds are trained on."""
    groups: dict[tuple[int, *tuple[object, ...]], list[RunSpec]] = {}
    for run in runs:
        static = (run.values[name] for name, hyper in hypers.items() if hyper.static)
        groups.setdefault((config.stream.split_of(run.seed), *static), []).append(run)
    return [
        PackSpec(
            network=config.space.network,
            scenario=config.stream.scenario,
            ingredients=config.space.ingredients if ingredients is None else ingredients,
            runs=tuple(group[at : at + size]),
            joint=joint,
            curve_points_per_task=config.curve_points_per_task,
            split=split,
            parts=config.parts,
            keep_models=config.purpose != "sweep",
            trainer=config.space.trainer,
        )
        for (split, *_), group in groups.items()
        for at in range(0, len(group), size)
    ]


def trials_per_pack(size: int, seeds: int, remaining: int, workers: int) -> int:
    """How many trials to ask for at once, of which a pack takes `seeds` runs each: a pack full, but no more than each
    worker's share of what is left.

    >>> trials_per_pack(size=8, seeds=2, remaining=40, workers=2)
    4
    >>> trials_per_pack(size=8, seeds=2, remaining=4, workers=2)
    2
    """
    return max(1, min(size // seeds, -(-remaining // workers)))
