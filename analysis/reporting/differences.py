"""What a comparison says: the cells of its table, and in words who was compared and what each interval holds for."""

from __future__ import annotations

import shlex

from analysis.comparison import Comparison, Difference, Party
from analysis.description import study
from analysis.formatting import INTERVAL, on_same_examples, plain, trial_name
from analysis.noise import ROUNDING
from analysis.uncertainty import LEAST_SEEDS, Interval
from cfsweep.errors import few

_PLAIN_FROM = 1000  # from here on a number is told whole: bytes are counted, and seconds of that size known no better


def heads(found: Comparison) -> list[str]:
    """The heads of the table; two more columns where something is corrected for the choice of a trial."""
    raw = ["metric", "first", "second", "difference", INTERVAL]
    return [*raw, "corrected", INTERVAL] if _with_choice(found) else raw


def cells(found: Comparison) -> list[list[str]]:
    """Its rows, one for each metric."""
    corrected = _with_choice(found)
    return [[*_raw(d), *(_of_choice(d) if corrected else [])] for d in found.differences]


def _with_choice(found: Comparison) -> bool:
    return any(d.corrected is not None for d in found.differences)


def _raw(d: Difference) -> list[str]:
    return [d.metric, whole(d.first), whole(d.second), signed(d.difference), between(d.interval)]


def _of_choice(d: Difference) -> list[str]:
    return ["–", "–"] if d.corrected is None else [signed(d.corrected.value), between(d.corrected.interval)]


def whole(value: float) -> str:
    """A number in four digits, or, from a thousand on, rounded to a whole one.

    >>> whole(0.83333333), whole(123456.0), whole(31.25)
    ('0.8333', '123,456', '31.25')
    """
    return f"{value:,.0f}" if abs(value) >= _PLAIN_FROM else plain(value)


def signed(value: float) -> str:
    """A difference in three digits, or, from a thousand on, rounded to a whole number.

    >>> signed(0.0123456), signed(-16300.0), signed(0.0)
    ('+0.0123', '-16,300', '+0')
    """
    return f"{value:+,.0f}" if abs(value) >= _PLAIN_FROM else f"{value:+.3g}"


def between(ends: Interval | None) -> str:
    """An interval, and a dash where there is none, or where it has no width: there was no noise to take it from.

    >>> between((-0.02, 0.0345)), between((0.2, 0.2)), between(None)
    ('-0.02 to +0.0345', '–', '–')
    """
    if ends is None or ends[1] - ends[0] <= ROUNDING * max(map(abs, ends)):
        return "–"
    return f"{signed(ends[0])} to {signed(ends[1])}"


def lines(found: Comparison) -> list[str]:
    """Who is compared, over which seeds, and what the intervals hold for."""
    told = [f"{place}: {_who(party)}." for place, party in (("first", found.first), ("second", found.second))]
    seeds = found.differences[0].seeds if found.differences else ()
    told.append(f"difference: second - first, paired by seed, over {_seeds(seeds)}.")
    if len(seeds) < LEAST_SEEDS:
        told.append(f"An interval takes {LEAST_SEEDS} seeds: {_more_seeds(found)}.")
        return told + _warnings(found)
    told.append(
        f"{INTERVAL}: Student's, of the paired differences (– where they do not vary). It holds if both trials were "
        "named before anybody looked at scores."
    )
    told += on_same_examples(min(study(party.root).splits for party in (found.first, found.second)))
    if _with_choice(found):
        n_among = max(d.n_among for d in found.differences)
        told.append(
            f"corrected: without what the choice among {n_among} adds. Its interval holds for what was chosen by its "
            "score; it pools the noise over all trials, Student's has that of these two alone, so that either may be "
            "narrower."
        )
    return told + _warnings(found)


def _seeds(seeds: tuple[int, ...]) -> str:
    """
    >>> _seeds((1,)), _seeds((0, 1, 2)), _seeds((0, 2))
    ('seed 1', 'seeds 0 to 2', 'seeds 0, 2')
    """
    if len(seeds) > 2 and seeds == tuple(range(seeds[0], seeds[-1] + 1)):
        return f"seeds {seeds[0]} to {seeds[-1]}"
    return f"seed{'s' * (len(seeds) != 1)} {few(seeds)}"


def _who(party: Party) -> str:
    who = f"trial {trial_name(party.trial)}" if party.trial >= 0 else trial_name(party.trial)
    return f"{who} of {party.root}, {'taken as named beforehand' if party.named else f'chosen: {party.leads}'}"


def _more_seeds(found: Comparison) -> str:
    """The commands after which both have enough seeds: of each folder that was to have fewer, or of both, where seeds
    are still on their way."""
    planned = {str(party.root): study(party.root).seeds or 1 for party in (found.first, found.second)}
    short = {root: LEAST_SEEDS for root, seeds in planned.items() if seeds < LEAST_SEEDS} or planned
    commands = (shlex.join(["cfsweep", "resume", root, "--seeds", str(seeds)]) for root, seeds in short.items())
    return " and ".join(f"`{command}`" for command in commands)


def _warnings(found: Comparison) -> list[str]:
    """Says where a trial that was named is one that its study would choose, so that it may have been named for its
    score. The default is named by the library."""
    return [
        f"Trial {party.trial} is named here, and is the one that {party.root} chooses ({party.leads}): Student's "
        "interval holds only if it was named before anybody looked at scores."
        for party in dict.fromkeys((found.first, found.second))
        if party.named and party.leads and party.trial > 0
    ]
