"""Whether the seeds show that forgetting leaves a remedy anything to gain."""

from __future__ import annotations

from pathlib import Path

import pytest

import analysis
from analysis.headroom import NEGLIGIBLE, note_on_headroom
from analysis.reporting.page import report
from cfsweep.results.schema import MAJORITY_TRIAL
from tests.analysis.folder import Folder, matrix_for


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
