"""Choosing a trial by validation alone, on record before any test number is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.aggregate import best, column_of, finished, settings_of, trials, value
from analysis.among import among
from analysis.description import Root, study
from analysis.files import file_in, place_in, write_whole
from analysis.frames import load, numbers
from analysis.fronts import DEFAULT_OBJECTIVES, front
from analysis.references import METHODS, best_reference
from analysis.seeds import counted
from analysis.selection_file import SelectionFile
from cfsweep.errors import InputError, NoAnswerError, unknown
from cfsweep.metrics import INTRANSIGENCE
from cfsweep.reading import checked, parse_record
from cfsweep.results.schema import DEFAULT_TRIAL, MAJORITY, MAJORITY_TRIAL, RENAMED, reference_trial
from cfsweep.results.sealing import fault_of_record, sealed_record
from cfsweep.results.stages import SELECTION

FILE = SELECTION
CORRECTED = ("average_score", "stability", "plasticity")
RULES = ("average_score", "mixed", "stability_at_least", "knee")


def choose(
    table: pd.DataFrame,
    rule: str = "average_score",
    at_least: float | None = None,
    score_bounds: tuple[float, float] = (0.0, 1.0),
) -> pd.Series:
    """The row of `table` (from `analysis.trials`) that `rule` picks; the lowest trial number among equals.

    `average_score` and `mixed` pick the highest mean over seeds; `stability_at_least` picks the highest
    plasticity among the trials whose stability is at least `at_least`, within `score_bounds`; `knee` picks the trial
    where the front of stability and plasticity bulges most (`knee_of`).

    Raises:
        InputError: unknown rule, or `at_least` missing or beyond the bounds of the score.
        NoAnswerError: no finished trial satisfies the rule.
    """
    if rule not in RULES:
        raise unknown("select", "rule", rule, RULES)
    if rule == "knee":
        members = front(table).members
        columns = [column_of(name, list(members.columns)) for name in DEFAULT_OBJECTIVES]
        place = knee_of(np.column_stack([numbers(members[column]) for column in columns]))
        chosen = None if place is None else members.iloc[place]
    elif rule != "stability_at_least":
        chosen = best(table, rule)
    elif at_least is None or not score_bounds[0] <= at_least <= score_bounds[1]:
        low, high = score_bounds
        raise InputError(
            f"select: `{low:g} <= at_least <= {high:g}` must hold for stability_at_least, but got {at_least}."
        )
    else:
        stable = numbers(table[column_of("stability", list(table.columns))]) >= at_least
        chosen = best(table[stable], "plasticity")
    if chosen is None:
        limit = f" {at_least}" if rule == "stability_at_least" else ""
        raise NoAnswerError(f"select: none of {len(finished(table))} finished trials satisfies {rule}{limit}.")
    return chosen


def knee_of(front: NDArray[np.float64]) -> int | None:
    """Which point of a front (n, 2), both maximised, lies farthest beyond the line through its two ends.

    Each axis goes from one end to the other. The first among equals; None where no point lies beyond the line.

    References:
        Das 1999, "On characterizing the knee of the Pareto curve based on normal-boundary intersection".

    >>> knee_of(np.array([[0.0, 1.0], [0.7, 0.8], [1.0, 0.0]])), knee_of(np.array([[0.0, 1.0], [1.0, 0.0]]))
    (1, None)
    """
    if len(front) < 3:
        return None
    low, high = front.min(axis=0), front.max(axis=0)
    if not (high > low).all():
        return None
    beyond = ((front - low) / (high - low)).sum(axis=1) - 1.0
    place = int(beyond.argmax())
    return place if beyond[place] > 1e-12 else None


def select(
    root: Root, rule: str = "average_score", at_least: float | None = None, replace: bool = False
) -> dict[str, Any]:
    """Chooses a trial by `rule` on validation data, writes `selection.json`, and returns what it holds.

    The same choice again changes nothing. Another choice than the one on record, or the same with other numbers since
    it was given more seeds, needs `replace`, and the record then keeps the earlier ones under `replaces`, because that
    choice was made when test numbers could be seen already.

    Raises:
        InputError: as `choose`; it cannot be written; another choice, or one with other numbers, is on record.
        NoAnswerError: no finished trial satisfies the rule.
    """
    runs = load(root)
    chosen = choose(trials(runs), rule, at_least, study(root).score_bounds)
    record = {**_record(runs, chosen), "study_id": study(root).study_id, "rule": rule, "at_least": at_least}
    old = selection(root)
    replaces: list[Any] = []
    if old is not None:
        same = all(old.get(key) == record[key] for key in ("trial", "rule", "at_least"))
        if same and _agree(old, record):
            return old
        if not replace:
            raise InputError(f"{root}/{FILE}: {_changed(old, record) if same else _another(old, record)}")
        replaces = [*old.pop("replaces", []), old]
    record |= {"selected_at": datetime.now(UTC).isoformat(timespec="seconds"), "replaces": replaces}
    content = json.dumps(sealed_record(record), indent=2, allow_nan=False).encode() + b"\n"
    write_whole(place_in(root, FILE), lambda file: file.write(content))
    return record


def _another(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    return (
        f"trial {old.get('trial')} was chosen by {old.get('rule')} already, and now it would be trial {new['trial']} "
        f"by {new['rule']}. Give --replace; the record keeps both."
    )


def _changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    then, now = len(old.get("seeds") or ()), len(new["seeds"])
    seeds = f" ({now} seeds by now, {then} then)" if then != now else ""
    return (
        f"trial {new['trial']} is chosen still, but its numbers have changed since{seeds}. Give --replace to put them "
        "on record; it keeps both."
    )


def _record(runs: pd.DataFrame, chosen: pd.Series) -> dict[str, Any]:
    runs, trial = counted(runs), int(chosen["trial"])
    metrics = [c for c in chosen.index if c.startswith(("val_", "objective_")) and not c.endswith("_sd")]
    others = {name: among(runs, name) for name in CORRECTED}
    return {
        "trial": trial,
        "settings": settings_of(chosen),
        "references": _references(runs),
        "seeds": sorted(int(s) for s in runs.loc[runs["trial"] == trial, "seed"]),
        "validation": {m: {"mean": value(chosen, m), "sd": value(chosen, f"{m}_sd")} for m in metrics},
        "chosen_among": len(others["average_score"].trials),
        "corrected_for_the_choice": {f"val_{name}": those.corrected(trial) for name, those in others.items()},
    }


def _references(runs: pd.DataFrame) -> dict[str, int]:
    """By method, the references that stand beside the trials."""
    has_majority = bool((runs["trial"] == MAJORITY_TRIAL).any())
    trained = {method: best_reference(runs, method) for method in METHODS}
    return {**trained, **({MAJORITY: MAJORITY_TRIAL} if has_majority else {})}


def _agree(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """No number on record has changed; metrics may have been added since, and another joint reference may be best by
    now, which the trial's intransigence hangs on, and nothing else."""
    then = {name: found for name, found in old.get("validation", {}).items() if found["mean"] is not None}
    then.pop(f"val_{INTRANSIGENCE.name}", None)
    return all(new["validation"].get(name) == found for name, found in then.items())


