"""What fresh seeds and test data say: validation of the sweep, of fresh seeds and test, side by side."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import analysis
from analysis.confirmation import (
    Confirmation,
    Mean,
    columns,
    confirmation,
    confirmed_in,
    is_tested,
    luck,
    test_scores,
    to_confirm,
)
from analysis.reporting.page import render
from cfsweep.errors import InputError
from tests.analysis.folder import LATER, Folder, matrix_for

OLD = Path(__file__).parents[1] / "fixtures" / "old_folder" / "study"


def swept(root: Path, **about: object) -> Folder:
    """Trial 2 is the best of a sweep with two seeds: average accuracies of .7 ± .01 (0), .6 (1) and .8 ± .02 (2); of
    .5 (naive) and .85 (joint). Trial 3 was stopped."""
    folder = Folder(root, n_tasks=2, **about)  # type: ignore[arg-type]
    for trial, (mean, shift) in {
        0: (0.7, 0.01),
        1: (0.6, 0.0),
        2: (0.8, 0.02),
        -1: (0.5, 0.0),
        -2: (0.85, 0.0),
    }.items():
        for seed, sign in ((0, -1), (1, 1)):
            apart = sign * shift / 2**0.5  # two values this far from their mean have an sd of `shift`
            folder.run(trial, seed, matrix_for(mean + apart, mean + apart, 2))
    for seed in (0, 1):
        folder.run(3, seed, matrix_for(0.1, 0.2, 2)[:1], state="stopped")
    return folder


def fresh(folder: Folder, trial: int, *means: float, purpose: str = "confirm") -> None:
    """Confirms a trial, with these average accuracies on validation data, test data .05 below."""
    for number, mean in enumerate(means):
        folder.confirm(trial, 10_000 + number, matrix_for(mean, mean, 2), purpose, test_shift=-0.05)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Trial 2 was chosen at .80, and is .77, .79 and .75 with fresh seeds; 1, the default and both references are
    confirmed beside."""
    folder = swept(tmp_path / "study")
    for trial, means in {
        1: (0.6, 0.6, 0.6),
        -2: (0.85, 0.86, 0.87),
        2: (0.77, 0.79, 0.75),
        0: (0.7, 0.71, 0.72),
    }.items():
        fresh(folder, trial, *means)
    fresh(folder, -1, 0.5, 0.5, 0.5)
    return folder.write()


def test_validation_of_the_sweep_of_fresh_seeds_and_test_stand_side_by_side(root: Path) -> None:
    analysis.select(root)
    found = confirmation(root)
    assert [one.trial for one in found] == [2, 0, 1, -1, -2], "the selected one first, the references last"
    assert [one.selected for one in found] == [True, False, False, False, False]
    first, default = found[:2]
    assert first.chosen_by == Mean(pytest.approx(0.8), pytest.approx(0.02), 2)
    assert first.fresh == Mean(pytest.approx(0.77), pytest.approx(0.02), 3)
    assert first.test == Mean(pytest.approx(0.72), pytest.approx(0.02), 3)
    assert (first.refitted, default.corrected) == (None, None)
    assert default.test == Mean(pytest.approx(0.66), pytest.approx(0.01), 3)
    assert luck(found) == "Chosen at 0.800, fresh seeds say 0.770 ± 0.020 (3 seeds): 0.030 less."
    shown = columns(found)
    assert list(shown) == ["trial", "validation", "corrected", "validation, fresh seeds", "test, fresh seeds"]
    assert [cells[0] for cells in shown.values()][3:] == ["0.770 ± 0.020", "0.720 ± 0.020"]
    assert shown["trial"] == ["2", "0 (default)", "1", "naive", "joint"]
    assert shown["corrected"][1:] == ["–"] * 4


def test_test_numbers_are_closed_until_a_choice_is_on_record(root: Path) -> None:
    for look in (confirmation, test_scores, lambda of: to_confirm(of, "selected")):
        with pytest.raises(InputError, match=r"stay closed until a trial is chosen\. Run `cfsweep select .*` first\.$"):
            look(root)
    assert "0.720" not in render(root)
    analysis.select(root)
    rows = test_scores(root)
    assert set(rows["seed"]) == {10_000, 10_001, 10_002}
    assert len(rows) == 5 * 3 * 3 * 2
    assert "0.720" in (text := render(root))
    assert "Chosen at 0.800, fresh seeds say 0.770" in text
    assert "cfsweep confirm" not in text


