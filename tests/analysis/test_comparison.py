"""Paired comparisons."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

import analysis
from analysis.comparison import Party, comparison, differing_data
from analysis.description import Study, parse_study
from cfsweep.errors import InputError
from tests.analysis.folder import Folder, matrix_for


def test_paired_differences_cancel_what_seeds_share(known: Path) -> None:
    by_name = {d.metric: d for d in analysis.compare(known, first=0, second=2)}
    stability = by_name["stability"]
    assert (stability.first, stability.second) == (pytest.approx(0.6), pytest.approx(0.8))
    assert stability.interval is None, "0.2 in each seed: that is no measure of what another seed would give"
    assert (stability.seeds, stability.n_seeds, stability.n_among) == ((0, 1, 2), 3, 1)
    assert stability.corrected is None, "both were named beforehand"
    by_choice = {d.metric: d for d in analysis.compare(known)}
    assert by_choice["stability"].corrected is not None
    assert by_choice["stability"].corrected.interval == pytest.approx((0.2, 0.2))
    assert by_choice["stability"].n_among == 5
    assert by_choice["train_s"].corrected is None
    assert by_name["train_s"].difference == pytest.approx(0.2)
    assert by_name["train_s"].interval is None


def test_an_interval_is_that_of_the_pairs(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    for seed, gain in enumerate((0.01, 0.02, 0.03)):
        folder.run(0, seed, matrix_for(0.5 + 0.1 * seed, 0.6))
        folder.run(1, seed, matrix_for(0.5 + 0.1 * seed + gain, 0.6))
    stability, plasticity = analysis.compare(folder.write(), first=0, second=1)[1:3]
    assert stability.interval == pytest.approx((-0.004841, 0.044841), abs=1e-6), "0.02 ± 4.303 · 0.01 / √3"
    assert plasticity.interval is None


def test_who_is_compared(known: Path) -> None:
    found = comparison(known)
    assert found.first == Party(known, 0, named=True, leads="")
    assert found.second == Party(known, 2, named=False, leads="highest average validation score")
    assert comparison(known, second=2).second == Party(known, 2, True, "highest average validation score")
    analysis.select(known, "stability_at_least", at_least=0.4)
    assert comparison(known).second == Party(known, 1, False, "selected by stability_at_least")
    named = comparison(known, first=1, second=2)
    assert [party.leads for party in (named.first, named.second)] == [
        "selected by stability_at_least",
        "highest average validation score",
    ]
    assert comparison(known, first=3, second=-1).first.leads == ""
    assert comparison(known, first=3, second=-1).second.leads == ""


def test_two_folders(known: Path, tmp_path: Path) -> None:
    folder = Folder(tmp_path / "other")
    folder.run(0, 1, matrix_for(0.91, 0.91))
    found = {d.metric: d for d in analysis.compare(known, folder.write())}
    assert found["stability"].difference == pytest.approx(0.91 - 0.80), "over seed 1 alone"
    assert found["stability"].interval is None


def test_what_cannot_be_compared(known: Path, tmp_path: Path) -> None:
    other = Folder(tmp_path / "other", stream="split-mnist")
    other.run(0, 0, matrix_for(0.9, 0.9))
    with pytest.raises(InputError, match=r"differ in .*stream .*, so that their seeds are no pairs"):
        analysis.compare(known, other.write())
    apart = Folder(tmp_path / "apart")
    apart.run(0, 9, matrix_for(0.9, 0.9))
    with pytest.raises(InputError, match="share no seed"):
        analysis.compare(known, apart.write())
    with pytest.raises(InputError, match=r"trial 5 has no finished run\. `cfsweep table DIR --all` lists"):
        analysis.compare(known, first=5, second=0)


ABOUT: dict[str, Any] = {
    "study_id": "a",
    "config": {"stream": {"name": "split-digits", "scenario": "task-il", "validation_frac": 0.1, "split_seed": 0}},
    "tasks": [{"name": "0", "n_train": 10}],
    "data_sha256": {"digits.csv": "ab"},
}


def changed(path: str, value: Any) -> Study:
    content = copy.deepcopy(ABOUT)
    *keys, last = path.split("/")
    place = content
    for key in keys:
        place = place[key]
    place[last] = value
    return parse_study(content)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("config/stream/scenario", "class-il", ["scenario (task-il and class-il)"]),
        ("config/stream/name", "split-mnist", ["stream (split-digits and split-mnist)"]),
        ("config/stream/validation_frac", 0.2, ["stream.validation_frac (0.1 and 0.2)"]),
        ("config/stream/steering_frac", 0.1, ["stream.steering_frac (None and 0.1)"]),
        ("config/stream/steering_frac", None, []),
        ("config/stream/splits", 3, ["stream.splits (1 and 3)"]),
        ("config/stream/splits", 1, []),
        ("config/stream/split_seed", 3, ["stream.split_seed (0 and 3)"]),
        ("config/stream/class_order", 7, ["stream.class_order (None and 7)"]),
        ("config/stream/target", "my:Target", ["stream.target (classification and my:Target)"]),
        ("config/stream/target", "classification", []),
        ("config/stream/standardise", "feature", []),
        ("config/stream/args", {"n": 1}, ["stream.args ({} and {'n': 1})"]),
        ("config/stream/data", "/elsewhere", []),
        ("data_sha256", {"digits.csv": "cd"}, ["the files digits.csv"]),
        ("tasks", [{"name": "0", "n_train": 11}], ["their tasks"]),
    ],
)
def test_pairs_have_seen_the_same_data(path: str, value: Any, said: list[str]) -> None:
    assert differing_data(parse_study(ABOUT), changed(path, value)) == said
    assert differing_data(parse_study(ABOUT), parse_study(ABOUT)) == []


def test_a_folder_of_ones_own_may_lie_elsewhere() -> None:
    here, there = changed("config/stream/name", "/here/tasks"), changed("config/stream/name", "/there/my-tasks")
    assert differing_data(here, there) == []
    unknown = parse_study({**there.raw, "data_sha256": {}})
    assert differing_data(here, unknown) == ["stream (/here/tasks and /there/my-tasks)"]
