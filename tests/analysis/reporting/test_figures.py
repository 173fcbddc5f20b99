"""What the figures of the front and of the accuracy matrices show, before a browser draws them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml

import analysis
from analysis.aggregate import finished
from analysis.description import study
from analysis.reporting.figures import front_figure, matrix_figure
from analysis.reporting.sections import content_of, matrix_section
from tests.analysis.folder import Folder, matrix_for


def test_the_front_figure_has_every_trial_once(sweep: Path) -> None:
    runs = analysis.load(sweep)
    table = analysis.trials(runs)
    figure = front_figure(analysis.front(table, runs=runs), study(sweep).searched, 5, chosen=46)
    marked = [trace for trace in figure.data if trace.meta == "trials"]
    assert sum(len(trace.x) for trace in marked) == len(finished(table)) == 48
    names = [trace.name for trace in figure.data]
    assert {"naive", "joint", "default", "chosen"} <= set(names)
    shown = next(trace for trace in figure.data if trace.name == "chosen").hovertext[0]
    assert "trial 46" in shown
    assert "ewc_lambda=6.552e+07" in shown


def test_the_front_figure_ends_where_accuracies_do(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    for trial, point in enumerate([(1.0, 1.0), (0.0, 1.0), (0.5, 0.75)]):
        folder.run(trial, 0, matrix_for(*point))
    found = analysis.front(analysis.trials(analysis.load(folder.write())))
    figure = front_figure(found, (), 3)
    assert tuple(figure.layout.xaxis.range) == (0.0, 1.0)
    assert tuple(figure.layout.yaxis.range) == (0.73, 1.0)
    (lines,) = (trace for trace in figure.data if trace.name == "average score c")
    assert all(0 <= x <= 1 for x in lines.x if x is not None)
    assert all(0.73 <= y <= 1 for y in lines.y if y is not None)
    marked = [trace for trace in figure.data if trace.meta == "trials" or trace.name == "default"]
    assert [trace.cliponaxis for trace in marked] == [False] * 3, "a mark on the border is drawn whole"


def test_three_objectives_colour_the_front_by_the_third(sweep: Path) -> None:
    table = analysis.trials(analysis.load(sweep))
    found = analysis.front(table, ("stability", "plasticity", "stored_bytes"))
    figure = front_figure(found, (), 5)
    member = [trace for trace in figure.data if trace.meta == "trials"][1]
    assert member.marker.colorbar.title.text == "stored_bytes"
    assert not any(trace.name == "front line" for trace in figure.data)


def test_matrices_leave_missing_cells_blank() -> None:
    figure = matrix_figure([("a", np.array([[0.5, 0.5], [0.9, np.nan], [0.25, 1.0]]))], ["first"])
    assert list(figure.data[0].z[1]) == [0.9, None]
    assert list(figure.data[0].text[1]) == ["0.90", ""]
    assert figure.layout.xaxis.ticktext == ("first", "1")
    assert figure.layout.yaxis.ticktext == ("untrained", "after first", "after 1")


def test_the_first_row_is_called_what_it_is(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "study")
    for seed in range(2):
        folder.run(0, seed, matrix_for(0.8, 0.9))
    root = folder.write()
    for digest, name in ((None, "untrained"), ("ab" * 32, "first weights")):
        raw = yaml.safe_load((root / "study.yaml").read_text())
        raw["config"].setdefault("space", {})["network"] = {"name": "mlp", "init_sha256": digest}
        (root / "study.yaml").write_text(yaml.safe_dump(raw))
        assert analysis.study(root).first_row == name
        text = matrix_section(content_of(root))
        assert [f'"{one}"' in text for one in ("untrained", "first weights")] == [digest is None, digest is not None]


def test_tasks_whose_short_names_are_alike_have_their_numbers() -> None:
    names = ["the classes of the first task", "the classes of the second task"]
    figure = matrix_figure([("a", np.full((3, 2), 0.5))], names)
    assert figure.layout.xaxis.ticktext == ("0: the classes of…", "1: the classes of…")
