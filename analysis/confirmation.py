"""What fresh seeds and test data say of trials that were chosen: read from what `cfsweep confirm` wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from analysis.aggregate import AVERAGE, AVERAGE_COLUMN, finished, row_of, trials, value
from analysis.among import among
from analysis.choice import opened_by, selection
from analysis.description import Root, study
from analysis.formatting import mean_sd, trial_name
from analysis.frames import load, numbers, table_of
from analysis.fronts import front
from analysis.known_tasks import known_note
from analysis.seeds import being_added
from cfsweep.errors import InputError
from cfsweep.results.addresses import in_command, inside
from cfsweep.results.reader import is_study
from cfsweep.results.schema import DEFAULT_TRIAL, MAJORITY_TRIAL, NAIVE, reference_method
from cfsweep.texts import score_text

CONFIRMED, REFITTED = "confirmed", "refitted"  # folders within that of the sweep


@dataclass(frozen=True)
class Mean:
    """A mean over `n` seeds, and their sample standard deviation (None with one)."""

    value: float
    sd: float | None
    n: int

    @property
    def text(self) -> str:
        """
        >>> Mean(0.9712, 0.006, 5).text, Mean(0.9712, None, 1).text
        ('0.971 ± 0.006', '0.971')
        """
        return mean_sd(self.value, self.sd)


@dataclass(frozen=True)
class Confirmation:
    """Average score at the end of one trial or reference, in [0, 1]: on validation data with the seeds of the sweep
    (`chosen_by`; `corrected` for the choice among all its trials, see `analysis.uncertainty`) and with `fresh` ones; on
    test data with the fresh ones (`test`; of a sweep of earlier versions, which tested by itself, with its own), and of
    models that were trained on the validation data, too (`refitted`). None where there is no such number. `selected`:
    it is the one that was chosen. `also` are the means of the study's other scores on test data, by name."""

    trial: int
    chosen_by: Mean | None
    corrected: float | None
    fresh: Mean | None
    test: Mean | None
    refitted: Mean | None
    selected: bool = False
    also: Mapping[str, Mean] = field(default_factory=dict)


def confirmed_in(root: Root, name: str = CONFIRMED) -> str | None:
    """The folder of what was confirmed of the sweep in `root`, or None."""
    place = inside(root, name)
    if not is_study(place):
        return None
    confirms = study(place).raw.get("confirms") or {}
    return place if confirms.get("study_id") == study(root).study_id else None


def to_confirm(root: Root, which: str) -> tuple[list[int], list[int]]:
    """The trials that `cfsweep confirm --trials` asks for, and the references beside them: `selected` is the selected
    one and the default, if that has finished, `front` all trials on the front of the study, too, and else it is numbers
    with commas between.

    Raises:
        InputError: `root` confirms a sweep itself, no trial was selected, or `which` is something else.
    """
    if "confirms" in study(root).raw:
        raise InputError(f"{root}: it confirms a sweep itself. Give the folder of the sweep.")
    record = _selected(root)
    shown, table = opened_by(record), trials(load(root))
    done = {record["trial"], *finished(table)["trial"].tolist()}
    numbers, references = [n for n in shown if n in done and n >= 0], [n for n in shown if MAJORITY_TRIAL < n < 0]
    if which == "front":
        about = study(root)
        members = front(table, about.front_objectives, score_bounds=about.score_bounds).members
        numbers += [int(n) for n in members["trial"] if int(n) not in numbers]
    elif which != "selected":
        try:
            numbers = list(dict.fromkeys(int(n) for n in which.split(",")))
        except ValueError:
            raise InputError(
                f"--trials {which}: `selected`, `front` or numbers such as `3,17` are needed. Write one of these."
            ) from None
    return numbers, references


def selected(root: Root) -> int:
    """The trial that was selected.

    Raises:
        InputError: none was.
    """
    return int(str(_selected(root)["trial"]))


