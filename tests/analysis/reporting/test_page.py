"""The report in a real browser: it is drawn, fetches nothing, and takes no user's name for markup or a program."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import analysis
from cfsweep.errors import InputError
from tests.analysis.folder import HYPERS, Folder, idle, lively, matrix_for
from tests.analysis.reporting.browser import Seen, Show, check_quiet

EVIL = '<script>window.injected = 1</script><img src=x onerror="window.injected = 1">\'"%{x}'


@pytest.fixture(scope="module")
def sweep_report(sweep: Path, small_forest: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the sweep, written once."""
    return analysis.report(sweep, tmp_path_factory.mktemp("report") / "report.html")


def points(seen: Seen, div: str, wanted: str) -> int:
    """Points that are drawn in the traces for which `wanted`, a JavaScript expression of `trace`, holds."""
    count = """div => {
        const graph = document.getElementById(div);
        const uids = graph._fullData.filter(trace => WANTED).map(trace => 'trace' + trace.uid);
        return [...graph.querySelectorAll('.scatterlayer .trace')]
            .filter(g => uids.some(uid => g.classList.contains(uid)))
            .reduce((sum, g) => sum + g.querySelectorAll('path.point').length, 0);
    }"""
    number: int = seen.page.evaluate(count.replace("WANTED", wanted), div)
    return number


def test_a_whole_sweep_is_drawn(show: Show, sweep_report: Path) -> None:
    seen = show(sweep_report)
    check_quiet(seen)
    assert points(seen, "front-figure", "trace.meta === 'trials'") == 48
    assert points(seen, "front-figure", "['naive', 'joint', 'default', 'chosen'].includes(trace.name)") == 4
    assert points(seen, "progress-figure", "trace.name === 'trial'") == 48
    drawn = [div.get_attribute("id") for div in seen.page.query_selector_all(".plotly-graph-div")]
    assert drawn == ["front-figure", "matrix-figure", "parallel-figure", "importance-figure", "progress-figure"]
    text = seen.page.inner_text("body")
    for part in ("recovered by the best", "48 / 1 / 1", "loss became NaN at step 17", "0123456789ab", "ab" * 32):
        assert part in text
    for word in ("stability", "plasticity", "forgetting_max_before_last", "hypervolume", "gap recovered"):
        assert seen.page.locator("footer dt", has_text=re.compile(f"^{word}$")).count() == 1
    assert seen.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "no sideways scrolling"


def test_hovering_a_point_shows_its_settings(show: Show, sweep_report: Path) -> None:
    seen = show(sweep_report)
    seen.page.locator("#front-figure").scroll_into_view_if_needed()
    text = hovered(seen, "front-figure", "chosen")
    for part in ("trial 46", "stability: 0.963", "ewc_lambda=6.552e+07", "replay_ratio=0.856", "buffer_size=1705"):
        assert part in text
    assert "reference joint" in hovered(seen, "front-figure", "joint")
    check_quiet(seen)


def hovered(seen: Seen, div: str, trace: str) -> str:
    """The text that appears when the mouse comes to rest on the only point of `trace`."""
    where = """([div, name]) => {
        const graph = document.getElementById(div), found = graph._fullData.find(trace => trace.name === name);
        const box = graph.querySelector('.nsewdrag').getBoundingClientRect(), layout = graph._fullLayout;
        return [box.left + layout.xaxis.l2p(found.x[0]), box.top + layout.yaxis.l2p(found.y[0])];
    }"""
    label = seen.page.locator(f"#{div} .hovertext").first
    # Plotly looks at the mouse at most every 50 ms and may still be settling its size: come back until it has seen us.
    for _ in range(40):
        x, y = seen.page.evaluate(where, [div, trace])
        seen.page.mouse.move(x - 40, y - 25)
        seen.page.wait_for_timeout(60)
        seen.page.mouse.move(x, y, steps=3)
        seen.page.wait_for_timeout(100)
        if label.count() and (text := label.text_content()):
            return text
    pytest.fail(f"no hover text appears over {trace}")


def test_names_are_text_whatever_they_hold(show: Show, tmp_path: Path) -> None:
    hypers = {f"{name}{EVIL}": about for name, about in HYPERS.items()}
    hypers[f"kind{EVIL}"] = {"kind": "choice", "default": EVIL, "searched": True, "log": False}
    folder = Folder(
        tmp_path / "evil", hypers=hypers, stream=EVIL, study_id=EVIL, task_names=[f"{i}{EVIL}" for i in range(3)]
    )
    for trial in range(25):
        values = {name: float(trial) for name in list(hypers)[:2]} | {f"kind{EVIL}": EVIL if trial % 2 else "plain"}
        folder.run(trial, 0, matrix_for(0.5 + trial / 100, 0.9 - trial / 200), settings=values)
    folder.run(-1, 0, matrix_for(0.4, 0.9))
    folder.run(25, 0, [], state="failed", failure=EVIL)
    folder.curve(24, 0)
    root = folder.write()
    analysis.select(root)
    seen = show(analysis.report(root))
    seen.page.hover("#progress-figure .nsewdrag")
    seen.page.wait_for_timeout(300)
    assert seen.page.evaluate("window.injected") is None
    assert seen.page.locator("img").count() == 0
    check_quiet(seen)
    assert EVIL in seen.page.inner_text("h1")
    assert seen.page.locator("#failed td", has_text="window.injected").count() == 2
    drawn = seen.page.locator("#matrix-figure .xtick text").first.text_content()
    assert drawn == f"0{EVIL}"[:17] + "…"


