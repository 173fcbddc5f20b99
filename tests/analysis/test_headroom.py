"""Whether the seeds show that forgetting leaves a remedy anything to gain."""

from __future__ import annotations

from pathlib import Path

import pytest

import analysis
from analysis.comparison import compare_runs
from analysis.headroom import NEGLIGIBLE, note_on_gain, note_on_headroom
from analysis.reporting.page import report
from cfsweep.results.schema import MAJORITY_TRIAL
from tests.analysis.folder import Folder, matrix_for
from tests.conftest import Run


def said(root: Path, naive: tuple[float, ...], joint: tuple[float, ...], constant: float | None = None) -> str | None:
    """What is said where stability and plasticity of both references, seed by seed, are these, and where those of the
    constant answer are `constant`."""
    folder = Folder(root)
    for seed in range(len(naive) if constant is not None else 0):
        folder.run(MAJORITY_TRIAL, seed, matrix_for(constant or 0.0, constant or 0.0))
    for trial, accuracies in ((-1, naive), (-2, joint)):
        for seed, accuracy in enumerate(accuracies):
            folder.run(trial, seed, matrix_for(accuracy, accuracy))
    for seed in range(len(naive)):
        folder.run(0, seed, matrix_for(0.7, 0.7))
    return note_on_headroom(analysis.load(folder.write()))


def test_what_seeds_do_not_show_is_no_verdict(tmp_path: Path) -> None:
    text = said(tmp_path, (0.80, 0.80, 0.80), (0.80, 0.82, 0.84))
    assert text == (
        "These seeds do not show whether a remedy is needed: the average score of joint, trained on all data so "
        "far, minus that of naive is +0.0200, 95 % interval -0.0297 to +0.0697; `cfsweep resume DIR --seeds 6` adds "
        "some."
    ), "4.303 · 0.02 / √3"


def test_a_wide_interval_is_no_verdict_though_its_middle_is_below_0(tmp_path: Path) -> None:
    text = said(tmp_path, (0.80, 0.80, 0.80), (0.76, 0.78, 0.80))
    assert text is not None
    assert text.startswith("These seeds do not show")
    assert "is -0.0200, 95 % interval -0.0697 to +0.0297;" in text


@pytest.mark.parametrize(("step", "needed"), [(0.0040, False), (0.0041, None)])
def test_no_remedy_is_needed_where_the_interval_ends_at_a_point(
    tmp_path: Path, step: float, needed: bool | None
) -> None:
    """The difference is 0 ± 4.303 · step / √3: 0.00994, and 0.01019."""
    text = said(tmp_path, (0.80, 0.80, 0.80), (0.80 - step, 0.80, 0.80 + step))
    assert text is not None
    assert (4.302653 * step / 3**0.5 <= NEGLIGIBLE) == (needed is False)
    assert text.startswith("No remedy is needed here: " if needed is False else "These seeds do not show")


@pytest.mark.parametrize("n_seeds", [2, 3])
@pytest.mark.parametrize("naive", [0.80, 0.90, 0.95])
def test_where_even_joint_learns_nothing_no_remedy_is_judged(tmp_path: Path, n_seeds: int, naive: float) -> None:
    """Wherever naive lies, and however many seeds there are."""
    text = said(tmp_path, (naive,) * n_seeds, (0.92,) * n_seeds, constant=0.92)
    assert text == (
        "Even joint, trained on all data so far, does not beat the constant answer (majority) in average score "
        "(0.9200 against 0.9200): nothing is learned that could be forgotten. Train for more epochs, or with another "
        "lr, before you judge a remedy."
    )


def test_a_joint_above_the_constant_answer_is_held_against_naive(tmp_path: Path) -> None:
    text = said(tmp_path, (0.92, 0.92, 0.92), (0.93, 0.93, 0.93), constant=0.92)
    assert text is None, "0.01 above naive in each seed"


def test_nothing_is_said_where_joint_is_above_naive(tmp_path: Path) -> None:
    assert said(tmp_path, (0.80, 0.80, 0.80), (0.84, 0.85, 0.86)) is None, "0.05 ± 0.025"


def test_it_is_said_where_joint_is_below_naive(tmp_path: Path) -> None:
    text = said(tmp_path, (0.84, 0.85, 0.86), (0.80, 0.80, 0.80))
    assert text is not None
    assert text.startswith("No remedy is needed here: ")
    assert "is -0.0500, 95 % interval -0.0748 to -0.0252" in text


