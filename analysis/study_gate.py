"""The gate of a study for continuous integration: whether its chosen trial is good enough."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from analysis.aggregate import AVERAGE, row_of, trials, value
from analysis.among import among
from analysis.comparison import chosen_trial, compare_runs
from analysis.constant_answer import beaten_by_majority, tasks_behind
from analysis.description import Root, study
from analysis.formatting import on_same_examples, trial_name
from analysis.frames import load
from analysis.references import best_reference
from analysis.seeds import being_added, counted
from analysis.uncertainty import LEAST_SEEDS
from cfsweep.errors import InputError, NoAnswerError, unknown
from cfsweep.files import write_atomically
from cfsweep.results.schema import DEFAULT_TRIAL, NAIVE
from cfsweep.texts import score_text

OPPONENTS = ("default", NAIVE)


@dataclass(frozen=True)
class Judged:
    """The chosen `trial` of a study, `why` it is the chosen one, and of each check whether it passes and what is said.
    `behind` names the tasks on which it is no better than the constant answer, and `notes` say what an interval leaves
    out; neither decides anything."""

    trial: int
    why: str
    checks: tuple[tuple[bool, str], ...]
    behind: str | None
    notes: tuple[str, ...] = ()

    @property
    def passes(self) -> bool:
        return all(passed for passed, _ in self.checks)


def gate(
    root: Root,
    min_average_score: float | None = None,
    min_stability: float | None = None,
    min_plasticity: float | None = None,
    beats: str | None = None,
    margin: float = 0.0,
) -> list[str]:
    """Checks the study's chosen trial (see `chosen_trial`) on validation data and returns one line per check passed,
    one more where it is no better than the constant answer on some tasks, and one where an interval comes of seeds that
    all have the same validation examples.

    A trial that is no better than the constant answer (`analysis.constant_answer`) fails whatever is asked. Minima are
    within the bounds of the score, for the true mean over seeds: the raw mean of the best of many is too high, so that
    a minimum is held against the corrected one (`analysis.uncertainty.corrected_means`; with fewer than three seeds
    there is none, and the line says so). That is an estimate: no interval has to lie above the minimum. `beats`
    (`default`, `naive`) asks that the average score be higher by more than `margin`: the interval of the corrected
    difference over the same seeds must lie above it, which takes three seeds. `naive` with several settings is the best
    of them, and not corrected for that, which makes it harder to beat. Seeds that are being added count once every
    trial has them, as in `analysis.trials`.

    Raises:
        InputError: nothing to check, a minimum that the score cannot have, an unknown `beats`, or a margin without it
            or as wide as the score's bounds.
        NoAnswerError: a check fails; the message lists every failure.
    """
    return require_passes(root, judged(root, min_average_score, min_stability, min_plasticity, beats, margin))


def require_passes(root: Root, found: Judged) -> list[str]:
    """The lines that say what was checked.

    Raises:
        NoAnswerError: a check fails; the message lists every failure.
    """
    who = f"trial {trial_name(found.trial)} ({found.why})"
    failures = [text for passed, text in found.checks if not passed]
    if failures:
        raise NoAnswerError(f"{root}: {who} fails: {'; '.join(failures)}.")
    return [*(f"{who}: {text}" for _, text in found.checks), *([found.behind] if found.behind else []), *found.notes]


def judged(
    root: Root,
    min_average_score: float | None = None,
    min_stability: float | None = None,
    min_plasticity: float | None = None,
    beats: str | None = None,
    margin: float = 0.0,
) -> Judged:
    """What `gate` finds, also where a check fails; arguments and errors are otherwise the same.

    Raises:
        InputError: as of `gate`.
        NoAnswerError: no trial has finished.
    """
    minima = {"average_score": min_average_score, "stability": min_stability, "plasticity": min_plasticity}
    if beats is None and all(limit is None for limit in minima.values()):
        raise InputError(
            "gate: nothing to check. Give --min-average-score, --min-stability, --min-plasticity, --beats."
        )
    about = study(root)
    low, high = about.score_bounds
    for name, limit in minima.items():
        if limit is not None and not low <= limit <= high:
            option = f"min-{name.replace('_', '-')}"
            rule = f"`{low:g} <= {option} <= {high:g}`"
            raise InputError(f"gate: {rule} must hold, but got --{option} {limit:g}. Change it.")
    if beats is not None and beats not in OPPONENTS:
        raise unknown("gate", "opponent", beats, OPPONENTS)
    if not 0 <= margin < high - low:
        raise InputError(f"gate: `0 <= margin < {high - low:g}` must hold, but got {margin:g}. Change it.")
    if margin and beats is None:
        raise InputError(f"gate: a margin needs an opponent, but got {margin:g} alone. Give --beats.")
    rows = load(root)
    runs = counted(rows)
    trial, why = chosen_trial(root, runs)
    table = trials(runs)
    row = row_of(table, trial)
    checks = [_minimum(runs, row, trial, name, limit) for name, limit in minima.items() if limit is not None]
    if beats is not None:
        checks.append(_beats(runs, trial, beats, margin))
    if beaten := beaten_by_majority(table, trial):
        checks.append((False, beaten))
    of_interval = on_same_examples(about.splits) if beats is not None else []
    return Judged(trial, why, tuple(checks), tasks_behind(root, trial, being_added(rows)), tuple(of_interval))


def write_json(path: Path, root: Root, found: Judged) -> None:
    """Writes what a gate of a study found for a program to read, whole or not at all: `passes`, the folder, the trial
    and why it is the chosen one, each check with its line, the tasks behind the constant answer, or null, and notes."""
    content = {
        "passes": found.passes,
        "study": str(root),
        "trial": found.trial,
        "why": found.why,
        "checks": [{"passes": passed, "says": text} for passed, text in found.checks],
        "behind_constant": found.behind,
        "notes": list(found.notes),
    }
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def _minimum(runs: pd.DataFrame, row: pd.Series | None, trial: int, name: str, limit: float) -> tuple[bool, str]:
    raw = value(row, f"val_{name}")
    if raw is None:
        return False, f"{name} has no value"
    others = among(runs, name)
    held = others.corrected(trial)
    said = f"{score_text(raw)} before the correction for the choice among {len(others.trials)}"
    if held is None:
        held, said = raw, f"not corrected for the choice among {len(others.trials)}, as {_few(others.n_seeds)}"
    return held >= limit, f"{name} {score_text(held)} {'>=' if held >= limit else '<'} {limit:g} ({said})"


def _beats(runs: pd.DataFrame, trial: int, opponent: str, margin: float) -> tuple[bool, str]:
    try:
        other = best_reference(runs, NAIVE) if opponent == NAIVE else DEFAULT_TRIAL
        (found,) = compare_runs(runs, other, runs, trial, [AVERAGE], chosen=(False, True))
    except InputError:
        return False, f"{opponent} has no finished run over the same seeds"
    raw = f"does not beat {opponent} in {AVERAGE} ({score_text(found.difference, sign='+')}"
    if trial == other:
        return False, f"{raw}: it is {opponent} itself)"
    if found.corrected is None:
        return False, f"{raw}, but {_few(found.n_seeds)})"
    held = found.corrected.interval[0] > margin
    verb = "beats" if held else "does not beat"
    by = f" by more than {margin:g}" if margin else ""
    return held, (
        f"{verb} {opponent} in {AVERAGE}{by} ({found.corrected.text}, corrected for the choice among "
        f"{found.n_among}; raw {score_text(found.difference, sign='+')})"
    )


def _few(n_seeds: int) -> str:
    return f"{n_seeds} seed(s) tell nothing of luck; `cfsweep resume DIR --seeds {LEAST_SEEDS}` does"