def selection(root: Root) -> dict[str, Any] | None:
    """What `selection.json` holds, or None where nothing was selected yet.

    Raises:
        InputError: the file is damaged, or belongs to another study.
    """
    content = file_in(root, FILE)
    if content is None:
        return None
    remedy = "Remove it and select anew."
    record = parse_record(content, f"{root}/{FILE}", remedy)
    if fault := fault_of_record(record):
        raise InputError(f"{root}/{FILE}: {fault}. {remedy}")
    checked(SelectionFile, record, f"{root}/{FILE}", remedy)
    record.pop("sha256", None)
    if record.get("study_id") != (own := study(root).study_id):
        raise InputError(f"{root}/{FILE}: it belongs to study {record.get('study_id')}, not {own}. Remove it.")
    return _renamed(record)


def _renamed(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record with metrics as they are called now, where an earlier version wrote it."""
    found = dict(record)
    if isinstance(rule := found.get("rule"), str):
        found["rule"] = RENAMED.get(f"val_{rule}", f"val_{rule}").removeprefix("val_")
    if isinstance(then := found.get("validation"), Mapping):
        found["validation"] = {RENAMED.get(name, name): of for name, of in then.items()}
    return found


def opened_by(record: Mapping[str, Any]) -> list[int]:
    """The trials that a selection gives to be tested, in the order in which they are shown: the selected one, the
    default, and the references that were best on validation data when it was made.

    >>> opened_by({"trial": 7}), opened_by({"trial": 0, "references": {"naive": -5, "joint": -2}})
    ([7, 0, -1, -2], [0, -5, -2])
    """
    references = record.get("references") or {method: reference_trial(method) for method in METHODS}
    return list(dict.fromkeys([record["trial"], DEFAULT_TRIAL, *references.values()]))
