"""Fills what the runs did not write into a run table: intransigence, and a reason for every metric that is null."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis.references import best_reference
from cfsweep.metrics import INTRANSIGENCE, METRICS
from cfsweep.results.schema import JOINT

NOT_RECORDED = "not recorded when the run was written"
_PLASTICITY, _INTRANSIGENCE = "val_plasticity", f"val_{INTRANSIGENCE.name}"


def fill_missing(runs: pd.DataFrame) -> pd.DataFrame:
    """`runs` with a column for every metric and, in `missing`, a reason for every metric without a value.

    Metrics that an older cfsweep did not know are null. `val_intransigence`, in [-1, 1], is that of each run against
    the best joint reference with the same seed; null where the run or that reference did not reach its end.

    References:
        Chaudhry et al. 2018, "Riemannian Walk for Incremental Learning" (intransigence measure).
    """
    nothing = pd.array([pd.NA] * len(runs), dtype="Float64")
    added: dict[str, Any] = {n: nothing for metric in METRICS if (n := f"val_{metric.name}") not in runs.columns}
    joint = runs[runs["trial"] == best_reference(runs, JOINT)]
    added[_INTRANSIGENCE] = _intransigence(runs, joint)
    at = list(runs.columns).index("missing")
    result = runs.assign(**added)[[*runs.columns[:at], *added, *runs.columns[at:]]]
    states = {int(seed): str(state) for seed, state in zip(joint["seed"], joint["state"], strict=True)}
    reasons = [_reasons(row, states) for row in result.to_dict("records")]
    return result.assign(missing=pd.array(reasons, dtype="string"))


def _intransigence(runs: pd.DataFrame, joint: pd.DataFrame) -> pd.Series:
    """`metrics.intransigence` is the plasticity of the joint reference less that of the run."""
    reference = dict(zip(joint["seed"], joint[_PLASTICITY], strict=True))
    of_joint = pd.Series([reference.get(seed, pd.NA) for seed in runs["seed"]], index=runs.index, dtype="Float64")
    return of_joint - runs[_PLASTICITY]


def _reasons(row: Mapping[Any, Any], joint: Mapping[int, str]) -> str | None:
    """`missing` of one run, with a reason for each of its metrics that is null; `joint` is a state per seed."""
    found: dict[str, str] = {} if pd.isna(row["missing"]) else json.loads(row["missing"])
    for name in (column.removeprefix("val_") for column in row if column.startswith("val_") and pd.isna(row[column])):
        found.setdefault(name, NOT_RECORDED)
    if pd.isna(row[_INTRANSIGENCE]):
        state = joint.get(row["seed"])
        why = f"the joint reference with this seed {state}" if state else "no joint reference with this seed"
        found[INTRANSIGENCE.name] = found.get("plasticity", why)
    return json.dumps(found, sort_keys=True) if found else None
