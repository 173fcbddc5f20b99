"""What a comparison says of itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.comparison import Comparison, Difference, Party, comparison
from analysis.reporting.differences import cells, heads, lines
from analysis.uncertainty import Estimate
from tests.analysis.folder import Folder, half_grown, matrix_for


def study(root: Path, n_seeds: int, n_trials: int = 4) -> Path:
    """Trials that vary from seed to seed, the last of them the best."""
    folder = Folder(root, seeds=n_seeds)
    for trial in range(n_trials):
        for seed in range(n_seeds):
            folder.run(trial, seed, matrix_for(0.6 + 0.05 * trial + 0.01 * ((3 * trial + seed) % 4), 0.9))
    return folder.write()


def test_both_trials_their_folders_and_the_seeds_are_told(tmp_path: Path) -> None:
    one, two = study(tmp_path / "one", 5), study(tmp_path / "two", 4)
    assert lines(comparison(one, two, second=1))[:3] == [
        f"first: trial 3 of {one}, chosen: highest average validation score.",
        f"second: trial 1 of {two}, taken as named beforehand.",
        "difference: second - first, paired by seed, over seeds 0 to 3.",
    ]


def test_each_interval_says_what_it_holds_for(tmp_path: Path) -> None:
    root = study(tmp_path, 3)
    told = lines(comparison(root))
    assert "It holds if both trials were named before anybody looked at scores." in told[3]
    assert told[4].startswith("All seeds have the same validation examples")
    assert told[5].startswith("corrected: without what the choice among 4 adds. Its interval holds for what was chosen")
    assert told[5].endswith("so that either may be narrower.")
    assert len(told) == 6
    named = lines(comparison(root, second=1))
    assert not any("corrected" in line for line in named)


@pytest.mark.parametrize(("first", "second", "warned"), [(0, 3, 3), (3, 1, 3), (1, 2, None), (None, None, None)])
def test_a_named_trial_that_the_study_would_choose_is_told(
    tmp_path: Path, first: int | None, second: int | None, warned: int | None
) -> None:
    root = study(tmp_path, 3)
    said = [line for line in lines(comparison(root, first=first, second=second)) if line.startswith("Trial ")]
    text = (
        f"Trial {warned} is named here, and is the one that {root} chooses (highest average validation score): "
        "Student's interval holds only if it was named before anybody looked at scores."
    )
    assert said == ([] if warned is None else [text])


def test_the_default_is_named_by_the_library_also_where_it_is_the_best(tmp_path: Path) -> None:
    root = study(tmp_path, 3, n_trials=1)
    assert not any(line.startswith("Trial ") for line in lines(comparison(root, first=0, second=0)))


def test_too_few_seeds_give_the_commands_that_add_some(tmp_path: Path) -> None:
    one, two, three = (study(tmp_path / name, n) for name, n in (("a b", 1), ("two", 2), ("three", 3)))
    ends = [lines(comparison(one, two))[-1], lines(comparison(two, three))[-1], lines(comparison(two))[-1]]
    resume_two = f"`cfsweep resume {two} --seeds 3`"
    assert ends[0] == f"An interval takes 3 seeds: `cfsweep resume '{one}' --seeds 3` and {resume_two}."
    assert ends[1:] == [f"An interval takes 3 seeds: {resume_two}."] * 2


def test_while_seeds_are_being_added_the_command_asks_for_no_fewer(tmp_path: Path) -> None:
    root = half_grown(tmp_path).write()
    assert lines(comparison(root))[-1] == f"An interval takes 3 seeds: `cfsweep resume {root} --seeds 3`."
    study_file = root / "study.yaml"
    study_file.write_text(study_file.read_text().replace("seeds: 3", "seeds: 5"))
    assert lines(comparison(root))[-1] == f"An interval takes 3 seeds: `cfsweep resume {root} --seeds 5`."


def test_numbers_are_plain_and_what_does_not_vary_has_no_interval() -> None:
    party, seeds = Party("x", 0, True, ""), (0, 1, 2)
    found = Comparison(
        party,
        party,
        [
            Difference("stored_bytes", 1_016_300.0, 1_000_000.0, -16_300.0, None, seeds),
            Difference("train_s", 2100.4, 3300.0, 1199.6, (-1020.2, 3419.4), seeds),
            Difference("stability", 0.5, 0.75, 0.25, (0.2, 0.3), seeds, Estimate(0.25, (0.25, 0.25)), 7),
        ],
    )
    assert cells(found) == [
        ["stored_bytes", "1,016,300", "1,000,000", "-16,300", "–", "–", "–"],
        ["train_s", "2,100", "3,300", "+1,200", "-1,020 to +3,419", "–", "–"],
        ["stability", "0.5", "0.75", "+0.25", "+0.2 to +0.3", "+0.25", "–"],
    ]
    assert heads(found)[4:] == ["95 % interval", "corrected", "95 % interval"]
    assert heads(Comparison(party, party, found.differences[:2]))[4:] == ["95 % interval"]
