"""The gate between two models, from their answers: what decides, what is said, and how often luck refuses."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from analysis.bundle_gate import cells, notes, require_max_drop, require_none_fell, verdict, write_json
from analysis.paired_shares import difference
from cfsweep.errors import InputError, NoAnswerError
from cfsweep.metrics.answers import PairedAnswers

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "bundles.md"


def answers(both: int, champion: int, candidate: int, neither: int, name: str = "cats") -> PairedAnswers:
    """Of an earlier task, with these counts, in a random order."""
    order = np.random.default_rng(0).permutation(both + champion + candidate + neither)
    one = np.repeat([True, True, False, False], [both, champion, candidate, neither])[order]
    two = np.repeat([True, False, True, False], [both, champion, candidate, neither])[order]
    return PairedAnswers(name, one, two, is_earlier=True)


def new(right: int, n: int, champion: int | None = None) -> PairedAnswers:
    """Of a task that the champion has not learned, and perhaps answers."""
    own = None if champion is None else np.arange(n) < champion
    return PairedAnswers("dogs", own, np.arange(n) < right, is_earlier=False)


def test_counts_are_those_of_a_loop() -> None:
    rng = np.random.default_rng(3)
    one, two = rng.random((2, 50)) < 0.6
    expected = [0, 0, 0, 0]
    for a, b in zip(one.tolist(), two.tolist(), strict=True):
        expected[0 if a and b else 1 if a else 2 if b else 3] += 1
    assert PairedAnswers("x", one, two, True).counts == tuple(expected)
    assert PairedAnswers("x", None, two, True).counts is None


def test_a_drop_of_just_what_is_allowed_holds_to_the_last_bit() -> None:
    """Differences of accuracies would not: 147 / 150 - 144 / 150 is more than 0.02 in floating point."""
    assert 147 / 150 - 144 / 150 > 0.02
    assert not verdict(answers(144, 3, 0, 3), 0, 0.02).fell
    for n in range(1, 400):
        for allowed in (0.01, 0.02, 0.05, 0.1):
            k = round(allowed * n)
            fell = verdict(answers(n - k, k, 0, 0), 0, allowed).fell
            assert fell is (100 * k > round(100 * allowed) * n)


def test_the_estimate_decides_and_the_interval_says_how_clearly() -> None:
    found = {
        (90, 2, 2, 6): "held",  # as good, but 100 examples tell no more than +- 0.05
        (9000, 20, 20, 960): "held, clearly",
        (88, 5, 2, 5): "fell",  # by 0.03, perhaps by luck
        (50, 40, 0, 10): "fell, clearly",
        (8800, 500, 200, 500): "fell, clearly",
        (50, 0, 40, 10): "held, clearly",
    }
    for counts, text in found.items():
        one = verdict(answers(*counts), 4, 0.02)
        assert one.text == text, counts
        low, high = difference(*counts).interval
        assert one.is_clear is (high < -0.02 or low >= -0.02)
        assert (one.champion, one.candidate) == (
            sum(counts[:2]) / sum(counts),
            (counts[0] + counts[2]) / sum(counts),
        )
    assert not verdict(answers(100, 0, 0, 0), 0, 0.0).fell


def test_any_earlier_task_that_fell_refuses_whatever_others_gained() -> None:
    passes = [verdict(answers(50, 0, 40, 10), 0, 0.02), verdict(new(0, 30), 1, 0.02)]
    assert require_none_fell(passes, 0.02) == "The candidate passes: none of 1 earlier tasks fell by more than 0.02."
    fallen = [*passes, verdict(answers(88, 5, 2, 5, "a|b"), 2, 0.02)]
    with pytest.raises(NoAnswerError) as caught:
        require_none_fell(fallen, 0.02)
    assert str(caught.value) == "gate: 1 of 2 earlier tasks fell by more than 0.02: task 2 `a|b` by 0.0300."


def test_a_new_task_decides_nothing_though_the_champion_answers_it() -> None:
    one = verdict(new(0, 30, champion=30), 3, 0.02)
    assert (one.fell, one.is_clear, one.text) == (False, False, "new")
    assert one.difference is not None
    assert one.difference.value == -1
    assert require_none_fell([one], 0.02)


def test_the_rows_of_the_table() -> None:
    one = verdict(answers(88, 5, 2, 5, "a long name of a task"), 0, 0.02)
    low, high = difference(88, 5, 2, 5).interval
    expected = ("0 a long name…", "100", "0.9300", "0.9000", "-0.0300", f"{low:+.4f} to {high:+.4f}", "0.45", "fell")
    assert cells(one) == expected
    assert cells(verdict(new(3, 4), 1, 0.02)) == ("1 dogs", "4", "–", "0.7500", "–", "–", "–", "new")
    assert [len(notes([one], 0.02)), len(notes([one, verdict(new(3, 4), 1, 0.02)], 0.02))] == [2, 3]


def test_what_is_written_for_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = replace(answers(88, 5, 2, 5), constant=0.6)
    verdicts = [verdict(first, 0, 0.02), verdict(new(3, 4), 1, 0.02)]
    path = tmp_path / "gate.json"
    write_json(path, "a", "b", verdicts, 0.02)
    found = json.loads(path.read_text())
    tasks = found.pop("tasks")
    assert found == {
        "passes": False,
        "champion": "a",
        "candidate": "b",
        "score": "accuracy",
        "max_drop": 0.02,
        "level": 0.95,
    }
    assert tasks[0] == {
        "task": 0,
        "name": "cats",
        "is_earlier": True,
        "n_examples": 100,
        "champion": 0.93,
        "candidate": 0.9,
        "champion_alone_right": 5,
        "candidate_alone_right": 2,
        "difference": -0.03,
        "interval": list(difference(88, 5, 2, 5).interval),
        "constant": 0.6,
        "mcnemar_p": pytest.approx(0.453125),  # 2 (1 + 7 + 21) / 2^7
        "missing": None,
        "verdict": "fell",
        "is_clear": False,
    }
    assert [key for key, value in tasks[1].items() if value is None] == [
        *("champion", "champion_alone_right", "candidate_alone_right", "difference", "interval", "constant"),
        *("mcnemar_p", "is_clear"),
    ]
    before = path.read_text()
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        write_json(path, "a", "b", verdicts[1:], 0.02)
    assert (path.read_text(), [p.name for p in tmp_path.iterdir()]) == (before, ["gate.json"])


def test_bad_input_is_one_line() -> None:
    with pytest.raises(InputError, match="task `dogs` has no test examples"):
        verdict(new(0, 0), 0, 0.02)
    with pytest.raises(InputError, match="Give --max-drop"):
        require_max_drop(None)
    for bad in (-0.1, math.inf, math.nan):
        with pytest.raises(InputError, match="`0 <= max-drop` must hold"):
            require_max_drop(bad)
    with pytest.raises(InputError, match="`0 <= max-drop < 1` must hold, but got 1"):
        require_max_drop(1.0, width=1.0)
    for no_number in ("x", True, [0.1]):
        with pytest.raises(InputError, match=r"`max_drop` must be a number, such as 0\.02, but got"):
            require_max_drop(no_number)  # type: ignore[arg-type]
    assert require_max_drop(5000.0) == 5000.0
    assert require_max_drop(0.0) == 0.0


def refused_by_luck(n: int, differing: float, max_drop: float) -> float:
    """The probability that a model falls by more than `max_drop` on n examples, though it is as good as the other, and
    answers a share `differing` of all examples otherwise: d of n differ, and k of d are lost, each with 1/2."""
    total = 0.0
    for d in range(n + 1):
        log_d = math.lgamma(n + 1) - math.lgamma(d + 1) - math.lgamma(n - d + 1)
        of_d = math.exp(log_d + d * math.log(differing) + (n - d) * math.log(1 - differing))
        if of_d > 1e-15:
            total += of_d * sum(math.comb(d, k) for k in range(d + 1) if (2 * k - d) / n > max_drop) / 2**d
    return total


def test_the_page_says_how_often_luck_refuses_models_that_are_as_good() -> None:
    rows = re.findall(r"^\| ([\d,]+) \| ([\d.]+) % \| ([\d.]+) % \|$", PAGE.read_text(), flags=re.MULTILINE)
    assert len(rows) == 4
    for n, *shares in rows:
        for differing, said in zip((0.02, 0.06), shares, strict=True):
            assert float(said) == pytest.approx(
                100 * refused_by_luck(int(n.replace(",", "")), differing, 0.02), abs=0.051
            )
