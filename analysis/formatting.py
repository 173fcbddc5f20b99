"""Numbers and settings as short text, and the escapes of each output format."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import Any

import pandas as pd

from analysis.aggregate import value
from analysis.description import Setting
from analysis.uncertainty import LEAST_SEEDS, LEVEL, Estimate
from cfsweep.results.schema import DEFAULT_TRIAL, reference_method
from cfsweep.texts import score_text
from cfsweep.visible import visible

INTERVAL = f"{100 * LEVEL:g} % interval"  # what each interval is called
_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "±": r"$\pm$", "–": "--",
}  # fmt: skip


def plain(value: Any, missing: str = "–", digits: int = 4) -> str:
    """One value in `digits` significant digits at most.

    >>> plain(1000000.0), plain(0.30000000004), plain(64), plain("sgd"), plain(None)
    ('1e+06', '0.3', '64', 'sgd', '–')
    """
    if value is None or value is pd.NA or (isinstance(value, float) and value != value):
        return missing
    # Rounded first: 1039.6 in three digits is then 1040, where the exponent form of `.3g` would say 1.04e+03.
    return f"{float(f'{value:.{digits}g}'):g}" if isinstance(value, float) else str(value)


def mean_sd(mean: float | None, sd: float | None = None, digits: int = 3) -> str:
    """Mean and standard deviation, or the mean alone where there was one seed.

    >>> mean_sd(0.9123, 0.0104), mean_sd(0.9123), mean_sd(None), mean_sd(123456.0)
    ('0.912 ± 0.010', '0.912', '–', '123500')
    """
    if mean is None:
        return "–"
    if not 0.5 * 10**-digits <= abs(mean) < 10 and mean:
        return score_text(mean) + ("" if sd is None else f" ± {score_text(sd, 2)}")
    return f"{mean:.{digits}f}" + ("" if sd is None else f" ± {sd:.{digits}f}")


def mean_sd_of(row: pd.Series | None, mean: str, sd: str = "") -> str:
    """`mean_sd` of the column `mean` of a row; its deviation is in the column `sd`, by default `mean` with `_sd`.

    >>> mean_sd_of(pd.Series({"val_stability": 0.8, "val_stability_sd": 0.014}), "val_stability"), mean_sd_of(None, "x")
    ('0.800 ± 0.014', '–')
    """
    return mean_sd(value(row, mean), value(row, sd or f"{mean}_sd"))


def on_correction(n_seeds: int, n_trials: int) -> str:
    """What is to be known of a validation accuracy by which a trial was chosen.

    >>> on_correction(2, 40)
    'The best of 40 looks better than it is, by how much 2 seed(s) do not tell; 3 do.'
    """
    if n_seeds < LEAST_SEEDS:
        return (
            f"The best of {n_trials} looks better than it is, by how much {n_seeds} seed(s) do not tell; "
            f"{LEAST_SEEDS} do."
        )
    return f"corrected: what validation is expected to be without the luck of the best among {n_trials}."


def on_spread(n_seeds: int, n_splits: int) -> list[str]:
    """Says what ± holds, where there is one.

    >>> on_spread(3, 1), on_spread(1, 1)
    (['±: standard deviation over 3 seeds, all with the same validation examples.'], [])
    >>> on_spread(6, 3)
    ['±: standard deviation over 6 seeds, which take turns with 3 validation splits.']
    """
    if n_seeds < 2:
        return []
    how = "all with the same validation examples"
    if n_splits > 1:
        how = f"which take turns with {n_splits} validation splits"
    return [f"±: standard deviation over {n_seeds} seeds, {how}."]


def on_same_examples(n_splits: int) -> list[str]:
    """Says what an interval from seeds leaves out, where all of them have the same validation examples.

    >>> len(on_same_examples(1)), on_same_examples(3)
    (1, [])
    """
    if n_splits > 1:
        return []
    return ["All seeds have the same validation examples: what others would say is in no interval (`--splits`)."]


def unsigned(estimate: Estimate) -> str:
    """A quantity that cannot be below 0, and its interval.

    >>> unsigned(Estimate(0.8123456, (0.79, 0.83)))
    '0.8123, 95 % interval 0.7900 to 0.8300'
    """
    low, high = estimate.interval
    return f"{score_text(estimate.value)}, {INTERVAL} {score_text(low)} to {score_text(high)}"


def trial_name(trial: int) -> str:
    """How a trial is called in every output.

    >>> trial_name(7), trial_name(0), trial_name(-1), trial_name(-5)
    ('7', '0 (default)', 'naive', 'naive')
    """
    return reference_method(trial) or (f"{trial} (default)" if trial == DEFAULT_TRIAL else str(trial))


def settings_text(row: pd.Series, settings: Iterable[Setting], separator: str = ", ") -> str:
    """`name=value` of the given settings of a trial; of a reference those that it has."""
    if int(row["trial"]) < 0:
        settings = [s for s in settings if not pd.isna(row.get(s.column, pd.NA))]
        return separator.join(["(reference)", *(f"{s.name}={plain(row[s.column])}" for s in settings)])
    return separator.join(f"{s.name}={plain(row.get(s.column))}" for s in settings)


def one_line(text: str, limit: int = 300) -> str:
    """`text` without line breaks, cut to `limit` characters.

    >>> one_line("a\\n  b"), one_line("abcdef", limit=4)
    ('a b', 'abc…')
    """
    return shortened(" ".join(text.split()), limit)


def shortened(text: str, limit: int) -> str:
    """`text`, cut to `limit` characters, the last of which is then an ellipsis.

    >>> shortened("abcd", 4), shortened("abcde", 4)
    ('abcd', 'abc…')
    """
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def for_html(text: Any) -> str:
    """`text` for HTML content and attribute values.

    >>> for_html('<b>"')
    '&lt;b&gt;&quot;'
    """
    return html.escape(visible(text, keep="\n\t"), quote=True)


def for_plotly(text: Any) -> str:
    """`text` for plotly, which draws a small HTML of its own: it knows `&lt;` but not `&quot;`.

    >>> for_plotly('<b>"')
    '&lt;b&gt;"'
    """
    return html.escape(visible(text, keep="\n\t"), quote=False)


def for_latex(text: Any) -> str:
    """`text` for LaTeX.

    >>> print(for_latex("50%_a"))
    50\\%\\_a
    """
    return "".join(_LATEX.get(letter, letter) for letter in visible(one_line(str(text))))


def for_csv(text: str) -> str:
    """`text` for a CSV cell that a spreadsheet opens: it must not run as a formula.

    >>> for_csv("=1+1"), for_csv("plain")
    ("'=1+1", 'plain')
    """
    text = visible(text, keep="\n\t")
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t") else text
