"""The trials among which one is chosen, and gates that set the luck of the chosen aside."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import analysis
from analysis import comparison, uncertainty
from analysis.among import among
from analysis.comparison import compare_runs
from analysis.noise import Floats
from analysis.study_gate import _beats
from analysis.uncertainty import corrected_means
from cfsweep.errors import InputError, NoAnswerError
from tests.analysis.folder import LATER, Folder, half_grown, matrix_for

AVERAGE = "average_score"


def runs_of(values: Floats) -> pd.DataFrame:
    """As `analysis.load`, with these average accuracies (n_trials, n_seeds), and stability and plasticity the same."""
    n, n_seeds = values.shape
    found = pd.DataFrame({"trial": np.repeat(np.arange(n), n_seeds), "seed": np.tile(np.arange(n_seeds), n)})
    begun = pd.Timestamp("2026-01-01", tz="UTC")
    more = {"state": "done", "config_hash": "x", "failure": None, "started_at": begun, "method": "ewc"}
    columns = {f"val_{name}": values.ravel() for name in (AVERAGE, "stability", "plasticity")}
    return found.assign(**more, **columns, train_s=1.0, stored_bytes=1)


def test_what_can_be_chosen_is_finished_has_the_metric_and_is_there_once(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    for seed in range(3):
        for trial in range(4):
            folder.run(trial, seed, matrix_for(0.6 + 0.1 * trial + 0.01 * seed, 0.9))
        folder.run(4, seed, matrix_for(0.99, 0.99)[:1], state="stopped")
        folder.run(5, seed, matrix_for(0.7, 0.9), same_as=1)
        folder.run(-1, seed, matrix_for(0.2, 0.9))
    found = among(analysis.load(folder.write()), "stability")
    assert found.trials == [0, 1, 2, 3]
    assert found.n_seeds == 3
    assert found.values == pytest.approx(0.6 + 0.1 * np.arange(4)[:, None] + 0.01 * np.arange(3))
    expected = corrected_means(found.values)
    assert expected is not None
    assert [found.corrected(trial) for trial in found.trials] == expected.tolist()
    assert found.corrected(4) is None
    assert found.side(-1) is None
    side = found.side(2)
    assert side is not None
    assert side.values[side.place] == pytest.approx([0.8, 0.81, 0.82])


def test_a_trial_without_a_value_is_not_among_them() -> None:
    values = 0.8 + 0.01 * np.random.default_rng(0).standard_normal((6, 3))
    values[2, 1] = np.nan
    found = among(runs_of(values), AVERAGE)
    assert found.trials == [0, 1, 3, 4, 5]
    assert found.corrected(2) is None
    assert not np.isnan(found.values).any()


def test_two_seeds_correct_nothing_and_no_trial_is_no_trial() -> None:
    assert among(runs_of(np.full((3, 2), 0.8)), AVERAGE).corrected(0) is None
    none = among(runs_of(np.full((3, 3), np.nan)), AVERAGE)
    assert (none.trials, none.corrected(0)) == ([], None)
    with pytest.raises(InputError, match="unknown metric `accuray`"):
        among(runs_of(np.full((3, 3), 0.8)), "accuray")


def test_only_the_seeds_that_are_asked_for() -> None:
    values = 0.8 + 0.01 * np.random.default_rng(1).standard_normal((4, 5))
    assert among(runs_of(values), AVERAGE, [1, 3, 4]).values == pytest.approx(values[:, [1, 3, 4]])


def test_seeds_that_are_being_added_are_not_among_them(tmp_path: Path) -> None:
    """Nor do they turn away the trials that lack them."""
    found = among(analysis.load(half_grown(tmp_path).write()), "stability")
    assert found.trials == [0, 1, 2]
    assert found.values.tolist() == [[0.7], [0.8], [0.6]]


def test_a_chosen_trial_is_compared_over_seeds_that_count(tmp_path: Path) -> None:
    """The default and the best have four seeds, the others one, while seeds are being added."""
    folder = Folder(tmp_path, seeds=4)
    for trial in range(4):
        folder.run(trial, 0, matrix_for(0.6 + 0.02 * trial, 0.9))
    for seed in (1, 2, 3):
        for trial in (0, 3):
            folder.run(trial, seed, matrix_for(0.6 + 0.02 * trial + 0.001 * seed, 0.9), started_at=LATER)
    root = folder.write()
    by_choice = {d.metric: d for d in analysis.compare(root)}
    assert by_choice["stability"].n_seeds == 1
    assert by_choice["stability"].corrected is None
    named = {d.metric: d for d in analysis.compare(root, first=0, second=3)}
    assert named["stability"].n_seeds == 4
    assert named["stability"].difference == pytest.approx(0.06)


def test_two_studies_are_known_by_their_own_seeds() -> None:
    """Seeds move the second study as a whole: tables of one study would not say so."""
    draw = np.random.default_rng(3)
    first = runs_of(0.8 + 0.005 * draw.standard_normal((24, 3)))
    second = runs_of(0.8 + np.array([-0.05, 0.0, 0.05]) + 0.005 * draw.standard_normal((24, 3)))
    (found,) = compare_runs(first, 0, second, 5, [AVERAGE], chosen=(False, True))
    assert found.corrected is not None
    low, high = found.corrected.interval
    assert high - low > 0.15, "4.3 times 0.05 / √3, on either side"


def passes(runs: pd.DataFrame, margin: float = 0.0) -> bool:
    """Whether the best of them passes `--beats default`."""
    best = int(runs.groupby("trial")[f"val_{AVERAGE}"].mean().idxmax())
    return best != 0 and _beats(runs, best, "default", margin)[0]


@pytest.fixture
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as tell what passes: the end of an interval then errs by a tenth of a standard error."""
    monkeypatch.setattr(comparison, "corrected", partial(uncertainty.corrected, draws=400))