def is_tested(root: Root) -> bool:
    """Whether there are test numbers of the sweep in `root`, which a selection opens."""
    if any(confirmed_in(root, name) is not None for name in (CONFIRMED, REFITTED)):
        return True
    record = selection(root)
    return record is not None and not _opened(root, record).empty


def confirmation(root: Root) -> list[Confirmation]:
    """What is known of the trials that were confirmed, the selected one first, then the others by their number, the
    references last; of a sweep of earlier versions, which tested by itself, what its selection opens.

    Raises:
        InputError: no trial was selected, or nothing was confirmed.
    """
    record, refitted_in, fresh_in = _selected(root), confirmed_in(root, REFITTED), confirmed_in(root)
    refitted = {} if refitted_in is None else _tested(refitted_in)
    also: dict[str, dict[int, Mean]] = {}
    if fresh_in is not None:
        tests, also = _tested(fresh_in), _also_tested(fresh_in)
    else:
        tests = {} if refitted else _means(test_scores(root), being_added(load(root)), study(root).score)
    swept = trials(load(root))
    fresh = None if fresh_in is None else trials(load(fresh_in))
    others = among(load(root), AVERAGE)
    shown = opened_by(record)
    known = {*tests, *refitted}
    order = [n for n in shown if n in known and n >= 0]
    order += sorted(n for n in known if n >= 0 and n not in shown)
    order += [n for n in shown if n in known and n < 0]
    return [
        Confirmation(
            trial,
            _mean_of(swept, trial),
            others.corrected(trial) if trial == record["trial"] else None,
            None if fresh is None else _mean_of(fresh, trial),
            tests.get(trial),
            refitted.get(trial),
            trial == record["trial"],
            {score: of[trial] for score, of in also.items() if trial in of},
        )
        for trial in order
    ]


def columns(found: Sequence[Confirmation]) -> dict[str, list[str]]:
    """What is shown of them, by heading: a cell for each; no column in which no number is known, but the first three.

    >>> columns([Confirmation(7, Mean(0.983, None, 1), 0.97, None, Mean(0.9512, 0.006, 5), None)])
    {'trial': ['7'], 'validation': ['0.983'], 'corrected': ['0.970'], 'test': ['0.951 ± 0.006']}
    """
    is_fresh = any(one.fresh is not None for one in found)
    means: dict[str, list[Mean | None]] = {
        "validation, fresh seeds": [one.fresh for one in found],
        "test, fresh seeds" if is_fresh else "test": [one.test for one in found],
        "test, refitted": [one.refitted for one in found],
        **{f"{score}, test": [one.also.get(score) for one in found] for one in found for score in one.also},
    }
    return {
        "trial": [trial_name(one.trial) for one in found],
        "validation": [_text(one.chosen_by) for one in found],
        "corrected": [mean_sd(one.corrected) for one in found],
        **{head: [_text(mean) for mean in of] for head, of in means.items() if any(of)},
    }


def _text(mean: Mean | None) -> str:
    return mean_sd(None) if mean is None else mean.text


def luck(found: Sequence[Confirmation]) -> str:
    """How much of the selected one's number was luck, in a line: the curse of the winner; and whether fresh seeds find
    the default better.

    >>> luck([Confirmation(7, Mean(0.983, None, 1), None, Mean(0.9712, 0.006, 5), None, None, selected=True)])
    'Chosen at 0.983, fresh seeds say 0.971 ± 0.006 (5 seeds): 0.012 less.'
    """
    chosen = next((one for one in found if one.selected), None)
    if chosen is None or chosen.chosen_by is None or chosen.fresh is None:
        return ""
    less = chosen.chosen_by.value - chosen.fresh.value
    default = next((one.fresh for one in found if one.trial == DEFAULT_TRIAL and not one.selected), None)
    better = default is not None and default.value > chosen.fresh.value
    return (
        f"Chosen at {score_text(chosen.chosen_by.value, 3)}, fresh seeds say {chosen.fresh.text} ({chosen.fresh.n} "
        f"seed{'s' * (chosen.fresh.n != 1)}): {score_text(abs(less), 3)} {'less' if less > 0 else 'more'}."
        + (f" The default has {default.text} by these." if default is not None and better else "")
    )


