"""The errors a user can meet."""

from __future__ import annotations

from cfsweep.errors import CfsweepError, InputError, NoAnswerError, closest_first, unknown


def test_exit_codes() -> None:
    assert (CfsweepError.exit_code, InputError.exit_code, NoAnswerError.exit_code) == (2, 2, 1)


def test_the_closest_name_comes_first_and_ties_are_alphabetical() -> None:
    assert closest_first("REPLAI", ["packnet", "ewc", "replay"])[0] == "replay"
    assert closest_first("zzz", ["b", "a", "c"]) == ["a", "b", "c"]


def test_none_known() -> None:
    assert str(unknown("here", "thing", "x", [])) == "here: unknown thing `x`. Known, closest first: (none)."