@pytest.mark.parametrize("n_seeds", [3, pytest.param(5, marks=pytest.mark.slow)])
def test_the_best_of_equal_configurations_does_not_pass_for_better(n_seeds: int, few_draws: None) -> None:
    draw, passed, raw = np.random.default_rng(n_seeds), 0, 0
    for _ in range(60):
        values = 0.8 + 0.02 * draw.standard_normal((1, n_seeds)) + 0.015 * draw.standard_normal((40, n_seeds))
        passed += passes(runs_of(values))
        best = values.mean(1).argmax()
        named = uncertainty.paired(values[best] - values[0])
        raw += named is not None and named.interval[0] > 0
    assert passed <= 3, "1 in 20"
    assert raw > 3, "Student's interval about the raw difference lets by more"


@pytest.mark.parametrize(
    ("spread", "n_seeds", "least"), [(0.03, 3, 17), (0.03, 5, 18), (0.0, 5, 12)], ids=["3 seeds", "5 seeds", "alone"]
)
def test_what_is_truly_better_passes(spread: float, n_seeds: int, least: int, few_draws: None) -> None:
    """The best of 40, above the default by three standard deviations of the noise: nearly always where the others
    differ, mostly where it stands alone beside equal ones, to which it is drawn. A margin of as much stops it."""
    draw, passed, beyond = np.random.default_rng(10 + n_seeds), 0, 0
    for study in range(20):
        true = 0.8 + spread * draw.standard_normal(40)
        true[7] = true.max() + (0.0 if spread else 0.045)
        true[0] = true[7] - 0.045
        runs = runs_of(true[:, None] + 0.015 * draw.standard_normal((40, n_seeds)))
        passed += passes(runs)
        beyond += study < 10 and passes(runs, margin=0.045)
    assert passed >= least
    assert beyond <= 1


def test_a_margin_is_held_against_the_lower_end() -> None:
    draw = np.random.default_rng(0)
    runs = runs_of(np.linspace(0.7, 0.85, 16)[:, None] + 0.004 * draw.standard_normal((16, 3)))
    (found,) = compare_runs(runs, 0, runs, 15, [AVERAGE], chosen=(False, True))
    assert found.corrected is not None
    low = found.corrected.interval[0]
    held, said = _beats(runs, 15, "default", low - 1e-6)
    assert held
    assert "beats default in average_score by more than" in said
    held, said = _beats(runs, 15, "default", low + 1e-6)
    assert not held
    assert "does not beat default" in said


def test_a_trial_with_the_very_scores_of_the_default_does_not_beat_it() -> None:
    runs = runs_of(np.full((5, 3), 0.75))  # a sum of powers of 2: nothing is rounded
    held, said = _beats(runs, 3, "default", 0.0)
    assert not held
    assert "95 % interval +0.0000 to +0.0000" in said


def lucky(root: Path) -> Path:
    """Twelve equal trials with noise, of which the best has an average score above 0.85 by luck alone."""
    folder, draw = Folder(root, seeds=3), np.random.default_rng(2)
    for trial in range(12):
        for seed in range(3):
            folder.run(trial, seed, matrix_for(0.8 + 0.05 * draw.standard_normal(), 0.8))
    return folder.write()


def test_a_minimum_is_held_against_what_the_choice_leaves(tmp_path: Path) -> None:
    root = lucky(tmp_path)
    found = among(analysis.load(root), AVERAGE)
    best = int(found.values.mean(1).argmax())
    raw, left = float(found.values.mean(1)[best]), found.corrected(found.trials[best])
    assert left is not None
    assert left < raw - 0.01
    analysis.gate(root, min_average_score=left - 1e-6)
    with pytest.raises(NoAnswerError, match=f"average_score {left:.4f} < .* before the correction"):
        analysis.gate(root, min_average_score=(left + raw) / 2)


def test_a_selection_has_both_numbers_on_record(tmp_path: Path) -> None:
    root = lucky(tmp_path)
    record = analysis.select(root)
    left = among(analysis.load(root), AVERAGE).corrected(record["trial"])
    assert record["corrected_for_the_choice"][f"val_{AVERAGE}"] == left
    assert record["validation"][f"val_{AVERAGE}"]["mean"] > left + 0.01
