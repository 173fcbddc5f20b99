"""The labels in the plane of stability and plasticity: none covers another, in a browser and in the still picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from matplotlib.axis import Axis

import analysis
from analysis.fronts import Front
from analysis.reporting.labels import Canvas, Labels, joined
from analysis.reporting.picture import drawn
from analysis.reporting.plane import Mark
from tests.analysis.folder import Folder, lively, matrix_for
from tests.analysis.reporting.browser import Seen, Show, check_quiet

Points = Sequence[tuple[float, float]]
LONG = "a_very_long_package.with_a_module_of_streams:and_the_function_that_makes_them"
# Names to: tasks, trials, naive, joint.
LAYOUTS: dict[str, tuple[int, Points, Points]] = {
    "all at one place": (5, [(0.9, 0.95), (0.5, 0.8)], [(0.9, 0.95), (0.9, 0.95)]),
    "nearly at one place": (5, [(0.802, 0.951), (0.803, 0.95), (0.6, 0.9)], [(0.8, 0.952), (0.81, 0.95)]),
    "the default is the best": (3, [(0.9, 0.9), (0.8, 0.7)], [(0.4, 0.95), (0.95, 0.95)]),
    "naive is nearly the default": (3, [(0.6, 0.97), (0.8, 0.9)], [(0.602, 0.971), (0.9, 0.93)]),
    "in the corners": (2, [(1.0, 1.0), (0.0, 1.0), (1.0, 0.0), (0.0, 0.0)], [(0.0, 1.0), (0.99, 1.0)]),
    "at the best corner": (5, [(0.996, 0.999), (0.997, 1.0), (0.7, 0.9)], [(0.98, 1.0), (1.0, 0.998)]),
    "one trial": (3, [(0.8, 0.8)], []),
}


class Text(NamedTuple):
    """A text that is drawn, and its box."""

    text: str
    left: float
    top: float
    right: float
    bottom: float


def overlaps(texts: Iterable[Text]) -> list[tuple[str, str]]:
    """The pairs of texts that cover more than a pixel of each other."""
    return [
        (a.text, b.text)
        for a, b in combinations(texts, 2)
        if min(a.right, b.right) - max(a.left, b.left) > 1 and min(a.bottom, b.bottom) - max(a.top, b.top) > 1
    ]


def texts_of(seen: Seen) -> list[Text]:
    """All texts in the figure of the front."""
    found = """[...document.querySelectorAll('#front-figure .main-svg text')].map(node => {
        const box = node.getBoundingClientRect();
        return [node.textContent, box.left, box.top, box.right, box.bottom];
    }).filter(([text, left, top, right]) => text && right > left)"""
    return [Text(*row) for row in seen.page.evaluate(found)]


def laid_out(root: Path, layout: str) -> Folder:
    n_tasks, trials, references = LAYOUTS[layout]
    folder = Folder(root, n_tasks=n_tasks, stream=LONG)
    for trial, point in [*enumerate(trials), *zip((-1, -2), references, strict=False)]:
        folder.run(trial, 0, matrix_for(*point, n_tasks))
    return folder


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_text_of_the_front_covers_another(show: Show, tmp_path: Path, layout: str) -> None:
    check_wide_and_narrow(show(analysis.report(laid_out(tmp_path, layout).write())))


def test_nor_among_many_trials(show: Show, tmp_path: Path) -> None:
    third = {"name": "pareto", "third": "stored_bytes"}
    check_wide_and_narrow(show(analysis.report(lively(tmp_path, 48, seeds=1, objective=third).write())))


def check_wide_and_narrow(seen: Seen) -> None:
    check_texts(seen)
    seen.page.set_viewport_size({"width": 740, "height": 900})
    try:
        seen.page.evaluate("Plotly.Plots.resize(document.getElementById('front-figure'))")
        assert seen.page.evaluate("document.getElementById('front-figure').clientWidth") < 740
        check_texts(seen)
    finally:
        seen.page.set_viewport_size({"width": 1280, "height": 900})


def check_texts(seen: Seen) -> None:
    check_quiet(seen)
    texts = texts_of(seen)
    assert overlaps(texts) == []
    said = ", ".join(text for text, *_ in texts)
    assert all(f"{name}" in said for name in ("default", "chosen"))
    figure = seen.page.locator("#front-figure").bounding_box()
    assert figure is not None
    for text, left, top, right, bottom in texts:
        assert left >= figure["x"], text
        assert right <= figure["x"] + figure["width"] + 1, text
        assert top >= figure["y"], text
        assert bottom <= figure["y"] + figure["height"] + 1, text
    assert any(text.startswith("c = ") for text, *_ in texts)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_text_of_the_picture_covers_another(tmp_path: Path, layout: str) -> None:
    found = front_of(laid_out(tmp_path, layout))
    figure = drawn(found, LAYOUTS[layout][0], f"{LONG}, task-il")
    figure.canvas.draw()
    shown = figure.get_axes()[0]
    drawn_texts = [*shown.texts, shown.title, shown._left_title, shown.xaxis.label, shown.yaxis.label]
    drawn_texts += [*ticks_of(shown.xaxis), *ticks_of(shown.yaxis), *figure.legends[0].get_texts()]
    boxes = [(text.get_text(), text.get_window_extent()) for text in drawn_texts if text.get_text()]
    texts = [Text(text, box.x0, box.y0, box.x1, box.y1) for text, box in boxes]
    assert overlaps(texts) == []
    whole = figure.bbox
    inside = [t for t in texts if t.left >= 0 and t.top >= 0 and t.right <= whole.x1 and t.bottom <= whole.y1]
    assert inside == texts


def ticks_of(axis: Axis) -> list[Any]:
    """The numbers at an axis that are drawn: those within its range."""
    low, high = axis.get_view_interval()
    return [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]


def front_of(folder: Folder) -> Front:
    runs = analysis.load(folder.write())
    return analysis.front(analysis.trials(runs), runs=runs)


def test_marks_at_one_place_share_a_label() -> None:
    row = pd.Series({"trial": 0})
    places = {"naive": (0.5, 0.5), "joint": (0.9, 0.9), "default": (0.5, 0.5), "chosen": (0.5, 0.6)}
    marks = [Mark(name, row, x, y) for name, (x, y) in places.items()]
    assert joined(marks) == ["", "joint", "naive, default", "chosen"]


def test_a_line_without_room_has_no_label() -> None:
    canvas = Canvas((0.0, 1.0, 0.0, 1.0), ((100.0, 100.0),), (0.0, 0.0), 13.0, 10.0)
    mark = Mark("default", pd.Series({"trial": 0}), 0.5, 0.5)
    free = Labels(canvas, np.zeros((0, 2)), [], {})
    place = free.of_line("c = 0.5", (0.0, 1.0), (1.0, 0.0))
    assert place == pytest.approx((0.15, 0.85)), "the first place with room above it for the text"
    assert free.of_line("c = 0.5", (0.0, 1.0), (1.0, 0.0)) != place
    assert Labels(canvas, np.zeros((0, 2)), [mark], {"default": 60.0}).of_line("c", (0.0, 1.0), (1.0, 0.0)) is None


def test_a_label_shuns_trials_if_it_can() -> None:
    canvas = Canvas((0.0, 1.0, 0.0, 1.0), ((400.0, 400.0),), (0.0, 0.0), 13.0, 10.0)
    mark = Mark("joint", pd.Series({"trial": -2}), 0.5, 0.5)
    above = np.array([[0.5, 0.54]])
    assert Labels(canvas, np.zeros((0, 2)), [mark], {"joint": 10.0}).of_mark(mark, "joint") == "top center"
    assert Labels(canvas, above, [mark], {"joint": 10.0}).of_mark(mark, "joint") == "bottom center"
