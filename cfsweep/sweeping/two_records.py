"""What was asked for stands twice in a results folder: in the journal, and in `runs/` and the files of the packs on
their way. The two must agree: what is trained by one and written by the other would be the results of nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from cfsweep.config import Space
from cfsweep.hypers import Value
from cfsweep.sweeping.suggest import value_of
from cfsweep.training.spec import PackSpec

Settings = Mapping[str, Value | None]


class Disagreement(NamedTuple):
    """Trials that one record has, but the journal lacks, or has not all parameters of; and in words, where the two have
    different ones."""

    lacking: list[int]
    contradictions: list[str]


def settings_of_rows(rows: Iterable[Mapping[str, Any]], names: Collection[str]) -> dict[int, dict[str, Value | None]]:
    """By trial, the settings in rows of `runs/`; None where a setting could not act. References are no trials."""
    found: dict[int, dict[str, Value | None]] = {}
    for row in rows:
        if row["trial"] >= 0:
            found[row["trial"]] = {name: row.get(f"hp_{name}") for name in names}
    return found


def settings_of_packs(specs: Iterable[PackSpec], names: Collection[str]) -> dict[int, dict[str, Value | None]]:
    """The same of the files of packs."""
    runs = [run for spec in specs for run in spec.runs if run.trial >= 0]
    return {run.trial: {name: run.values.get(name) for name in names} for run in runs}


def values_of_params(space: Space, kinds: Mapping[str, str], params: Mapping[str, Value]) -> dict[str, Value]:
    """The searched settings of a trial by its parameters in the journal."""
    return {
        name: value_of(searched, kinds[name], params[name]) for name, searched in space.search.items() if name in params
    }


def disagreement(asked: Mapping[int, Mapping[str, Value]], known: Mapping[int, Settings]) -> Disagreement:
    """Holds the settings in the journal, by trial, against those in the other record.

    >>> disagreement({0: {"lr": 0.1}, 1: {}}, {0: {"lr": 0.1}, 1: {"lr": 0.2}, 2: {"lr": None}})
    Disagreement(lacking=[1, 2], contradictions=[])
    >>> disagreement({0: {"lr": 0.1}}, {0: {"lr": 0.5}}).contradictions
    ['trial 0 has lr=0.1 in the journal, but was trained with 0.5']
    """
    lacking, contradictions = [], []
    for number, settings in sorted(known.items()):
        own = asked.get(number)
        if own is None or any(name not in own for name in settings):
            lacking.append(number)
        for name, value in settings.items():
            if own is not None and name in own and value is not None and own[name] != value:
                contradictions.append(
                    f"trial {number} has {name}={own[name]} in the journal, but was trained with {value}"
                )
    return Disagreement(lacking, contradictions)
