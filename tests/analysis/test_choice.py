"""Choosing on validation. (What a choice opens: `test_confirmation`.)"""

from __future__ import annotations

import json
import random
from pathlib import Path

import moocore
import numpy as np
import pytest
from pyarrow.fs import LocalFileSystem

import analysis
from analysis.choice import knee_of
from cfsweep.errors import InputError, NoAnswerError
from cfsweep.results.checking import Place, fault_of_selection
from tests.analysis.folder import LATER, Folder, half_grown, matrix_for


def test_select_never_opens_the_test_table(tmp_path: Path) -> None:
    folder = Folder(tmp_path, earlier=True)
    folder.run(0, 0, matrix_for(0.5, 0.9))
    folder.confirm(0, 10_000, matrix_for(0.5, 0.9))
    root = folder.write()
    for place in (root, root / "confirmed"):
        (place / "test" / "part-0.parquet").write_bytes(b"broken")
    assert analysis.select(root)["trial"] == 0
    with pytest.raises(InputError, match="not a readable Parquet file"):
        analysis.test_scores(root)


def test_what_is_on_record(known: Path) -> None:
    analysis.select(known)
    record = json.loads((known / "selection.json").read_text())
    assert record["study_id"] == "0123456789ab"
    assert record["rule"] == "average_score"
    assert record["seeds"] == [0, 1, 2]
    assert record["settings"] == {"ewc_lambda": 100.0, "replay_ratio": 0.2, "buffer_size": 200, "lr": 0.001}
    assert record["validation"]["val_stability"] == {"mean": pytest.approx(0.8), "sd": pytest.approx(0.01)}
    assert record["selected_at"].endswith("+00:00")
    assert record["replaces"] == []


def test_no_flipped_bit_of_a_record_is_obeyed(known: Path) -> None:
    chosen, rng = analysis.select(known), random.Random(20261127)
    path, place, refused = known / "selection.json", Place(LocalFileSystem(), str(known)), 0
    whole = path.read_bytes()
    assert fault_of_selection(place) is None
    for _ in range(300):
        content = bytearray(whole)
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
        if fault_of_selection(place) is not None:
            refused += 1
            with pytest.raises(InputError, match=r"selection\.json: "):
                analysis.selection(known)
            continue
        # Between two words, or the name itself of the digest, without which an earlier version wrote it.
        said = analysis.selection(known)
        assert said is not None
        assert {key: said[key] for key in chosen} == chosen
    assert refused > 200


def test_the_same_choice_again_changes_nothing(known: Path) -> None:
    first = analysis.select(known)
    content = (known / "selection.json").read_bytes()
    assert analysis.select(known) == first
    assert (known / "selection.json").read_bytes() == content