def test_what_was_confirmed_without_the_selected_one_tells_nothing_of_its_luck(tmp_path: Path) -> None:
    folder = swept(tmp_path)
    fresh(folder, 1, 0.7)
    root = folder.write()
    analysis.select(root)
    found = confirmation(root)
    assert [(one.trial, one.selected) for one in found] == [(1, False)]
    assert found[0].test == Mean(pytest.approx(0.65), None, 1)
    assert luck(found) == luck([]) == ""


@pytest.mark.parametrize(("fresh_mean", "said"), [(0.75, "(1 seed): 0.050 less."), (0.9, "(1 seed): 0.100 more.")])
def test_luck_may_be_bad(fresh_mean: float, said: str) -> None:
    mean = Mean(0.8, None, 1)
    one = Confirmation(4, mean, None, Mean(fresh_mean, None, 1), None, None, selected=True)
    assert luck([Confirmation(9, mean, None, mean, None, None), one]).endswith(said)


def test_a_default_that_fresh_seeds_find_better_is_told() -> None:
    def found(default: float) -> str:
        others = Confirmation(0, None, None, Mean(default, 0.01, 5), None, None)
        return luck([Confirmation(4, Mean(0.8, None, 3), None, Mean(0.7, None, 5), None, None, selected=True), others])

    assert found(0.75).endswith("0.100 less. The default has 0.750 ± 0.010 by these.")
    assert found(0.65).endswith("0.100 less.")


def test_refitted_alone(tmp_path: Path) -> None:
    folder = swept(tmp_path)
    for trial in (0, 2):
        fresh(folder, trial, 0.8, 0.9, purpose="refit")
    root = folder.write()
    analysis.select(root)
    assert is_tested(root)
    found = confirmation(root)
    assert [(one.trial, one.fresh, one.test) for one in found] == [(2, None, None), (0, None, None)]
    assert found[0].refitted == Mean(pytest.approx(0.8), pytest.approx(0.1 / 2**0.5), 2)
    assert list(columns(found)) == ["trial", "validation", "corrected", "test, refitted"]
    assert luck(found) == ""
    with pytest.raises(InputError, match="nothing was tested yet"):
        test_scores(root)
    text = render(root)
    assert "test, refitted" in text
    assert "cfsweep confirm" in text, "fresh seeds without the validation data say more"


def test_refitted_beside(root: Path, tmp_path: Path) -> None:
    folder = swept(tmp_path / "again")
    fresh(folder, 2, 0.7)
    fresh(folder, 1, 0.8, purpose="refit")
    again = folder.write()
    analysis.select(again)
    assert [(one.trial, one.test is None, one.refitted is None) for one in confirmation(again)] == [
        (2, False, True),
        (1, True, False),
    ]
    assert columns(confirmation(again))["test, refitted"] == ["–", "0.750"]


def test_seeds_that_are_being_added_do_not_count(tmp_path: Path) -> None:
    folder = swept(tmp_path)
    for trial in (0, 2):
        fresh(folder, trial, 0.7)
    folder.confirm(2, 10_001, matrix_for(0.9, 0.9, 2), started_at=LATER)
    root = folder.write()
    analysis.select(root)
    assert [one.test for one in confirmation(root)] == [Mean(pytest.approx(0.65), None, 1)] * 2


def test_a_run_that_failed_has_no_number(tmp_path: Path) -> None:
    folder = swept(tmp_path)
    fresh(folder, 0, 0.7)
    folder.confirm(2, 10_000, [], state="failed", failure="no")
    root = folder.write()
    analysis.select(root)
    assert [one.trial for one in confirmation(root)] == [0]


def test_what_was_begun_has_no_numbers_yet(tmp_path: Path) -> None:
    folder = swept(tmp_path)
    fresh(folder, 2, 0.7)
    folder.confirmed["confirm"].runs.clear()
    folder.confirmed["confirm"].accuracy.clear()
    folder.confirmed["confirm"].test.clear()
    root = folder.write()
    analysis.select(root)
    assert confirmation(root) == []
    assert "the chosen trial" in render(root).lower()