def known_on_test(root: Root) -> str | None:
    """`known_note` of the selected trial and of `naive`, on test data; of models that were trained on the validation
    data, too, where there are no others. None where the study knows no task, or nothing was tested.

    Raises:
        InputError: no trial was selected.
    """
    about, record = study(root), _selected(root)
    if not about.n_learned:
        return None
    folder = confirmed_in(root) or confirmed_in(root, REFITTED)
    rows = _opened(root, record) if folder is None else table_of(folder, "test")
    rows = rows[~rows["seed"].isin(being_added(load(folder or root)))]
    naive = [trial for trial in opened_by(record) if reference_method(trial) == NAIVE]
    return known_note(about, rows, "test", [record["trial"], *naive])


def test_scores(root: Root) -> pd.DataFrame:
    """Test scores, long (trial, seed, after_task, eval_task, n_examples, and each score by its name): of the trials and
    references that were confirmed, with fresh seeds; of a sweep of earlier versions, which tested by itself, those of
    the selected trial, the default and the references, with the seeds of the sweep.

    Raises:
        InputError: no trial was selected, or nothing was confirmed.
    """
    record, folder = _selected(root), confirmed_in(root)
    rows = _opened(root, record) if folder is None else table_of(folder, "test")
    if folder is None and rows.empty:
        raise InputError(
            f"{root}: nothing was tested yet. `cfsweep confirm {in_command(root)}` tests what was selected."
        )
    return rows.sort_values(["trial", "seed", "after_task", "eval_task"], ignore_index=True)


def _opened(root: Root, record: Mapping[str, Any]) -> pd.DataFrame:
    """The test accuracies that a selection opens in a sweep of earlier versions; none in one of today."""
    rows = table_of(root, "test")
    return rows[rows["trial"].isin(opened_by(record))]


def _tested(folder: str) -> dict[int, Mean]:
    return _means(table_of(folder, "test"), being_added(load(folder)), study(folder).score)


def _also_tested(folder: str) -> dict[str, dict[int, Mean]]:
    """The means of each score but the one that steers, by its name."""
    about = study(folder)
    others = [str(score["name"]) for score in about.raw.get("scores") or () if score["name"] != about.score]
    rows, added = table_of(folder, "test"), being_added(load(folder))
    return {score: _means(rows, added, score) for score in others}


def _means(rows: pd.DataFrame, added: Sequence[int], score: str) -> dict[int, Mean]:
    """The means of the last rows of the matrices of `score`, without the seeds that are being `added`; none of a trial
    that lacks the score on some task."""
    rows = rows[~rows["seed"].isin(added)]
    n_tasks = rows["eval_task"].max() + 1 if len(rows) else 0
    last = rows[rows["after_task"] == n_tasks - 1]
    lacking = last.loc[last[score].isna(), "trial"]
    per_seed = last[~last["trial"].isin(lacking)].groupby(["trial", "seed"])[score].mean()
    found = {}
    for trial, values in per_seed.groupby("trial"):
        of_seeds = numbers(values)
        sd = float(of_seeds.std(ddof=1)) if len(of_seeds) > 1 else None
        found[int(str(trial))] = Mean(float(of_seeds.mean()), sd, len(of_seeds))
    return found


def _mean_of(table: pd.DataFrame, trial: int) -> Mean | None:
    row = row_of(table, trial)
    mean = value(row, AVERAGE_COLUMN)
    if row is None or mean is None:
        return None
    return Mean(mean, value(row, f"{AVERAGE_COLUMN}_sd"), int(row["n_seeds"]))


def _selected(root: Root) -> dict[str, Any]:
    record = selection(root)
    if record is None:
        study(root)  # which says if there is none
        raise InputError(
            f"{root}: test data stay closed until a trial is chosen. Run `cfsweep select {in_command(root)}` first."
        )
    return record


# pytest collects functions by this prefix; this is no test.
test_scores.__test__ = False  # type: ignore[attr-defined]
