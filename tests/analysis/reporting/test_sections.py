"""What the sections of the report say, as HTML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest

import analysis
from analysis.reporting import sections
from analysis.reporting.page import render
from tests.analysis.folder import Folder, half_grown, matrix_for


def test_test_numbers_appear_after_selection_only(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.run(0, 0, matrix_for(0.5, 0.8))
    folder.confirm(0, 10_000, matrix_for(0.6, 0.9), test_shift=-0.123)
    root = folder.write()
    assert "test, fresh seeds" not in (text := render(root))
    assert f"{0.7 - 0.123:.3f}" not in text
    analysis.select(root)
    text = render(root)
    assert "test, fresh seeds" in text
    assert f"{0.7 - 0.123:.3f}" in text
    assert "Chosen at 0.600, fresh seeds say 0.700 (1 seed): 0.100 more." in text


def test_what_was_selected_and_not_confirmed_is_told_how(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.run(0, 0, matrix_for(0.5, 0.8))
    root = folder.write()
    assert f"cfsweep confirm {root}" not in render(root)
    analysis.select(root)
    assert f"cfsweep confirm {root}" in render(root)


def test_the_chosen_trial_is_the_selected_one_or_the_best(known: Path) -> None:
    content = sections.content_of(known)
    assert (content.chosen, content.record) == (2, None)
    record = analysis.select(known, "stability_at_least", at_least=0.4)
    content = sections.content_of(known)
    assert (content.chosen, content.record) == (1, record)


def test_a_study_without_trials_has_but_a_headline_and_the_notes_of_its_front(tmp_path: Path) -> None:
    content = sections.content_of(Folder(tmp_path).write())
    assert content.chosen is None
    assert "No trial has finished yet" in sections.front_section(content)
    assert sections.headline(content).count('class="card"') == 6
    for section in (
        sections.choice_section,
        sections.matrix_section,
        sections.parallel_section,
        sections.importance_section,
        sections.progress_section,
        sections.curves_section,
        sections.table_section,
        sections.failed_section,
    ):
        assert section(content) == ""


def test_incomplete_trials_are_counted_where_there_are_any(tmp_path: Path, known: Path) -> None:
    assert "5 / 1 / 1" in sections.headline(sections.content_of(known))
    folder = Folder(tmp_path / "incomplete")
    for trial, seed in ((0, 0), (0, 1), (1, 1)):
        folder.run(trial, seed, matrix_for(0.5, 0.6))
    text = sections.headline(sections.content_of(folder.write()))
    assert "1 / 0 / 0 / 1" in text
    assert "trials done / stopped / failed / incomplete" in text


def test_a_failed_configuration_is_listed_once(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    for trial, same_as in ((3, None), (4, 3), (5, 3), (6, None)):
        folder.run(trial, 0, [], state="failed", failure=f"reason {same_as or trial}", same_as=same_as)
    text = sections.failed_section(sections.content_of(folder.write()))
    assert [text.count(f"reason {trial}") for trial in range(3, 7)] == [1, 0, 0, 1]
    assert "Each configuration once: 2 trial(s) that came to the same as one of these left out." in text


def test_without_repeats_nothing_is_said_of_them(known: Path) -> None:
    text = sections.failed_section(sections.content_of(known))
    assert text.count("loss became NaN") == 1
    assert "Each configuration once" not in text


def test_matrices_leave_out_seeds_that_are_being_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: dict[str, Any] = {}

    def figure(matrices: list[tuple[str, Any]], *_: Any) -> go.Figure:
        shown.update(matrices)
        return go.Figure()

    monkeypatch.setattr(sections, "matrix_figure", figure)
    content = sections.content_of(half_grown(tmp_path).write())
    assert content.added == [1, 2]
    sections.matrix_section(content)
    assert shown["trial 1"][1:].tolist() == matrix_for(0.8, 0.9)
    assert shown["naive"][1:].tolist() == matrix_for(0.6, 0.9)