@pytest.mark.parametrize(
    ("naive", "joint"),
    [((0.8, 0.8), (0.8, 0.8)), ((0.8, 0.8, 0.8), ())],
    ids=["two seeds", "no joint"],
)
def test_nothing_is_said_without_three_seeds_of_both(
    tmp_path: Path, naive: tuple[float, ...], joint: tuple[float, ...]
) -> None:
    assert said(tmp_path, naive, joint) is None


def test_equal_references_have_nothing_between_them(tmp_path: Path) -> None:
    text = said(tmp_path, (0.8, 0.8, 0.8), (0.8, 0.8, 0.8))
    assert text is not None
    assert "is +0.0000, 95 % interval +0.0000 to +0.0000" in text


@pytest.mark.parametrize("constant", [None, 0.85])
@pytest.mark.parametrize("joint", [(0.80, 0.80, 0.80), (0.80, 0.82, 0.84)])
def test_the_front_and_the_report_say_it(tmp_path: Path, joint: tuple[float, ...], constant: float | None) -> None:
    text = said(tmp_path, (0.80, 0.80, 0.80), joint, constant)
    assert text is not None
    runs = analysis.load(tmp_path)
    assert analysis.front(analysis.trials(runs), runs=runs).notes.count(text) == 1
    assert report(tmp_path).read_text().count(text) == 1


def of_gain(root: Path, naive: tuple[float, ...], trials: dict[int, tuple[float, ...]]) -> Path:
    """A folder with the average score of naive and of each trial, seed by seed; joint is far above."""
    folder = Folder(root, seeds=len(naive))
    for trial, accuracies in {-1: naive, -2: (0.95,) * len(naive), **trials}.items():
        for seed, accuracy in enumerate(accuracies):
            folder.run(trial, seed, matrix_for(accuracy, accuracy))
    return folder.write()


BETTER = {0: (0.70, 0.71, 0.72), 1: (0.90, 0.91, 0.92)}
HIDDEN = {0: (0.70, 0.71, 0.72), 1: (0.78, 0.85, 0.81)}


def test_a_trial_that_seeds_do_not_show_above_naive_is_named(tmp_path: Path, run: Run) -> None:
    root = of_gain(tmp_path / "hidden", (0.80, 0.78, 0.81), HIDDEN)
    told = note_on_gain(analysis.load(root), 1)
    assert told is not None
    assert told.startswith("Trial 1 is not shown to beat naive in average_score (+0.0")
    assert told.endswith(", corrected for the choice among 2).")
    runs = analysis.load(root)
    (as_gate,) = compare_runs(runs, -1, runs, 1, ["average_score"], (False, True))
    assert as_gate.corrected is not None
    assert as_gate.corrected.text in told, "what `gate --beats naive` goes by"
    for verb in ("select", "front"):
        code, out, _ = run(verb, root)
        assert (code, out.count(told)) == (0, 1), out
    below = note_on_gain(analysis.load(root), 0)
    assert below is not None
    assert "Trial 0 (default) is not shown to beat naive in average_score (-0.0" in below


def test_nothing_is_said_of_a_trial_above_naive(tmp_path: Path, run: Run) -> None:
    root = of_gain(tmp_path / "better", (0.80, 0.78, 0.81), BETTER)
    assert note_on_gain(analysis.load(root), 1) is None
    for verb in ("select", "front"):
        assert "beat naive" not in run(verb, root)[1]


@pytest.mark.parametrize(
    ("naive", "said"), [((0.9, 0.9), "(+0.0000)"), ((0.8, 0.8), None), ((0.95, 0.95), "(-0.0500)")]
)
def test_with_two_seeds_the_difference_decides(tmp_path: Path, naive: tuple[float, ...], said: str | None) -> None:
    found = note_on_gain(analysis.load(of_gain(tmp_path, naive, {0: (0.9, 0.9)})), 0)
    assert found == (said and f"Trial 0 (default) is not shown to beat naive in average_score {said}.")


def test_what_has_not_finished_is_not_judged(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.run(0, 0, matrix_for(0.7, 0.7))
    assert note_on_gain(analysis.load(folder.write()), 0) is None, "there is no naive"
    assert note_on_gain(analysis.load(folder.root), 9) is None
