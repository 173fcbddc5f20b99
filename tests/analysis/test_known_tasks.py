"""How far tasks that the first weights know have fallen, as `front`, `select`, `confirm` and the report say it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

import analysis
from analysis.confirmation import known_on_test
from analysis.known_tasks import known_on_validation
from analysis.reporting.sections import choice_section, content_of
from cfsweep.library.models import Confirmed
from tests.analysis.folder import LATER, Folder
from tests.conftest import Run

TOO_GOOD = (
    " Where the source was trained on the data that these are cut from, the first number is too good; test data tell."
)


def cells(*ends: float) -> list[list[float]]:
    """The tasks 0 and 1 are at .9 and .8 until task 2 is trained, and then at `ends`."""
    return [[0.9, 0.8, 0.1], [0.9, 0.8, 0.1], [*ends, 0.7]]


def folder(root: Path, n_learned: int) -> Path:
    """Naive falls to .4 and .2, trial 0 to .7 and .5, trial 1, which is better, to .8 and .6; each by seed 1 to .1
    more. Trial 1 and naive are confirmed, .02 higher on validation data, .05 lower on test data."""
    made = Folder(root)
    ends: dict[int, Sequence[float]] = {-1: (0.4, 0.2), -2: (0.9, 0.8), 0: (0.7, 0.5), 1: (0.8, 0.6)}
    for trial, of in ends.items():
        for seed in (0, 1):
            made.run(trial, seed, cells(*(end + 0.1 * seed for end in of)))
    for trial in (1, -1):
        made.confirm(trial, 10_000, cells(*(end + 0.02 for end in ends[trial])), test_shift=-0.05)
    made.write()
    study = yaml.safe_load((root / "study.yaml").read_text())
    study["config"]["stream"]["learned"] = n_learned
    (root / "study.yaml").write_text(yaml.safe_dump(study))
    return root


def test_who_fell_how_far_by_hand(tmp_path: Path) -> None:
    one, two = (folder(tmp_path / str(n), n_learned=n) for n in (1, 2))
    assert known_on_validation(one) == (
        "Known from the start, accuracy on validation data: `0-1` from 0.900 to 0.850 (trial 1) and 0.450 (naive)."
        + TOO_GOOD
    )
    said = "`0-1` from 0.900 to 0.750 (trial 0 (default)) and 0.450 (naive), `2-3` from 0.800 to 0.550 (trial 0 (def"
    assert said in str(known_on_validation(two, 0))
    analysis.select(two)
    assert known_on_test(two) == (
        "Known from the start, accuracy on test data: `0-1` from 0.850 to 0.770 (trial 1) and 0.370 (naive), "
        "`2-3` from 0.750 to 0.570 (trial 1) and 0.170 (naive)."
    )


def test_seeds_that_are_being_added_do_not_count(tmp_path: Path) -> None:
    root = folder(tmp_path, n_learned=1)
    before = known_on_validation(root)
    more = Folder(tmp_path / "more")
    more.run(1, 2, cells(0.0, 0.0), started_at=LATER)
    part = more.write() / "accuracy"
    for name in ("accuracy", "runs"):
        (part.parent / name / "part-0.parquet").rename(root / name / "part-1.parquet")
    assert known_on_validation(root) == before


def test_all_that_shows_a_study_says_it(tmp_path: Path, run: Run) -> None:
    root = folder(tmp_path / "study", n_learned=1)

    def told(text: str) -> list[bool]:
        return [f"Known from the start, accuracy on {part} data: `0-1`" in text for part in ("validation", "test")]

    assert told(run("front", "study")[1]) == [True, False]
    assert told(choice_section(content_of(root))) == [True, False], "nothing was selected yet"
    assert told(run("select", "study")[1]) == told(choice_section(content_of(root))) == [True, True]
    assert told(repr(Confirmed(root))) == told(Confirmed(root)._repr_html_()) == [False, True]


def test_where_none_is_known_nothing_is_said(tmp_path: Path) -> None:
    root = folder(tmp_path, n_learned=0)
    analysis.select(root)
    assert known_on_validation(root) is known_on_test(root) is None


def test_before_a_run_has_come_nothing_is_said(tmp_path: Path) -> None:
    made = Folder(tmp_path)
    made.run(0, 0, cells(0.1, 0.1)[:1], state="stopped")
    made.write()
    study = yaml.safe_load((tmp_path / "study.yaml").read_text())
    study["config"]["stream"]["learned"] = 1
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    assert known_on_validation(tmp_path) is None
    assert known_on_validation(tmp_path, 0) is None, "it was stopped on its way"
