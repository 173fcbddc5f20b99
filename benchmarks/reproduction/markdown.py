"""Numbers and tables in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from analysis.uncertainty import Estimate
from benchmarks.reproduction.verdicts import BySeed


def number(mean: float, sd: float | None = None) -> str:
    """
    >>> number(97.7, 0.814), number(-65.3)
    ('97.70 ± 0.81', '-65.30')
    """
    return f"{mean:.2f}" + ("" if sd is None else f" ± {sd:.2f}")


def mean_sd(values: BySeed) -> str:
    """Mean and standard deviation over seeds, without the latter where there is one seed.

    >>> mean_sd({0: 1.0, 1: 2.0}), mean_sd({0: 1.0})
    ('1.50 ± 0.71', '1.00')
    """
    found = list(values.values())
    return number(float(np.mean(found)), float(np.std(found, ddof=1)) if len(found) > 1 else None)


def difference(found: Estimate | None) -> str:
    """A paired difference with its interval.

    >>> difference(Estimate(4.7, (3.12, 6.28))), difference(None)
    ('+4.70 (+3.12 to +6.28)', '–')
    """
    return "–" if found is None else f"{found.value:+.2f} ({found.interval[0]:+.2f} to {found.interval[1]:+.2f})"


def settings(values: Mapping[str, Any]) -> str:
    """
    >>> settings({"ewc_lambda": 3580.1234, "ewc_mode": "online", "epochs": None})
    'ewc_lambda 3.58e+03, ewc_mode online'
    """
    return ", ".join(f"{name} {setting(value)}" for name, value in values.items() if value is not None)


def setting(value: object) -> str:
    """
    >>> setting(3580.1234), setting(None), setting("online")
    ('3.58e+03', '–', 'online')
    """
    return "–" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


def duration(seconds: float) -> str:
    """
    >>> duration(0.0), duration(9.0), duration(90.0), duration(7200.0)
    ('–', '9 s', '1.5 min', '2.00 h')
    """
    if not seconds:
        return "–"
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.2f} h"


def markdown(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """
    >>> print(markdown(("a", "b"), [("1", "2")]))
    | a | b |
    |---|---|
    | 1 | 2 |
    """
    rule = "|" + "---|" * len(heads)
    return "\n".join([_line(heads), rule, *map(_line, lines)])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