def test_nothing_is_fetched(sweep_report: Path) -> None:
    text = sweep_report.read_text()
    ours = text.replace(text[text.index("<script>") : text.index("</script>")], "")
    assert not re.search(r"""(src|href|action)\s*=\s*["']?\s*(https?:)?//""", ours)
    assert "@import" not in ours
    assert "connect-src" not in text
    assert "default-src 'none'" in text


def test_an_empty_study_says_so(show: Show, tmp_path: Path) -> None:
    seen = show(analysis.report(Folder(tmp_path / "empty").write()))
    check_quiet(seen)
    assert "No trial has finished yet: there is no front." in seen.page.inner_text(".note")
    assert "0 / 0 / 0" in seen.page.inner_text(".cards")


def test_references_and_failures_alone(show: Show, tmp_path: Path) -> None:
    folder = Folder(tmp_path / "early")
    folder.run(-1, 0, matrix_for(0.4, 0.9))
    folder.run(0, 0, [], state="failed", failure="out of memory")
    folder.run(1, 0, matrix_for(0.4, 0.9)[:1], state="stopped")
    seen = show(analysis.report(folder.write()))
    check_quiet(seen)
    text = seen.page.inner_text("body")
    assert "out of memory" in text
    assert "0 / 1 / 1" in text


def test_one_seed(show: Show, tmp_path: Path) -> None:
    seen = show(analysis.report(lively(tmp_path / "one", n_trials=12, seeds=1).write()))
    check_quiet(seen)
    assert "1 seed(s): no interval, front share or corrected mean." in seen.page.inner_text("#front")
    assert "Too few trials: 12 finished, 20 needed." in seen.page.inner_text("#importance")


def test_three_objectives(show: Show, tmp_path: Path) -> None:
    folder = lively(tmp_path / "three", n_trials=15, seeds=2, objective={"name": "pareto", "third": "stored_bytes"})
    seen = show(analysis.report(folder.write()))
    check_quiet(seen)
    assert points(seen, "front-figure", "trace.meta === 'trials'") == 15
    assert "colour is stored_bytes, less is better" in seen.page.inner_text("#front")


def test_settings_that_could_not_act(show: Show, tmp_path: Path) -> None:
    root = idle(tmp_path / "idle").write()
    analysis.select(root)
    seen = show(analysis.report(root))
    check_quiet(seen)
    assert "A setting that could not act is at the foot, marked –." in seen.page.inner_text("#parallel")
    assert "a random one of its values stands in" in seen.page.inner_text("#importance")
    assert "since they do not vary: momentum." in seen.page.inner_text("#importance")
    seen.page.locator("#front-figure").scroll_into_view_if_needed()
    text = hovered(seen, "front-figure", "default")
    for part in ("replay_ratio=0", "buffer_size=–", "replay_mode=–", "momentum=–"):
        assert part in text
    first = seen.page.locator("#table tr", has_text="0 (default)").inner_text().split("\t")
    assert [cell.strip() for cell in first[-3:]] == ["–", "–", "0"]
    drawn = seen.page.locator("#parallel-figure .annotation-text").all_text_contents()
    assert drawn.count("–") == 3
    text = seen.page.inner_text("body")
    assert not any(word in text for word in ("<NA>", "NaN", "None"))


def test_the_mixed_objective(show: Show, tmp_path: Path) -> None:
    folder = lively(tmp_path / "mixed", n_trials=24, seeds=1, objective={"name": "mixed", "old_weight": 0.5})
    seen = show(analysis.report(folder.write()))
    check_quiet(seen)
    assert "Which settings mattered for mixed" in seen.page.inner_text("#importance")


def test_one_task_has_no_stability_and_still_a_report(show: Show, tmp_path: Path) -> None:
    folder = Folder(tmp_path / "single", n_tasks=1)
    for trial in range(3):
        folder.run(trial, 0, [[0.8 + trial / 100]], settings={"ewc_lambda": float(trial)})
    seen = show(analysis.report(folder.write()))
    check_quiet(seen)
    assert "3 finished trial(s) left out, without a value in stability" in seen.page.inner_text("#front")
    assert points(seen, "progress-figure", "trace.name === 'trial'") == 3


def test_the_page_replaces_the_old_one_whole(known: Path) -> None:
    target = known / "report.html"
    target.write_text("old")
    assert analysis.report(known) == target
    assert target.read_text().startswith("<!doctype html>")
    assert [p for p in known.iterdir() if p.suffix == ".tmp"] == []
    with pytest.raises(InputError, match="cannot be written"):
        analysis.report(known, target / "below.html")


def test_a_page_replaces_nothing_that_is_none(known: Path) -> None:
    before = {path: path.read_bytes() for path in known.rglob("*") if path.is_file()}
    for path in (known / "study.yaml", known / "page"):
        with pytest.raises(InputError, match=rf"^--out {re.escape(str(path))}: .* ends in \.html\.$"):
            analysis.report(known, path)
    assert {path: path.read_bytes() for path in known.rglob("*") if path.is_file()} == before
