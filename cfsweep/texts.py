"""Scores as text."""

from __future__ import annotations

LEAST = 1e-9  # what is less is rounding


def score_text(value: float, digits: int = 4, sign: str = "") -> str:
    """A score with so many `digits` behind the point; with as many significant ones where it is large, or so small that
    there would be nothing but zeros. `sign`: "+" is written, too.

    >>> score_text(0.98765), score_text(0.98765, 3, "+"), score_text(1e-12)
    ('0.9877', '+0.988', '0.0000')
    >>> score_text(-27449.879), score_text(1.234e-5)
    ('-27450', '1.234e-05')
    """
    value = 0.0 if abs(value) < LEAST else value
    if value and not 0.5 * 10**-digits <= abs(value) < 10:
        rounded = float(f"{value:.{digits}g}")
        return f"{rounded:{sign}.0f}" if 10**digits <= abs(rounded) < 1e7 else f"{rounded:{sign}.{digits}g}"
    return f"{value:{sign}.{digits}f}"