def test_what_confirms_another_study_is_not_its_own(root: Path, tmp_path: Path) -> None:
    assert confirmed_in(root) == f"{root}/confirmed"
    other = swept(tmp_path / "other", study_id="111111111111").write()
    shutil.copytree(root / "confirmed", other / "confirmed")
    assert confirmed_in(other) is None
    analysis.select(other)
    assert not is_tested(other)
    with pytest.raises(InputError, match=r"nothing was tested yet\. `cfsweep confirm .*` tests what was selected"):
        confirmation(other)


# ------------------------------------------------------------------------------------------------ what to confirm


def test_what_is_asked_for(tmp_path: Path) -> None:
    folder = swept(tmp_path)
    folder.run(5, 0, matrix_for(0.2, 0.99, 2))
    folder.run(5, 1, matrix_for(0.2, 0.99, 2))
    root = folder.write()
    analysis.select(root)
    assert to_confirm(root, "selected") == ([2, 0], [-1, -2])
    assert to_confirm(root, "front") == ([2, 0, 5], [-1, -2])
    assert to_confirm(root, "1, 5,1") == ([1, 5], [-1, -2])
    for nonsense in ("best", "", "3,", "1.5", "selected,3", "front "):
        with pytest.raises(InputError) as refused:
            to_confirm(root, nonsense)
        assert str(refused.value) == (
            f"--trials {nonsense}: `selected`, `front` or numbers such as `3,17` are needed. Write one of these."
        )


def test_a_default_that_failed_is_left_out_and_majority_is_no_matter_of_training(tmp_path: Path) -> None:
    folder = swept(tmp_path)
    folder.runs = [run for run in folder.runs if run["trial"] != 0]
    for seed in (0, 1):
        folder.run(0, seed, [], state="failed", failure="no")
        folder.run(-1000, seed, matrix_for(0.5, 0.5, 2))
        folder.run(-3, seed, matrix_for(0.55, 0.55, 2))
    root = folder.write()
    assert analysis.select(root)["references"] == {"naive": -3, "joint": -2, "majority": -1000}
    assert to_confirm(root, "selected") == ([2], [-3, -2])


def test_what_confirms_is_not_confirmed(root: Path) -> None:
    with pytest.raises(InputError, match=r"confirmed: it confirms a sweep itself\. Give the folder of the sweep\.$"):
        to_confirm(root / "confirmed", "selected")


# ------------------------------------------------------------------------------------------------ earlier versions


def test_a_sweep_of_an_earlier_version_has_tests_of_its_own(tmp_path: Path) -> None:
    root = swept(tmp_path, earlier=True).write()
    assert not is_tested(root), "they are closed"
    analysis.select(root)
    assert is_tested(root)
    assert set(test_scores(root)["trial"]) == {2, 0, -1, -2}, "the other trials stay closed"
    found = confirmation(root)
    assert [one.trial for one in found] == [2, 0, -1, -2]
    assert found[0].test == Mean(pytest.approx(0.79), pytest.approx(0.02), 2), "with the seeds of the sweep"
    assert list(columns(found)) == ["trial", "validation", "corrected", "test"]
    assert luck(found) == ""
    text = render(root)
    assert "0.790 ± 0.020" in text
    assert "cfsweep confirm" in text


def test_once_confirmed_its_own_tests_are_not_shown(tmp_path: Path) -> None:
    folder = swept(tmp_path, earlier=True)
    fresh(folder, 2, 0.7)
    root = folder.write()
    analysis.select(root)
    assert [(one.trial, one.test) for one in confirmation(root)] == [(2, Mean(pytest.approx(0.65), None, 1))]


def test_a_trial_that_a_later_version_added_to_it_has_none(tmp_path: Path) -> None:
    folder = swept(tmp_path, earlier=True)
    for seed in (0, 1):
        folder.run(7, seed, matrix_for(0.9, 0.9, 2))
    folder.test = [cell for cell in folder.test if cell["trial"] in (1, 3)]
    root = folder.write()
    assert analysis.select(root)["trial"] == 7
    assert not is_tested(root)
    with pytest.raises(InputError, match="nothing was tested yet"):
        confirmation(root)


def test_the_folder_that_an_earlier_version_wrote(tmp_path: Path) -> None:
    root = Path(shutil.copytree(OLD, tmp_path / "study"))
    chosen = analysis.select(root)["trial"]
    found = confirmation(root)
    assert found[0].trial == chosen
    assert {one.trial for one in found} == {chosen, 0, -1, -2}
    assert all(one.test is not None and one.test.n == 2 and one.fresh is None for one in found)
    assert "test" in columns(found)
