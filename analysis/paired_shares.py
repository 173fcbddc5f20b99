"""Two shares of right answers to the same examples: how far apart they are, and how sure that is.

A pair of models leaves four counts for n examples: a both right, b the first alone, c the second alone, d neither.
"""

from __future__ import annotations

import math

from analysis.uncertainty import LEVEL, Estimate, Interval


def mcnemar(only_first: int, only_second: int) -> float:
    """The exact two-sided p-value of McNemar's test, in (0, 1], from the numbers of examples that one of two models
    alone answers rightly.

    If the models are equally good, each such example is as likely to be the one's as the other's, so that b of b + c
    are binomial with 1/2: p = min(1, 2 P(X <= min(b, c))).

    References:
        McNemar 1947, "Note on the sampling error of the difference between correlated proportions or percentages".
        Fagerland, Lydersen & Laake 2013, "The McNemar test for binary matched-pairs data" (the exact conditional test;
        it errs on the side of a larger p).

    >>> mcnemar(1, 7)  # 2 (1 + 8) / 2^8
    0.0703125
    >>> mcnemar(3, 3), mcnemar(0, 0)
    (1.0, 1.0)
    """
    from scipy.special import bdtr  # takes a quarter of a second to import

    n = only_first + only_second
    return min(1.0, 2 * float(bdtr(min(only_first, only_second), n, 0.5))) if n else 1.0


def difference(both: int, only_first: int, only_second: int, neither: int) -> Estimate:
    """The second share less the first, (c - b) / n, and its interval for all examples of which these n are a sample.

    The interval is Newcombe's method 10: Wilson's intervals (l, u) of either share p, put together as the errors of
    two variables with the correlation φ: the estimate less √(x² - 2 φ x y + y²) with x = p₂ - l₂, y = u₁ - p₁, to
    the estimate plus the same with x = u₂ - p₂, y = p₁ - l₁. It has a width, too, where the models never differ, and
    does not leave [-1, 1] but by rounding.

    References:
        Newcombe 1998, "Improved confidence intervals for the difference between binomial proportions based on paired
        data", method 10.
        Wilson 1927, "Probable inference, the law of succession, and statistical inference" (of one share).

    >>> difference(59, 16, 6, 80).text  # as Fagerland, Lydersen & Laake have it, 2017, "Statistical Analysis of
    ... # Contingency Tables", chapter 8, of the data of Cavo et al. 2012
    '-0.0621, 95 % interval -0.1186 to -0.0046'
    """
    n = both + only_first + only_second + neither
    one, two = both + only_first, both + only_second
    (l1, u1), (l2, u2) = wilson(one, n), wilson(two, n)
    p1, p2, phi = one / n, two / n, correlation(both, only_first, only_second, neither)
    value = (only_second - only_first) / n  # one division: 3 of 150 are 0.02 to the last bit
    below = _joined(p2 - l2, u1 - p1, phi)
    above = _joined(u2 - p2, p1 - l1, phi)
    return Estimate(value, (value - below, value + above))


def wilson(right: int, n: int) -> Interval:
    """Wilson's interval of a share of `right` in `n` examples: all p with |right / n - p| <= z √(p (1 - p) / n).

    References:
        Wilson 1927, as above.

    >>> [round(end, 4) for end in wilson(5, 10)]
    [0.2366, 0.7634]
    """
    from scipy.special import ndtri

    z = float(ndtri((1 + LEVEL) / 2))
    centre, width = right + z * z / 2, z * math.sqrt(right * (n - right) / n + z * z / 4)
    return (centre - width) / (n + z * z), (centre + width) / (n + z * z)


def correlation(both: int, only_first: int, only_second: int, neither: int) -> float:
    """The correlation φ of the answers, in [-1, 1]: (ad - bc) / √((a+b)(c+d)(a+c)(b+d)), where ad - bc is lessened by
    n / 2 towards 0, if it is above it; 0 where a model has all right or none.

    References:
        Newcombe 1998, as above, method 10 (the correction is what sets it apart from method 8).

    >>> round(correlation(14, 5, 0, 22), 4)  # (308 - 41 / 2) / √(19 · 22 · 14 · 27) = 287.5 / 397.50
    0.7233
    """
    n = both + only_first + only_second + neither
    product = both * neither - only_first * only_second
    corrected = max(product - n / 2, 0.0) if product > 0 else float(product)
    margins = (both + only_first, only_second + neither, both + only_second, only_first + neither)
    return corrected / math.sqrt(math.prod(margins)) if all(margins) else 0.0


def _joined(x: float, y: float, phi: float) -> float:
    return math.sqrt(max(x * x - 2 * phi * x * y + y * y, 0.0))
