"""What is read from study.yaml, and what stands in for what is not there."""

from __future__ import annotations

from pathlib import Path

import analysis
from analysis.description import Setting, Study, parse_study, shown_settings


def test_a_bare_study_takes_defaults() -> None:
    about = parse_study({"study_id": 7})
    assert (about.study_id, about.objectives, about.settings, about.third) == ("7", ("mixed",), (), None)


def test_a_study_says_where_it_was_as_far_as_it_knows() -> None:
    assert Study("a", stream="split-mnist", scenario="task-il").where == "split-mnist, task-il"
    assert Study("a", scenario="task-il").where == "task-il"
    assert Study("a").where == ""


def test_the_searched_settings_are_shown_else_those_that_vary(known: Path) -> None:
    trials = analysis.trials(analysis.load(known))
    searched = Study("a", settings=(Setting("lr", searched=True), Setting("absent", searched=True)))
    assert [setting.name for setting in shown_settings(searched, trials)] == ["lr"]
    trials["hp_optimizer"] = ["sgd", "adam", *["sgd"] * (len(trials) - 2)]
    shown = shown_settings(Study("a"), trials)
    kinds = {setting.name: setting.kind for setting in shown}
    assert kinds == {"ewc_lambda": "float", "replay_ratio": "float", "optimizer": "choice"}
    assert all(setting.searched for setting in shown)