def test_a_choice_made_before_a_metric_existed_is_the_same_choice(known: Path) -> None:
    analysis.select(known)
    record = json.loads((known / "selection.json").read_text())
    del record["validation"]["val_intransigence"], record["sha256"]
    record["validation"]["val_retention_ratio"] = {"mean": None, "sd": None}
    (known / "selection.json").write_text(json.dumps(record))
    assert analysis.select(known) == record
    record["validation"]["val_stability"]["mean"] += 0.1
    (known / "selection.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="--replace"):
        analysis.select(known)


def test_the_same_choice_with_other_numbers_says_how_many_seeds_it_has(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.run(0, 0, matrix_for(0.5, 0.9))
    folder.run(1, 0, matrix_for(0.6, 0.9))
    root = folder.write()
    first = analysis.select(root)
    for trial in (0, 1):
        folder.run(trial, 1, matrix_for(0.7, 0.9), started_at=LATER)
    folder.write()
    said = r"trial 1 is chosen still, but its numbers have changed since \(2 seeds by now, 1 then\)\. Give --replace"
    with pytest.raises(InputError, match=said):
        analysis.select(root)
    record = analysis.select(root, replace=True)
    assert (record["trial"], record["seeds"]) == (1, [0, 1])
    assert [(old["trial"], old["seeds"], old["selected_at"]) for old in record["replaces"]] == [
        (1, [0], first["selected_at"])
    ]
    assert record["validation"]["val_stability"]["mean"] == pytest.approx(0.65)


def test_seeds_that_are_being_added_change_no_choice(tmp_path: Path) -> None:
    folder = half_grown(tmp_path)
    grown, folder.runs = folder.runs, [run for run in folder.runs if run["seed"] == 0]
    first = analysis.select(folder.write())
    assert (first["trial"], first["seeds"]) == (1, [0])
    folder.runs = grown
    assert analysis.select(folder.write()) == first


def test_another_best_joint_reference_changes_no_choice(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.run(0, 0, matrix_for(0.5, 0.8))
    folder.run(-2, 0, matrix_for(0.9, 0.9))
    first = analysis.select(folder.write())
    assert first["validation"]["val_intransigence"]["mean"] == pytest.approx(0.1)
    folder.run(-4, 0, matrix_for(0.95, 0.95))
    runs = analysis.load(folder.write())
    assert runs.loc[runs["trial"] == 0, "val_intransigence"].tolist() == pytest.approx([0.15])
    assert analysis.select(tmp_path) == first


def test_another_choice_needs_replace_and_keeps_the_first(known: Path) -> None:
    analysis.select(known)
    with pytest.raises(InputError, match=r"trial 2 was chosen by average_score already.*--replace"):
        analysis.select(known, "stability_at_least", at_least=0.4)
    record = analysis.select(known, "stability_at_least", at_least=0.4, replace=True)
    assert record["trial"] == 1
    assert [old["trial"] for old in record["replaces"]] == [2]
    again = analysis.select(known, replace=True)
    assert [old["trial"] for old in again["replaces"]] == [2, 1]


def test_rules(known: Path) -> None:
    table = analysis.trials(analysis.load(known))
    assert analysis.choose(table, "stability_at_least", 0.5)["trial"] == 1
    assert analysis.choose(table, "stability_at_least", 0.55)["trial"] == 2
    with pytest.raises(NoAnswerError, match=r"none of 5 finished trials satisfies stability_at_least 0\.9"):
        analysis.choose(table, "stability_at_least", 0.9)
    with pytest.raises(InputError, match="`0 <= at_least <= 1` must hold"):
        analysis.choose(table, "stability_at_least", 1.5)
    with pytest.raises(InputError, match=r"unknown rule `avarage`\. Known, closest first: average_score"):
        analysis.choose(table, "avarage")


FOREIGN = '{"trial": 2, "study_id": "x", "rule": "mixed", "selected_at": "2026-01-01T00:00:00+00:00"}'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        ("[" * 100_000, r"not valid JSON \(RecursionError: "),
        ("[]", "a mapping is needed, but got list"),
        ('{"trial": 2, "study_id": "x"}', "`rule`: Field required"),
        (FOREIGN, "belongs to study x"),
        (FOREIGN.replace("2,", "-1,"), "`trial`: Input should be greater than or equal to 0, but got `-1`"),
        (FOREIGN.replace("2,", "1e20,"), "`trial`: Input should be a valid integer"),
        (FOREIGN.replace("2,", '2, "validation": {"val_mixed": 3},'), "`validation.val_mixed`: "),
        (FOREIGN.replace("2,", '2, "references": {"naive": "x"},'), "`references.naive`: "),
    ],
)
def test_a_damaged_or_foreign_record_is_refused(known: Path, content: str, message: str) -> None:
    (known / "selection.json").write_text(content)
    with pytest.raises(InputError, match=message):
        analysis.selection(known)


def test_the_knee_by_hand(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    for trial, (stability, plasticity) in enumerate([(0.2, 1.0), (0.6, 0.95), (0.8, 0.6), (0.9, 0.2), (0.5, 0.5)]):
        folder.run(trial, 0, matrix_for(stability, plasticity))
    root = folder.write()
    assert analysis.select(root, "knee")["trial"] == 1  # 4/7 + 15/16, where trial 2 has 6/7 + 8/16
    assert json.loads((root / "selection.json").read_text())["rule"] == "knee"


def test_a_front_without_a_knee(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.run(0, 0, matrix_for(0.5, 0.9))
    with pytest.raises(NoAnswerError, match="none of 1 finished trials satisfies knee"):
        analysis.select(folder.write(), "knee")


def test_the_knee_against_the_distance_to_the_line_through_the_ends() -> None:
    rng, found = np.random.default_rng(0), 0
    for _ in range(300):
        points = rng.random((int(rng.integers(3, 12)), 2))
        points = points[moocore.is_nondominated(points, maximise=True)]
        points = points[points[:, 0].argsort()]
        place = knee_of(points)
        if len(points) < 3:
            assert place is None
            continue
        unit = (points - points.min(axis=0)) / np.ptp(points, axis=0)
        (x1, y1), (x2, y2) = unit[0], unit[-1]
        line = [((x2 - x1) * (y - y1) - (y2 - y1) * (x - x1)) / np.hypot(x2 - x1, y2 - y1) for x, y in unit]
        if max(line) < 1e-9:
            assert place is None
        else:
            found += 1
            assert place == int(np.argmax(line))
    assert found > 50
